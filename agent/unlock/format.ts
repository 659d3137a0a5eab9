import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { openTpm } from 'node-tpm2';
import { run, ToolError } from 'node-tpm2/run';
import { recoveryBytes, volumeKeyBytes } from '../../attest-server/wire/key-derivation.ts';
import { leasedCipher, parseLuksHeader, recoverySlot } from '../../attest-server/wire/luks-header.ts';
import { AgentError } from '../agent-error.ts';
import { describeFault } from '../describe-fault.ts';
import { readIdentity } from '../identity.ts';
import { makeMemoryDir } from '../node-tpm2/memory-dir.ts';
import { noState } from '../state-dir.ts';
import type { UnlockConfig } from './config.ts';
import { beginsHeaderOf, headerOn, isGone } from './header.ts';
import { LeaseConversation, type LeaseParts, type ReleasedKey } from './lease-conversation.ts';
import { checkMemory } from './memory.ts';
import type { UnlockDependencies } from './run.ts';

/** LUKS2: binary header and JSON area twice, and keyslots for three keys of 64 bytes, one of which is for an exchange. */
export const sizes = { keyslots: 1024 * 1024, metadata: 16 * 1024 };
export const headerBytes = 2 * sizes.metadata + sizes.keyslots;
/** The piece that a disk writes whole, or not at all. */
const sectorBytes = 512;
/** Where the data begin, as cryptsetup has it by default. */
export const dataAt = 16 * 1024 * 1024;
/** Key and passphrase are 256 and 200 random bits: no derivation makes them harder to guess. */
export const quickly = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
/** Pieces of the device that must be zeros, beside its two ends. */
const sampled = 64;
const pieceBytes = 1024 * 1024;

/**
 * Formats a volume for which `assay disk init` made the key: the server has the header before the disk has. What is on the
 * device is left alone unless it is blank, or the header that an earlier attempt began to write.
 * @throws AgentError, ToolError, each with its next step
 */
export async function formatVolume(
  config: UnlockConfig,
  named: string,
  { logger, signal, print }: Omit<UnlockDependencies, 'environment'>,
): Promise<void> {
  const { volume } = config;
  // No name is taken for an option by what reads it below.
  const device = resolve(named);
  if (volume === null) throw fault('no volume is named: --volume UUID, as assay disk init printed it');
  await checkMemory(config.sysroot);
  await using disk = await open(device, constants.O_RDWR | constants.O_EXCL | constants.O_DSYNC).catch(
    (cause: unknown) => {
      throw fault(`${device} cannot be opened alone: is it mounted or mapped? ${textOf(cause)}`, cause);
    },
  );
  const bytes = await sizeOf(disk, device);
  await checkBlank(disk, device, volume, bytes);
  print(`assay-format: ${device} is blank: asking for the key of volume ${volume}\n`);
  await withKey({ ...config, volume }, { logger, signal }, fault, async (answer, conversation) => {
    const { leaseId } = answer.release;
    if (answer.release.expectedHeaders.length > 0)
      throw fault(`volume ${volume} is formatted: nothing was written. Another one: assay disk init`);
    const header = await makeHeader(volume, bytes, answer, signal);
    const headerDigest = parseLuksHeader([{ at: 0, asked: header.length, bytes: header }], true).header
      ?.digest;
    if (headerDigest === undefined) throw fault('cryptsetup made no header that can be read');
    await conversation.keepHeader(leaseId, header);
    print('assay-format: the server has the header and the recovery passphrase: writing to the disk\n');
    await writeHeader(disk, device, header);
    if ((await headerOn(disk.fd))?.digest !== headerDigest)
      throw fault(`${device} does not give back what was written to it`);
    await testOpen(device, answer, signal);
    await conversation.report({ type: 'formatted', leaseId, headerDigest });
    print(`assay-format: volume ${volume} is formatted on ${device}\n`);
  });
}

/**
 * Uses the key of a volume that a server gives to this boot, and wipes it after that.
 * @param refused the fault of the program that asks
 * @throws what `refused` makes, if the server gives none; what the last server failed with, if none answers
 */
export async function withKey(
  config: UnlockConfig & { readonly volume: string },
  { logger, signal }: Pick<UnlockDependencies, 'logger' | 'signal'>,
  refused: (text: string) => AgentError,
  use: (answer: ReleasedKey, conversation: LeaseConversation) => Promise<void>,
): Promise<void> {
  await using tpm = await openTpm({ tcti: config.tcti, signal });
  const identity = await readIdentity(tpm);
  // The folder of unlock may be another user's.
  const parts = { config, volume: config.volume, tpm, identity, state: noState, logger, signal };
  await using conversation = await answeringServer(config.servers, parts);
  const answer = await conversation.answer;
  if (answer.is === 'refused')
    throw refused(`the server gives no key: ${answer.code}. On the server: assay why ${config.node}`);
  try {
    await use(answer, conversation);
  } finally {
    answer.secret.fill(0);
  }
}

/** A connection to the first server that answers. @throws what the last of them failed with */
async function answeringServer(
  servers: UnlockConfig['servers'],
  parts: LeaseParts,
): Promise<LeaseConversation> {
  let last: unknown = fault('no server is named');
  for (const server of servers) {
    await using opened = new AsyncDisposableStack();
    try {
      const conversation = opened.use(await LeaseConversation.open(server, parts));
      await conversation.answer;
      opened.move();
      return conversation;
    } catch (error) {
      if (parts.signal.aborted) throw error;
      parts.logger.warn({ ...describeFault(error), server: `${server.host}:${server.port}` }, 'no answer');
      last = error;
    }
  }
  throw last;
}

async function sizeOf(disk: FileHandle, device: string): Promise<number> {
  const found = await disk.stat();
  if (found.isFile()) return found.size;
  if (!found.isBlockDevice()) throw fault(`${device} is no block device`);
  const { stdout } = await run('blockdev', ['--getsize64', device], { timeoutMs: 5_000, maxOutputBytes: 64 });
  return Number(stdout.toString('latin1').trim());
}

/** @throws AgentError saying what was found: nothing is written then */
async function checkBlank(disk: FileHandle, device: string, volume: string, bytes: number): Promise<void> {
  if (bytes < 2 * dataAt) throw fault(`${device} has ${bytes} bytes: a volume needs at least ${2 * dataAt}`);
  const read = (piece: Buffer, place: number) =>
    disk.read(piece, 0, piece.length, place).catch((cause: unknown) => {
      throw fault(`${device} ${isGone('read', cause)}`, cause);
    });
  const sector = Buffer.alloc(sectorBytes);
  await read(sector, 0);
  // Of an attempt that was cut off: it holds no data yet, since the server expects no header of it.
  if (beginsHeaderOf(sector, volume)) return;
  const found = await run('wipefs', ['--no-act', '--noheadings', '--output', 'TYPE,OFFSET', device], {
    timeoutMs: 30_000,
    maxOutputBytes: 65_536,
  });
  const signatures = found.stdout.toString('latin1').trim().replace(/\s+/g, ' ');
  if (signatures !== '')
    throw fault(`${device} is not blank: it holds ${signatures.slice(0, 200)}. Nothing was written`);
  const last = bytes - pieceBytes;
  const places = Array.from({ length: sampled }, (_, index) => Math.floor((last * index) / (sampled - 1)));
  const piece = Buffer.alloc(pieceBytes);
  for (const place of places) {
    const { bytesRead } = await read(piece, place);
    if (piece.subarray(0, bytesRead).some((byte) => byte !== 0))
      throw fault(
        `${device} is not blank: there are data near byte ${place}. Nothing was written. If they may be lost: blkdiscard --zeroout ${device}`,
      );
  }
}

/** The header with two keyslots, made in memory: the leased key, and the recovery passphrase. */
async function makeHeader(
  volume: string,
  bytes: number,
  { secret }: ReleasedKey,
  signal: AbortSignal,
): Promise<Buffer> {
  const memory = makeMemoryDir(undefined, signal);
  const image = join(memory.path, 'header');
  const key = secret.subarray(0, volumeKeyBytes);
  const passphrase = secret.subarray(volumeKeyBytes);
  if (passphrase.length !== recoveryBytes) throw fault('the server sent no recovery passphrase');
  try {
    await using made = await open(image, 'wx+', 0o600);
    // Sparse: the size tells cryptsetup where the data may end.
    await made.truncate(bytes);
    await cryptsetup(
      [
        ...['luksFormat', '--batch-mode', '--type', 'luks2', '--uuid', volume, '--cipher', leasedCipher],
        ...['--key-size', '512', '--hash', 'sha256'],
        ...quickly,
        ...['--luks2-metadata-size', `${sizes.metadata}`, '--luks2-keyslots-size', `${sizes.keyslots}`],
        ...['--offset', `${dataAt / 512}`, '--key-file', '-', image],
      ],
      key,
      signal,
    );
    // The old key first, by its length, then the new one: both in one pipe, and in no file.
    await cryptsetup(
      [
        ...['luksAddKey', '--batch-mode', '--key-file', '-', '--keyfile-size', `${volumeKeyBytes}`],
        ...quickly,
        ...['--key-slot', recoverySlot, image, '-'],
      ],
      secret,
      signal,
    );
    const header = Buffer.alloc(headerBytes);
    await made.read(header, 0, header.length, 0);
    return header;
  } finally {
    memory.remove();
  }
}

/** @throws AgentError where the device fails: the server expects no header of it yet */
async function writeHeader(disk: FileHandle, device: string, header: Buffer): Promise<void> {
  try {
    // First what tells whose it is: after a power cut that is there, whatever else of it is.
    for (let [at, length] = [0, sectorBytes]; at < header.length; length = header.length - at)
      at += (await disk.write(header, at, length, at)).bytesWritten;
    await disk.sync();
  } catch (cause) {
    const again = 'The volume is not formatted: once the device is there, type the same again';
    throw fault(`${device} ${isGone('written', cause)}. ${again}`, cause);
  }
}

/** @throws AgentError if one of the two keyslots does not open */
async function testOpen(device: string, { secret }: ReleasedKey, signal: AbortSignal): Promise<void> {
  const slots = [secret.subarray(0, volumeKeyBytes), secret.subarray(volumeKeyBytes)];
  for (const [slot, key] of slots.entries())
    await cryptsetup(
      ['open', '--test-passphrase', '--key-slot', `${slot}`, '--key-file', '-', device],
      key,
      signal,
    );
}

export async function cryptsetup(args: readonly string[], input: Buffer, signal: AbortSignal): Promise<void> {
  try {
    await run('cryptsetup', args, { input, signal, timeoutMs: 120_000, maxOutputBytes: 65_536 });
  } catch (error) {
    if (error instanceof ToolError && error.code === 'missing_program')
      throw fault('cryptsetup is missing: apt-get install cryptsetup-bin', error);
    throw error;
  }
}

function fault(text: string, cause?: unknown): AgentError {
  return new AgentError('format', text, { cause });
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
