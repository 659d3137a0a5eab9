import { realpath } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskPart } from '../../attest-server/wire/disk.ts';
import { limits } from '../../attest-server/wire/limits.ts';
import {
  asBytes,
  type FindMount,
  type Mount,
  mountFinder,
  parseMountTable,
} from '../../attest-server/wire/mount-table.ts';
import { outsideText } from '../../attest-server/wire/printable.ts';
import {
  comesWithContainers,
  isBelow,
  type MountsAround,
  overlayLayers,
} from '../../attest-server/wire/protected-mounts.ts';
import {
  ageFault,
  dayOf,
  type InspectedFile,
  inspectedDiskBytes,
  inspectedDiskFile,
  inspectFolder,
  parseInspectedFile,
} from '../inspect/inspected-file.ts';
import { BlockDevices, DeviceGone } from './block-devices.ts';
import { type PartCollector, Unavailable } from './collector.ts';
import { mostOfMountTable, mountTablePath, readHostView } from './host-view.ts';
import { readBounded } from './read-bounded.ts';
import { resolveAllBelow } from './resolve-below.ts';

/**
 * The disks below the paths that a policy protects, read from files alone: the mounts as the host sees them, and every block
 * device under these. Which mounts are left out says protected-mounts.ts; of all others those are sent that a protected path
 * stands on, that lie at or below one, and that their overlays and loop files lie on.
 */
export const disk: PartCollector = {
  name: 'disk',
  part: 'disk',
  // Some dozens of small files, which are late on a machine that is busy.
  within: 2_000,
  async read(sysroot, signal, { paths = [] } = {}) {
    for (let attempt = 1; ; attempt++)
      try {
        return packed(await readDisk(sysroot, signal, paths));
      } catch (error) {
        // A device that went while it was read is no longer there at the second look, or there is something wrong.
        if (!(error instanceof DeviceGone)) throw error;
        if (attempt === 2) return new Unavailable(error.message);
      }
  },
};

const most = { mounts: 4096, line: 16_384, devices: 1024 };

async function readDisk(
  sysroot: string,
  signal: AbortSignal,
  asked: readonly string[],
): Promise<DiskPart | Unavailable> {
  const root = await realpath(sysroot);
  const [bytes, inspected, resolved] = await Promise.all([
    readBounded(join(root, mountTablePath), mostOfMountTable, signal),
    readInspected(root, signal),
    resolveAllBelow(root, asked),
  ]);
  if (bytes === null) return new Unavailable(`there is no /${mountTablePath}`);
  const table = parseMountTable(bytes);
  const find = mountFinder(table);
  const hidden = await hiddenFromUs(
    root,
    find,
    resolved.flatMap(({ looked }) => looked),
    signal,
  );
  if (hidden !== null) return new Unavailable(hidden);
  const reals = resolved.map(({ real }) => real);
  const byId = new Map(table.map((mount) => [mount.id, mount]));
  const protectedPaths = reals.filter((real) => real !== null).map(asBytes);
  const standing = new Set(protectedPaths.map(find).filter((mount) => mount !== null));
  const around: MountsAround = { find, standing, byId };

  // What lies on these is to be reported: more come with overlays and loop files.
  const told = new Set<Mount>(standing);
  for (const mount of table)
    if (protectedPaths.some((path) => isToldOf(mount, path, around))) told.add(mount);
  const { tables, tablesUnread, inspected: saw } = inspected;
  const devices = new BlockDevices(root, signal, tables);
  const tellFile = (file: string) => {
    const at = isAbsolute(file) ? findOrNull(find, file) : null;
    if (at !== null) told.add(at);
  };
  // A set is walked to what was added on the way.
  for (const mount of told) {
    if (told.size > most.mounts) return new Unavailable(`more than ${most.mounts} mounts below the paths`);
    if (mount.type === 'overlay') for (const layer of overlayLayers(mount) ?? []) tellFile(layer);
    for (const file of await devices.addMount(mount)) tellFile(file);
    if (devices.size > most.devices) return new Unavailable(`more than ${most.devices} block devices`);
  }
  if ('at' in saw)
    for (const { device } of saw.swaps)
      if (device !== null) for (const file of await devices.add(device).catch(goneSince)) tellFile(file);
  for (const mount of told) await devices.addMount(mount);

  const sent = withParents(told, byId);
  const lines = bytes.toString('latin1').split('\n');
  const mounts = table.flatMap((mount, index) => (sent.has(mount) ? [lines[index] ?? ''] : []));
  if (mounts.length > most.mounts || mounts.some(({ length }) => length > most.line))
    return new Unavailable('the mounts below the paths are too many, or one is too long');
  return {
    version: 1,
    paths: asked.map((path, index) => ({ path, real: reals[index] ?? null })),
    mounts,
    devices: devices.all(),
    inspected: withoutTables(saw, devices.all(), tablesUnread),
  };
}

/** `inspect` saw the swap some time ago. The devices below the paths are still reported, and the swap without its device. */
function goneSince(error: unknown): readonly string[] {
  if (error instanceof DeviceGone) return [];
  throw error;
}

/**
 * Why one of these places is another one for this program than for the host; null if none is.
 * @param find in the host's mount table
 */
async function hiddenFromUs(
  root: string,
  find: FindMount,
  places: readonly string[],
  signal: AbortSignal,
): Promise<string | null> {
  if (places.length === 0) return null;
  const view = await readHostView(root, signal, find);
  if (view === null) return null;
  for (const place of places) {
    const why = view.hides(place);
    if (why !== null) return why;
  }
  return null;
}

/** At the path, or below it and not left out. */
function isToldOf(mount: Mount, path: string, around: MountsAround): boolean {
  if (mount.mountPoint === path) return true;
  return isBelow(mount.mountPoint, path) && !comesWithContainers(mount, path, around);
}

/** Who walks to a mount passes those that it lies on. */
function withParents(mounts: Iterable<Mount>, byId: ReadonlyMap<number, Mount>): ReadonlySet<Mount> {
  const all = new Set<Mount>();
  for (const mount of mounts)
    for (let at: Mount | undefined = mount; at !== undefined && !all.has(at); at = byId.get(at.parent))
      all.add(at);
  return all;
}

function findOrNull(find: MountsAround['find'], path: string): Mount | null {
  try {
    return find(asBytes(path));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function isAbsolute(path: string): boolean {
  return path.startsWith('/');
}

interface InspectionResult {
  readonly inspected: DiskPart['inspected'];
  readonly tables: InspectedFile['tables'];
  readonly tablesUnread: string | null;
}

/** Why a mapping has no table stands beside what else could not be read of it. */
function withoutTables(
  saw: DiskPart['inspected'],
  devices: DiskPart['devices'],
  cause: string | null,
): DiskPart['inspected'] {
  if ('cause' in saw || cause === null) return saw;
  const open = devices.filter(({ mapping }) => mapping !== null && mapping.table === null);
  const unreadable = [...open.map(({ device }) => ({ device, cause })), ...saw.unreadable];
  return { ...saw, unreadable: unreadable.slice(0, 64) };
}

/** The facts that only root can read, as `assay-agent inspect` wrote them; or why they are not there, or do not count. */
async function readInspected(root: string, signal: AbortSignal): Promise<InspectionResult> {
  const none = (cause: string): InspectionResult => ({
    inspected: { cause: outsideText(cause) },
    tables: {},
    tablesUnread: null,
  });
  try {
    const bytes = await readBounded(join(root, inspectFolder, inspectedDiskFile), inspectedDiskBytes, signal);
    if (bytes === null)
      return none('assay-agent inspect has written nothing: systemctl enable --now assay-inspect.timer');
    const { inspected, tables, tablesUnread } = parseInspectedFile(bytes);
    const fault = ageFault(inspected.at, Date.now());
    if (fault !== null) return none(fault);
    return { inspected: { ...inspected, at: dayOf(inspected.at) }, tables, tablesUnread };
  } catch (error) {
    signal.throwIfAborted();
    return none(error instanceof Error ? error.message : String(error));
  }
}

function packed(part: DiskPart | Unavailable): Buffer | Unavailable {
  if (part instanceof Unavailable) return part;
  const bytes = Buffer.from(JSON.stringify(part));
  return bytes.length <= limits.parts.disk
    ? bytes
    : new Unavailable(`what lies below the paths takes ${bytes.length} bytes`);
}
