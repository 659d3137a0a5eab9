import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import type { Inspected, LuksHeader } from '../../attest-server/wire/disk.ts';
import {
  type ByteRange,
  type HeaderChunk,
  type HeaderFound,
  parseLuksHeader,
} from '../../attest-server/wire/luks-header.ts';
import { readBounded } from '../collectors/read-bounded.ts';
import { deviceOf, type InspectedDevice, isNodeOf, readBlockDevices } from './block-devices.ts';
import { insideRoot, readHeaderPaths } from './detached-headers.ts';
import type { InspectedFile } from './inspected-file.ts';
import { parseKeyResidue, readKeyFiles } from './key-residue.ts';
import { parseMappingTables } from './mapping-tables.ts';
import { type DevicePiece, endingWithin, readPiece } from './read-device.ts';
import { parseSwaps } from './swaps.ts';

/** The access to devices and programs: a test puts its own in place. */
export interface DiskTools {
  readonly readPiece: (piece: DevicePiece) => Promise<Buffer>;
  /** Its output. @throws ToolError */
  readonly dmsetup: (args: readonly string[]) => Promise<string>;
}

export const diskTools: DiskTools = {
  readPiece,
  dmsetup: async (args) => {
    const running = run('dmsetup', args, { timeoutMs: 5_000, maxOutputBytes: 4 * 1024 * 1024 });
    const { stdout } = await endingWithin(running, 5_500, 'dmsetup');
    return stdout.toString('latin1');
  },
};

const most = { headers: 64, listed: 64, metadata: 1024 * 1024, atOnce: 4, rounds: 4 };
/** All devices together: those that are left then are named. */
const withinMs = 60_000;
/** Causes that are of no device stand under it. */
const noDevice = '0:0';

/**
 * The facts on disks that only root can see. A device that cannot be read is named in them.
 * @param now by the node's clock
 * @throws what is thrown if swap, keys or the list of devices cannot be read: silence would look like none
 */
export async function inspectDisk(sysroot: string, now: Date, tools = diskTools): Promise<InspectedFile> {
  const { devices, faults } = await readBlockDevices(sysroot);
  const unreadable: UnreadableDevice[] = faults.map((cause) => ({ device: noDevice, cause }));
  const found = await readHeaders(sysroot, devices, tools, unreadable);
  const detached = await findDetached(sysroot, devices, found, tools, unreadable);
  const headers = bounded([...detached.filter((header) => header !== null), ...found], unreadable);
  const [swaps, residue, tables] = await Promise.all([
    readSwaps(sysroot, devices),
    readResidue(sysroot, devices, headers),
    readTables(sysroot, devices, tools),
  ]);
  const inspected: Inspected = {
    at: now.toISOString(),
    headers: [...headers],
    unreadable: listed(unreadable),
    swaps: [...swaps],
    residue: [...residue].slice(0, most.listed),
  };
  return { version: 1, inspected, ...tables };
}

interface UnreadableDevice {
  readonly device: string;
  readonly cause: string;
}

/** Reads headers, those with an open volume first: if there are too many, these are not the ones left out. */
async function readHeaders(
  sysroot: string,
  devices: readonly InspectedDevice[],
  tools: DiskTools,
  unreadable: UnreadableDevice[],
): Promise<readonly LuksHeader[]> {
  const volumes = new Set(devices.filter(isVolume).flatMap((mapping) => [...mapping.slaves]));
  const order = [
    ...devices.filter(({ name }) => volumes.has(name)),
    ...devices.filter(({ name }) => !volumes.has(name)),
  ].filter(({ bytes }) => bytes > 0);
  const until = performance.now() + withinMs;
  const found = new Map<InspectedDevice, LuksHeader>();
  const left = order.values();
  const work = async () => {
    for (const one of left) {
      const note = (cause: string) => unreadable.push({ device: one.device, cause });
      if (performance.now() > until) {
        note('not read: the devices before it took too long');
        continue;
      }
      const result = await readHeader(sysroot, one, volumes.has(one.name), tools).catch((error: unknown) => ({
        header: null,
        faults: [textOf(error)],
      }));
      for (const fault of result.faults) note(fault);
      if (result.header !== null) found.set(one, luksHeader(one.device, null, result.header));
    }
  };
  await Promise.all(Array.from({ length: most.atOnce }, work));
  return order.flatMap((one) => found.get(one) ?? []);
}

export async function readHeader(
  sysroot: string,
  device: InspectedDevice,
  isOpen: boolean,
  tools: DiskTools,
): Promise<Pick<HeaderFound, 'header' | 'faults'>> {
  if (device.mapping?.suspended) throw new Error('the mapping is suspended: it would answer no read');
  const kind = await isNodeOf(sysroot, device);
  if (kind === null) throw new Error(`/${device.node} is not this device`);
  const path = join(sysroot, device.node);
  const direct = kind === 'block';
  const read = () =>
    readWanted(async (place) => {
      // No second copy lies beyond its end, and a device answers nothing there but a fault.
      if (place.at >= device.bytes) return Buffer.alloc(0);
      return pieceOf(tools, path, direct, place);
    }, isOpen);
  const found = await read();
  // One that was written while it was read is whole at the next look.
  return found.faults.length === 0 ? found : await read();
}

/** Reads the chunks that the parser asks for, as long as it asks. */
export async function readWanted(
  piece: (place: ByteRange) => Promise<Buffer>,
  isOpen: boolean,
): Promise<Pick<HeaderFound, 'header' | 'faults'>> {
  const chunks: HeaderChunk[] = [];
  for (let round = 0; ; round++) {
    const found = parseLuksHeader(chunks, isOpen);
    if (found.wants.length === 0) return found;
    if (round === most.rounds) throw new Error('its header asks for more and more');
    for (const place of found.wants) chunks.push({ ...place, bytes: await piece(place) });
  }
}

/** Some devices and file systems know no reading past the page cache. */
async function pieceOf(tools: DiskTools, path: string, direct: boolean, place: ByteRange): Promise<Buffer> {
  if (!direct) return tools.readPiece({ path, direct, ...place });
  return tools.readPiece({ path, direct, ...place }).catch((error: unknown) => {
    if (!/invalid argument/i.test(textOf(error))) throw error;
    return tools.readPiece({ path, direct: false, ...place });
  });
}

function isVolume({ mapping }: InspectedDevice): boolean {
  return mapping !== null && /^CRYPT-/.test(mapping.uuid);
}

const openVolume = /^CRYPT-LUKS[12]-([0-9a-f]{32})-/;

/** Open volumes that have no header on the device below them: it lies on another device, or where crypttab says. */
async function findDetached(
  sysroot: string,
  devices: readonly InspectedDevice[],
  found: readonly LuksHeader[],
  tools: DiskTools,
  unreadable: UnreadableDevice[],
): Promise<readonly (LuksHeader | null)[]> {
  const byName = new Map(devices.map((one) => [one.name, one]));
  const inUse = new Set(
    devices
      .filter(isVolume)
      .flatMap(({ slaves }) => slaves.flatMap((name) => byName.get(name)?.device ?? [])),
  );
  let paths: ReadonlyMap<string, string> | null = null;
  const detached: (LuksHeader | null)[] = [];
  for (const one of devices) {
    const uuid = openVolume.exec(one.mapping?.uuid ?? '')?.[1];
    if (uuid === undefined || one.mapping === null) continue;
    const below = belowOf(one, byName);
    const carrier = below.at(-1);
    const has = (header: LuksHeader) => header.uuid.replaceAll('-', '').toLowerCase() === uuid;
    if (carrier === undefined || found.some((header) => has(header) && below.some(isOn(header)))) continue;
    const elsewhere = found.find((header) => has(header) && !inUse.has(header.device));
    const holder = devices.find(({ device }) => device === elsewhere?.device);
    if (elsewhere !== undefined && holder !== undefined) {
      detached.push({ ...elsewhere, device: carrier.device, detachedAt: `/${holder.node}` });
      continue;
    }
    paths ??= await readHeaderPaths(sysroot);
    const path = paths.get(one.mapping.name);
    if (path === undefined) continue;
    try {
      const real = await insideRoot(sysroot, path);
      const { header } = await readWanted((place) => pieceOf(tools, real, false, place), true);
      if (header === null) throw new Error('no header is there');
      const its = luksHeader(carrier.device, path.slice(0, 4096), header);
      if (!has(its)) throw new Error(`the header there is of volume ${its.uuid}`);
      detached.push(its);
    } catch (error) {
      unreadable.push({ device: carrier.device, cause: `detached header ${path}: ${textOf(error)}` });
    }
  }
  return detached;
}

const isOn =
  (header: LuksHeader) =>
  ({ device }: InspectedDevice) =>
    device === header.device;

/** The devices of an open volume, from the top: below its cipher may lie integrity, a mapping of its own. */
function belowOf(
  top: InspectedDevice,
  byName: ReadonlyMap<string, InspectedDevice>,
): readonly InspectedDevice[] {
  const below: InspectedDevice[] = [];
  let at: readonly InspectedDevice[] = [top];
  for (let depth = 0; depth < 8 && at.length > 0; depth++) {
    at = at
      .filter((one) => one === top || isVolume(one))
      .flatMap(({ slaves }) => slaves.flatMap((name) => byName.get(name) ?? []));
    below.push(...at);
  }
  return below;
}

function luksHeader(
  device: string,
  detachedAt: string | null,
  header: NonNullable<HeaderFound['header']>,
): LuksHeader {
  const { version, uuid, digest } = header;
  const rest =
    header.version === 2
      ? { metadata: header.metadata, luks1: null }
      : { metadata: null, luks1: header.luks1 };
  return { device, detachedAt, version, uuid, digest, ...rest };
}

/** Headers as far as the file holds them; the others are named. */
function bounded(headers: readonly LuksHeader[], unreadable: UnreadableDevice[]): readonly LuksHeader[] {
  let bytes = 0;
  return headers.filter((header, index) => {
    bytes += Buffer.byteLength(header.metadata ?? '');
    if (index < most.headers && bytes <= most.metadata) return true;
    unreadable.push({ device: header.device, cause: 'left out: more volumes than the file holds' });
    return false;
  });
}

function listed(unreadable: readonly UnreadableDevice[]): UnreadableDevice[] {
  const shown = unreadable.map(({ device, cause }) => ({
    device,
    cause: cause.replace(/[^\x20-\x7e]/g, '?').slice(0, 256),
  }));
  const left = shown.length - most.listed;
  if (left <= 0) return shown;
  return [
    ...shown.slice(0, most.listed - 1),
    { device: noDevice, cause: `and of ${left + 1} more: see the log of assay-inspect` },
  ];
}

async function readSwaps(sysroot: string, devices: readonly InspectedDevice[]): Promise<Inspected['swaps']> {
  const bytes = await readBounded(join(sysroot, 'proc/swaps'), 1024 * 1024);
  if (bytes === null) return [];
  const swaps = parseSwaps(bytes);
  // One that is left out would be one that nobody judges.
  if (swaps.length > most.listed) throw new RangeError(`/proc/swaps names ${swaps.length} of them`);
  return Promise.all(
    swaps.map(async ({ path, isDevice }) => {
      const at = Buffer.concat([Buffer.from(sysroot), Buffer.from(path, 'latin1')]);
      const found = await stat(at).catch(() => null);
      const device = isDevice
        ? found?.isBlockDevice()
          ? deviceOf(found.rdev)
          : byNode(devices, path)
        : found && deviceOf(found.dev);
      return { path: path.slice(0, 4096), device };
    }),
  );
}

function byNode(devices: readonly InspectedDevice[], path: string): string | null {
  const found = devices.find(
    ({ node, mapping }) =>
      path === `/${node}` || (mapping !== null && path === `/dev/mapper/${mapping.name}`),
  );
  return found?.device ?? null;
}

async function readResidue(
  sysroot: string,
  devices: readonly InspectedDevice[],
  headers: readonly LuksHeader[],
): Promise<Inspected['residue']> {
  const bytes = await readBounded(join(sysroot, 'proc/keys'), 4 * 1024 * 1024);
  const active = new Set(
    devices.flatMap(({ mapping }) => dashed(openVolume.exec(mapping?.uuid ?? '')?.[1]) ?? []),
  );
  const inKeyrings = bytes === null ? [] : parseKeyResidue(bytes, active, keysOfTokens(headers));
  const files = await readKeyFiles(sysroot);
  const [fault] = files.faults;
  if (fault !== undefined) throw new Error(`keys in files: ${fault}`);
  return [...inKeyrings, ...files.residue];
}

export function dashed(uuid: string | undefined): string | null {
  return uuid?.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') ?? null;
}

/** Tokens of type luks2-keyring name the key that opens their keyslots. The rest of the metadata is for the server. */
function keysOfTokens(headers: readonly LuksHeader[]): ReadonlySet<string> {
  const named = headers.flatMap(({ metadata }) => [
    ...(metadata ?? '').matchAll(/"key_description"\s*:\s*("(?:[^"\\]|\\.){1,1024}")/g),
  ]);
  return new Set(
    named.flatMap(([, text = '']) => {
      try {
        return [Buffer.from(String(JSON.parse(text))).toString('latin1')];
      } catch {
        return [];
      }
    }),
  );
}

async function readTables(
  sysroot: string,
  devices: readonly InspectedDevice[],
  { dmsetup }: DiskTools,
): Promise<Pick<InspectedFile, 'tables' | 'tablesUnread'>> {
  const mappings = devices.flatMap(({ device, mapping }) =>
    mapping === null ? [] : [{ device, name: mapping.name }],
  );
  if (mappings.length === 0) return { tables: {}, tablesUnread: null };
  try {
    if (!(await isThisBoot(sysroot))) throw new Error('the root is of another machine or boot');
    // As the kernel has the names, which is as sysfs shows them.
    const text = await dmsetup(['table', '--manglename', 'none']);
    const { tables, faults } = parseMappingTables(
      text,
      mappings.map(({ name }) => name),
    );
    const missing = mappings.filter(({ name }) => !tables.has(name)).map(({ name }) => name);
    if (missing.length > 0) faults.push(`no table of ${missing.slice(0, 4).join(', ')}`);
    return {
      tables: Object.fromEntries(
        mappings.flatMap(({ device, name }) => {
          const table = tables.get(name);
          return table === undefined ? [] : [[device, [...table]]];
        }),
      ),
      tablesUnread: faults.length === 0 ? null : printable(faults.join('; ')),
    };
  } catch (error) {
    return { tables: {}, tablesUnread: printable(textOf(error)) };
  }
}

/** dmsetup asks the running kernel, which another root may not be of. */
async function isThisBoot(sysroot: string): Promise<boolean> {
  const path = 'proc/sys/kernel/random/boot_id';
  const [ours, its] = await Promise.all([
    readBounded(join('/', path), 64),
    readBounded(join(sysroot, path), 64),
  ]);
  return ours !== null && its !== null && ours.equals(its);
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 256);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
