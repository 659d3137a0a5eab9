import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readBounded } from '../collectors/read-bounded.ts';

/** A block device of the machine, by what sysfs says of it. */
export interface InspectedDevice {
  /** `major:minor` */
  readonly device: string;
  /** As sysfs names it: `sda1`, `dm-0`; a `!` stands for the `/` of its node. */
  readonly name: string;
  /** Its node, below the root. */
  readonly node: string;
  readonly bytes: number;
  /** Device mapper: name and UUID, and whether it waits with all that is asked of it. */
  readonly mapping: { readonly name: string; readonly uuid: string; readonly suspended: boolean } | null;
  /** Devices that it is made of, and those that are made of it, by name. */
  readonly slaves: readonly string[];
  readonly holders: readonly string[];
}

export interface InspectedDevices {
  readonly devices: readonly InspectedDevice[];
  /** Why some are not among them. */
  readonly faults: readonly string[];
}

/** Beyond it the machine is one that nobody looks through. */
const mostDevices = 1024;
/** Drives with a medium that is changed, and memory that stands for a disk: no volume of a node lies there. */
const passed = /^(?:sr|fd|ram)\d+$/;

/** @throws what the file system throws if sysfs has no list at all */
export async function readBlockDevices(sysroot: string): Promise<InspectedDevices> {
  const folder = join(sysroot, 'sys/class/block');
  const names = (await readdir(folder)).filter((name) => !passed.test(name)).sort();
  const faults: string[] = [];
  if (names.length > mostDevices) faults.push(`${names.length} block devices: ${mostDevices} were looked at`);
  const devices: InspectedDevice[] = [];
  for (const name of names.slice(0, mostDevices)) {
    const found = await readDevice(sysroot, name).catch((error: unknown) => {
      faults.push(`${name}: ${textOf(error)}`);
      return null;
    });
    if (found !== null) devices.push(found);
  }
  return { devices, faults };
}

/** Whether it is read as a device: its node is that device, or, below another root, a file that stands for it. */
export async function isNodeOf(
  sysroot: string,
  { node, device }: InspectedDevice,
): Promise<'block' | 'file' | null> {
  const found = await stat(join(sysroot, node));
  if (found.isBlockDevice()) return deviceOf(found.rdev) === device ? 'block' : null;
  return found.isFile() && sysroot !== '/' ? 'file' : null;
}

/** `major:minor` of a number as stat(2) gives it (gnu_dev_major(3)). */
export function deviceOf(number: number): string {
  const value = BigInt(number);
  const major = ((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xfffff000n);
  const minor = (value & 0xffn) | ((value >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

/** Null for one that is gone meanwhile. */
async function readDevice(sysroot: string, name: string): Promise<InspectedDevice | null> {
  const at = join(sysroot, 'sys/class/block', name);
  const line = async (file: string) =>
    (await readBounded(join(at, file), 4096))?.toString('utf8').replace(/\n$/, '') ?? null;
  const list = async (file: string) => (await readdir(join(at, file)).catch(() => [])).slice(0, 256);
  const [device, size, dmName, uuid, suspended, slaves, holders] = await Promise.all([
    line('dev'),
    line('size'),
    line('dm/name'),
    line('dm/uuid'),
    line('dm/suspended'),
    list('slaves'),
    list('holders'),
  ]);
  if (device === null) return null;
  if (!/^\d{1,10}:\d{1,10}$/.test(device)) throw new Error(`sysfs says that it is device ${device}`);
  return {
    device,
    name,
    node: `dev/${name.replaceAll('!', '/')}`,
    // Without a size it is looked at: nothing is passed because a file is missing.
    bytes: size === null || !/^\d{1,15}$/.test(size) ? Number.POSITIVE_INFINITY : Number(size) * 512,
    mapping: dmName === null ? null : { name: dmName, uuid: uuid ?? '', suspended: suspended === '1' },
    slaves,
    holders,
  };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
