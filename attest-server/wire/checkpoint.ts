import { hash, verify } from 'node:crypto';
import { ed25519Key } from './audit-key.ts';
import { Rejection } from './rejection.ts';

/**
 * A signed statement "my audit log has this size and this head", as a C2SP signed note with a tlog-checkpoint body
 * (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), of one signature and without extension lines:
 *
 *     assay/<installation>
 *     <size, decimal>
 *     <base64 of the head hash>
 *
 *     — assay/<installation> <base64 of key id and signature>
 *
 * The log is a chain of hashes and no Merkle tree: the hash of the last entry stands where the root hash would.
 */
export interface Checkpoint {
  /** `assay/<installation>`, which is also the key's name. */
  readonly origin: string;
  /** Number of entries; at least 1. */
  readonly size: number;
  /** `hash` of entry number `size`, 64 hex digits. */
  readonly head: string;
}

export interface ParsedCheckpoint extends Checkpoint {
  /** 8 hex digits. */
  readonly keyId: string;
  /** The signed bytes: everything before the blank line. */
  readonly body: string;
  readonly signature: Buffer;
}

/** In characters; what is longer is refused unread. */
export const checkpointLength = 512;

/** `assay/<installation>` */
export const originPattern = /^assay\/[0-9a-f]{32}$/;
const notePattern =
  /^(assay\/[0-9a-f]{32})\n([1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n\n\u2014 (assay\/[0-9a-f]{32}) ([A-Za-z0-9+/]{91}=)\n$/;

/** First four bytes of SHA-256(name || "\n" || 0x01 || public key), 8 hex digits. */
export function auditKeyId(origin: string, publicKey: Buffer): string {
  const named = Buffer.concat([Buffer.from(`${origin}\n`), Buffer.of(0x01), publicKey]);
  return hash('sha256', named, 'hex').slice(0, 8);
}

/** @throws TypeError for values that no checkpoint can carry: a fault of the caller */
export function formatCheckpoint(
  { origin, size, head }: Checkpoint,
  key: { readonly publicKey: Buffer; sign(message: Buffer): Buffer },
): string {
  if (!originPattern.test(origin)) throw new TypeError(`"${origin}" is not the origin of a checkpoint`);
  if (!Number.isSafeInteger(size) || size < 1) throw new TypeError(`${size} is not the size of a checkpoint`);
  if (!/^[0-9a-f]{64}$/.test(head)) throw new TypeError('the head of a checkpoint is 64 hex digits');
  const body = `${origin}\n${size}\n${Buffer.from(head, 'hex').toString('base64')}\n`;
  const signature = key.sign(Buffer.from(body));
  const line = Buffer.concat([Buffer.from(auditKeyId(origin, key.publicKey), 'hex'), signature]);
  return `${body}\n\u2014 ${origin} ${line.toString('base64')}\n`;
}

/** How many entries a note claims to sign; 0 for one that cannot be read: whoever checks it names it. */
export function claimedSize(note: string): number {
  try {
    return parseCheckpoint(note).size;
  } catch (error) {
    if (error instanceof Rejection) return 0;
    throw error;
  }
}

/**
 * Takes exactly one form of each note. Nothing is proven by it.
 * @throws Rejection `too_large`, `malformed`
 */
export function parseCheckpoint(text: string): ParsedCheckpoint {
  if (text.length > checkpointLength)
    throw new Rejection('too_large', `a checkpoint of ${text.length} characters`, { field: 'checkpoint' });
  const [, origin = '', sizeText = '', root = '', name = '', line = ''] = notePattern.exec(text) ?? bad();
  const size = Number(sizeText);
  if (!Number.isSafeInteger(size) || name !== origin) bad();
  const signed = canonicalBase64(line);
  return {
    origin,
    size,
    head: canonicalBase64(root).toString('hex'),
    keyId: signed.toString('hex', 0, 4),
    body: `${origin}\n${sizeText}\n${root}\n`,
    signature: signed.subarray(4),
  };
}

/**
 * @param publicKey the raw 32 bytes of an Ed25519 key
 * @throws Rejection `too_large`, `malformed`, or `sig_invalid` if this key did not sign it
 */
export function verifyCheckpoint(text: string, publicKey: Buffer): Checkpoint {
  const { origin, size, head, keyId, body, signature } = parseCheckpoint(text);
  const expected = auditKeyId(origin, publicKey);
  if (keyId !== expected)
    throw new Rejection('sig_invalid', `the checkpoint is signed by the key ${keyId}, not by ${expected}`);
  if (!verify(null, Buffer.from(body), ed25519Key(publicKey), signature))
    throw new Rejection('sig_invalid', `the checkpoint's signature by the key ${keyId} is wrong`);
  return { origin, size, head };
}

/** Two texts for the same bytes would be two checkpoints: bits that base64 leaves over must be zero. */
function canonicalBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : bad();
}

function bad(): never {
  throw new Rejection('malformed', 'not a signed checkpoint of an audit log', { field: 'checkpoint' });
}
