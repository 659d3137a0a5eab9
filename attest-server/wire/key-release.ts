import { lengthPrefixed } from './binding.ts';
import { encryptedBothBytes, encryptedKeyBytes, encryptedKeysBytes } from './key-derivation.ts';
import { checkPoint, checkVolume } from './key-request.ts';
import { type PcrBank, type PcrSelection, pcrBanks } from './messages.ts';
import { pcrsOf } from './pcr-values.ts';
import { Rejection } from './rejection.ts';

/** The key of one volume, for one boot of one TPM, for two minutes of that TPM's clock. */
export interface KeyRelease {
  /** 16 random bytes, hex. */
  readonly leaseId: string;
  /** LUKS UUID. */
  readonly volume: string;
  /** TPMS_CLOCK_INFO.resetCount of the boot: the first condition besides the PCRs. */
  readonly resetCount: number;
  /** TPMS_CLOCK_INFO.clock, in milliseconds, from which on the TPM unseals nothing more. */
  readonly clockBefore: bigint;
  /** The PCRs of the policy, banks in the order of `pcrBanks`: those that were quoted, but for PCR 10. */
  readonly selection: PcrSelection;
  /** The server's P-256 point, uncompressed, 65 bytes. */
  readonly serverEphemeral: Buffer;
  /** TPM2B_PUBLIC of the sealed secret. */
  readonly importPublic: Buffer;
  /** TPM2B_PRIVATE. */
  readonly importDuplicate: Buffer;
  /** TPM2B_ENCRYPTED_SECRET. */
  readonly importSeed: Buffer;
  /** Digest of each header that the volume may have, hex, in the order of the keys that open them; none while the node is to format it. */
  readonly expectedHeaders: readonly string[];
  /** key-derivation.ts; the recovery passphrase is in it where no header is expected, and two keys while one replaces the other. */
  readonly ciphertext: Buffer;
}

/** First byte of the binary frame by which a server answers a key request: those of agents are `binaryKinds`. */
export const keyReleaseKind = 0x10;

const label = Buffer.from('assay/key-release/1');
const mostImport = 1024;
/** One header, or the old and the new one while a keyslot is exchanged. */
const mostHeaders = 2;
/** Bytes of a release, without the byte of its kind. */
export const mostKeyRelease = 4096;

/** The whole frame. @throws Rejection `malformed` for a release that `parseKeyRelease` would refuse */
export function keyReleaseFrame(release: KeyRelease): Buffer {
  const clock = Buffer.alloc(8);
  clock.writeBigUInt64BE(release.clockBefore);
  const reset = Buffer.alloc(4);
  reset.writeUInt32BE(release.resetCount);
  const payload = lengthPrefixed([
    label,
    Buffer.from(release.leaseId, 'hex'),
    Buffer.from(release.volume),
    Buffer.concat([reset, clock]),
    selectionBytes(release.selection),
    release.serverEphemeral,
    release.importPublic,
    release.importDuplicate,
    release.importSeed,
    Buffer.from(release.expectedHeaders.join(''), 'hex'),
    release.ciphertext,
  ]);
  parseKeyRelease(payload);
  return Buffer.concat([Buffer.of(keyReleaseKind), payload]);
}

/** Gives views of the bytes. @param payload what follows the byte of the kind. @throws Rejection `malformed`, `too_large` */
export function parseKeyRelease(payload: Buffer): KeyRelease {
  if (payload.length > mostKeyRelease)
    throw new Rejection('too_large', `a key release of ${payload.length} bytes`);
  const next = fieldReader(payload);
  if (!next('label', label.length, label.length).equals(label)) throw fault('label', 'another label');
  const leaseId = next('leaseId', 16, 16).toString('hex');
  const volume = next('volume', 36, 36).toString('latin1');
  checkVolume(volume);
  const boot = next('boot', 12, 12);
  const selection = parseSelection(next('selection', bankEntry, pcrBanks.length * bankEntry));
  const serverEphemeral = next('serverEphemeral', 65, 65);
  checkPoint(serverEphemeral, 'serverEphemeral');
  const importPublic = next('importPublic', 3, mostImport);
  const importDuplicate = next('importDuplicate', 3, mostImport);
  const importSeed = next('importSeed', 3, mostImport);
  const headers = next('expectedHeaders', 0, mostHeaders * 32);
  if (headers.length % 32 !== 0) throw fault('expectedHeaders', `${headers.length} bytes`);
  // The next key comes before its header, which its node makes.
  const sizes = [[encryptedBothBytes], [encryptedKeyBytes, encryptedKeysBytes], [encryptedKeysBytes]];
  const ciphertext = next('ciphertext', encryptedKeyBytes, encryptedBothBytes);
  if (!sizes[headers.length / 32]?.includes(ciphertext.length))
    throw fault('ciphertext', `${ciphertext.length} bytes for ${headers.length / 32} headers`);
  next.end();
  for (const [name, sized] of Object.entries({ importPublic, importDuplicate, importSeed }))
    if (sized.readUInt16BE() !== sized.length - 2) throw fault(name, 'another size than it says');
  return {
    leaseId,
    volume,
    resetCount: boot.readUInt32BE(),
    clockBefore: boot.readBigUInt64BE(4),
    selection,
    serverEphemeral,
    importPublic,
    importDuplicate,
    importSeed,
    expectedHeaders: Array.from({ length: headers.length / 32 }, (_, at) =>
      headers.toString('hex', 32 * at, 32 * (at + 1)),
    ),
    ciphertext,
  };
}

interface FieldReader {
  (field: string, least: number, most: number): Buffer;
  /** @throws Rejection `malformed` if bytes are left */
  end(): void;
}

function fieldReader(payload: Buffer): FieldReader {
  let at = 0;
  const next = (field: string, least: number, most: number): Buffer => {
    if (payload.length - at < 4) throw fault(field, 'missing', at);
    const length = payload.readUInt32BE(at);
    if (length < least || length > most) throw fault(field, `${length} bytes`, at);
    if (payload.length - at - 4 < length) throw fault(field, 'cut short', at);
    const begin = at + 4;
    at = begin + length;
    return payload.subarray(begin, at);
  };
  const end = () => {
    if (at !== payload.length) throw fault('ciphertext', 'bytes after the end', at);
  };
  return Object.assign(next, { end });
}

/** Its place in `pcrBanks`, then the mask of its PCRs, 3 bytes, little-endian as in TPMS_PCR_SELECTION. */
const bankEntry = 4;

function selectionBytes(selection: PcrSelection): Buffer {
  return Buffer.concat(
    pcrBanks.flatMap((bank, place) => {
      const pcrs = selection[bank];
      if (pcrs === undefined) return [];
      const entry = Buffer.of(place, 0, 0, 0);
      entry.writeUIntLE(
        pcrs.reduce((mask, pcr) => mask | (1 << pcr), 0),
        1,
        3,
      );
      return [entry];
    }),
  );
}

function parseSelection(bytes: Buffer): PcrSelection {
  if (bytes.length % bankEntry !== 0) throw fault('selection', `${bytes.length} bytes`);
  const selection: Partial<Record<PcrBank, number[]>> = {};
  let last = -1;
  for (let at = 0; at < bytes.length; at += bankEntry) {
    const place = bytes.readUInt8(at);
    const bank = pcrBanks[place];
    const mask = bytes.readUIntLE(at + 1, 3);
    if (bank === undefined || place <= last) throw fault('selection', 'an unknown bank, or out of order');
    if (mask === 0) throw fault('selection', 'a bank without PCRs');
    selection[bank] = pcrsOf(mask);
    last = place;
  }
  return selection;
}

function fault(field: string, text: string, offset?: number): Rejection {
  return new Rejection('malformed', `key release, ${field}: ${text}`, {
    field,
    ...(offset !== undefined && { offset }),
  });
}
