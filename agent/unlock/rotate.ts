import { constants, existsSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { volumeKeyBytes } from '../../attest-server/wire/key-derivation.ts';
import { keyslotAreas, parseLuksHeader, recoverySlot } from '../../attest-server/wire/luks-header.ts';
import { AgentError } from '../agent-error.ts';
import { makeMemoryDir } from '../node-tpm2/memory-dir.ts';
import type { UnlockConfig } from './config.ts';
import { cryptsetup, dataAt, headerBytes, quickly, sizes, withKey } from './format.ts';
import { headerOn, isGone } from './header.ts';
import type { LeaseConversation } from './lease-conversation.ts';
import { checkMemory } from './memory.ts';
import { rotationMark, writeNote } from './note.ts';
import type { UnlockDependencies } from './run.ts';

export interface RotateDependencies extends Omit<UnlockDependencies, 'environment'> {
  /** Writes to the disk; returns once it is there. A test cuts here. */
  readonly write?: (disk: FileHandle, piece: Buffer, at: number) => Promise<void>;
}

/**
 * Replaces the key of an open volume, if the release of this boot had the next one: a keyslot for that key, in a header that the
 * server has first, then none for the earlier key. Whatever cuts it off, one of the two headers is on the disk, each of which
 * has a key at the server, and the next boot goes on.
 * @param named the device of the volume
 * @throws AgentError, ToolError, each with its next step
 */
export async function rotateKey(
  config: UnlockConfig,
  named: string,
  { logger, signal, print, write = writeThrough }: RotateDependencies,
): Promise<void> {
  const { volume } = config;
  if (volume === null) throw fault('no volume is named: set volume (ASSAY_UNLOCK_VOLUME) to its LUKS UUID');
  const mark = rotationMark(config.runtimeDir, volume);
  if (!existsSync(mark)) return;
  const device = resolve(named);
  await checkMemory(config.sysroot);
  await using disk = await open(device, constants.O_RDWR | constants.O_DSYNC).catch((cause: unknown) => {
    throw fault(`${device} cannot be opened: ${isGone('read', cause)}`, cause);
  });
  await withKey({ ...config, volume }, { logger, signal }, fault, async (answer, conversation) => {
    const { leaseId, expectedHeaders } = answer.release;
    if (answer.secret.length !== 2 * volumeKeyBytes) {
      print('assay-rotate: nothing is left to replace: it was called off, or it is done\n');
      return;
    }
    const found = await headerOn(disk.fd, true);
    const isPresent = found?.digest === expectedHeaders[0];
    if (found === null || !expectedHeaders.includes(found.digest))
      throw fault(`${device} has another header than the one that is known of volume ${volume}`);
    const before = await readHeader(disk);
    const header = await nextHeader(before, answer.secret, isPresent, signal);
    const { digest: headerDigest } = headerIn(header);
    if (isPresent) {
      await keepHeader(conversation, leaseId, header);
      // Before the disk has it: whoever caps this boot must know it.
      await writeNote(config.runtimeDir, {
        leaseId,
        volume,
        expectedHeaders: [found.digest, headerDigest],
      });
      print('assay-rotate: the server has the header with the next key: writing to the disk\n');
    } else if (headerDigest !== found.digest) throw fault(`${device} has a header that cannot be repaired`);
    for (const [from, to] of inOrder(header)) {
      const piece = header.subarray(from, to);
      if (!piece.equals(before.subarray(from, to)))
        await write(disk, piece, from).catch((cause: unknown) => {
          throw fault(`${device} ${isGone('written', cause)}. The next boot goes on`, cause);
        });
    }
    if (!(await readHeader(disk)).equals(header))
      throw fault(`${device} does not give back what was written to it`);
    await conversation.report({ type: 'formatted', leaseId, headerDigest });
    await rm(mark, { force: true });
    print(`assay-rotate: volume ${volume} has its next key, and the earlier one opens nothing any more\n`);
  });
}

/**
 * The header that the next key opens, made in memory, and opened by that key there. Of its keyslots' area all is zeros that no
 * keyslot of it has.
 * @param before as it is on the disk
 * @param keys the present one, then the next one
 * @param isPresent which of the two opens it; if that is the next one already, its copies may differ
 */
async function nextHeader(
  before: Buffer,
  keys: Buffer,
  isPresent: boolean,
  signal: AbortSignal,
): Promise<Buffer> {
  const memory = makeMemoryDir(undefined, signal);
  const image = join(memory.path, 'header');
  const next = keys.subarray(volumeKeyBytes);
  try {
    await using made = await open(image, 'wx+', 0o600);
    await made.write(before, 0, before.length, 0);
    // Sparse: cryptsetup wants some data behind it.
    await made.truncate(2 * dataAt);
    if (isPresent) {
      // The old key first, by its length, then the new one.
      const asFile = ['--key-file', '-', '--keyfile-size', `${volumeKeyBytes}`];
      await cryptsetup(['luksAddKey', '--batch-mode', ...asFile, ...quickly, image, '-'], keys, signal);
      const { slots } = headerIn(await readHeader(made));
      const old = Object.keys(headerIn(before).slots).filter((slot) => slot !== recoverySlot);
      if (old.length !== 1 || Object.keys(slots).length !== 3)
        throw fault('the header has other keyslots than one of a key and one of the recovery passphrase');
      await cryptsetup(['luksKillSlot', '--batch-mode', '--key-file', '-', image, ...old], next, signal);
    }
    // It also repairs a copy that a cut left damaged, or as it was before.
    await cryptsetup(['open', '--test-passphrase', '--key-file', '-', image], next, signal);
    const header = await readHeader(made);
    const { unused } = headerIn(header);
    for (const [from, to] of unused) header.fill(0, from, to);
    return header;
  } finally {
    memory.remove();
  }
}

type Range = readonly [from: number, to: number];

/** Where a header has what, in bytes. */
interface HeaderLayout {
  readonly digest: string;
  /** The key material of each keyslot. */
  readonly slots: Readonly<Record<string, Range>>;
  /** The ranges between. */
  readonly unused: readonly Range[];
}

/** @param bytes both copies of the header, and its keyslots */
function headerIn(bytes: Buffer): HeaderLayout {
  const { header } = parseLuksHeader([{ at: 0, asked: bytes.length, bytes }], true);
  const areas = header?.version === 2 ? keyslotAreas(header.metadata) : null;
  if (header === null || areas === null) throw fault('the device has no header that can be read');
  const slots = Object.entries(areas).map(([slot, { at, asked }]) => [slot, [at, at + asked]] as const);
  const used = slots.map(([, range]) => range).sort(([a], [b]) => a - b);
  const begins = [2 * sizes.metadata, ...used.map(([, to]) => to)];
  const ends = [...used.map(([from]) => from), headerBytes];
  const unused = begins.map((from, place): Range => [from, ends[place] ?? headerBytes]);
  if (unused.some(([from, to]) => from > to)) throw fault('the keyslots of the header overlap');
  return { digest: header.digest, slots: Object.fromEntries(slots), unused };
}

/**
 * The ranges of a header in the order in which they are written. Cut off before the copies, the earlier header counts, whose key
 * opens it; between and after them the new one, as the newer one that is whole. The earlier keyslot is wiped once both have none.
 */
function inOrder(header: Buffer): readonly Range[] {
  const { slots, unused } = headerIn(header);
  const { [recoverySlot]: _stays, ...leased } = slots;
  const copies: readonly Range[] = [
    [sizes.metadata, 2 * sizes.metadata],
    [0, sizes.metadata],
  ];
  return [...Object.values(leased), ...copies, ...unused];
}

/** @throws AgentError; nothing is written to the disk then */
async function keepHeader(conversation: LeaseConversation, leaseId: string, header: Buffer): Promise<void> {
  try {
    await conversation.keepHeader(leaseId, header);
  } catch (cause) {
    const why = refusals[conversation.refusal ?? ''];
    throw why === undefined ? cause : fault(`${why}. Nothing was written`, cause);
  }
}

/** Sentences on a header that the server refuses, by its code. */
const refusals: Readonly<Record<string, string>> = {
  luks_header_changed:
    'the keyslot of the recovery passphrase is damaged on the disk: write back the header that the server has (docs/disk-keys.md#recover-a-disk), and reboot',
  lease_consumed:
    'the rotation was called off, or began after this boot had its key: then the next boot carries it out',
};

async function readHeader(file: FileHandle): Promise<Buffer> {
  const bytes = Buffer.alloc(headerBytes);
  await file.read(bytes, 0, bytes.length, 0).catch((cause: unknown) => {
    throw fault(`the device ${isGone('read', cause)}`, cause);
  });
  return bytes;
}

async function writeThrough(disk: FileHandle, piece: Buffer, at: number): Promise<void> {
  for (let done = 0; done < piece.length; )
    done += (await disk.write(piece, done, piece.length - done, at + done)).bytesWritten;
}

function fault(text: string, cause?: unknown): AgentError {
  return new AgentError('rotate', text, { cause });
}
