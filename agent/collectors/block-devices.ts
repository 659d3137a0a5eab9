import { readdir, readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import type { BlockDevice } from '../../attest-server/wire/disk.ts';
import type { Mount } from '../../attest-server/wire/mount-table.ts';
import { readBounded } from './read-bounded.ts';

/** Sysfs named it, and has it no more. The message says which, and goes to the server. */
export class DeviceGone extends Error {
  override readonly name = 'DeviceGone';
}

/** Block devices, each with all that it is made of, as sysfs has them below a root (Documentation/ABI, sysfs-block). */
export class BlockDevices {
  readonly #sys: string;
  readonly #signal: AbortSignal;
  readonly #tables: Readonly<Record<string, readonly string[]>>;
  readonly #read = new Map<string, BlockDevice>();

  /** @param tables live device-mapper tables by `major:minor` */
  constructor(root: string, signal: AbortSignal, tables: Readonly<Record<string, readonly string[]>>) {
    this.#sys = `${root}/sys`;
    this.#signal = signal;
    this.#tables = tables;
  }

  get size(): number {
    return this.#read.size;
  }

  all(): BlockDevice[] {
    return [...this.#read.values()].sort((a, b) => (a.device < b.device ? -1 : 1));
  }

  /**
   * Adds the devices that a mount stands on. The device of btrfs is anonymous: it is sent as one that is made of the devices
   * that the kernel lists for that file system. Of ZFS, and of file systems over a network, sysfs says nothing, so none is
   * sent.
   * @returns files that back loop devices among them
   * @throws DeviceGone
   */
  async addMount({ device, type, source }: Mount): Promise<readonly string[]> {
    if (!device.startsWith('0:')) return this.add(device);
    if (type !== 'btrfs' || this.#read.has(device)) return [];
    const found = await this.#btrfs(basename(source));
    if (found === null) return [];
    const { uuid, members } = found;
    this.#read.set(device, { ...nothing, device, name: `btrfs ${uuid}`.slice(0, 256), slaves: members });
    return this.#addAll(members);
  }

  /** One device and all below it. @returns files that back loop devices among them @throws DeviceGone */
  add(device: string): Promise<readonly string[]> {
    return this.#addAll([device]);
  }

  async #addAll(devices: readonly string[]): Promise<readonly string[]> {
    const files: string[] = [];
    const open = devices.filter((device) => !this.#read.has(device));
    // Each is read once, however many stand on it; a kernel has no more than some dozens.
    for (let next = open.pop(); next !== undefined && this.#read.size <= mostDevices; next = open.pop()) {
      if (this.#read.has(next)) continue;
      const read = await this.#device(next);
      this.#read.set(next, read);
      if (read.loop !== null) files.push(read.loop.backingFile);
      open.push(...read.slaves, ...(read.partitionOf === null ? [] : [read.partitionOf]));
    }
    return files;
  }

  async #device(device: string): Promise<BlockDevice> {
    const place = `${this.#sys}/dev/block/${device}`;
    const link = await readlink(place).catch(noLink);
    const own = await this.#text(`${place}/dev`);
    if (own !== device) throw new DeviceGone(`block device ${device} is not in sysfs`);
    const [slaves, partition, dmName, dmUuid, backing, level, event] = await Promise.all([
      this.#slaves(`${place}/slaves`),
      this.#text(`${place}/partition`),
      this.#text(`${place}/dm/name`),
      this.#text(`${place}/dm/uuid`),
      this.#text(`${place}/loop/backing_file`),
      this.#text(`${place}/md/level`),
      link === null ? this.#text(`${place}/uevent`) : null,
    ]);
    const name = link === null ? (/^DEVNAME=(.+)$/m.exec(event ?? '')?.[1] ?? device) : basename(link);
    // The folder of a partition lies in that of its disk; the kernel follows the link, join would not.
    const whole = partition === null ? null : await this.#text(`${place}/../dev`);
    if (partition !== null && whole === null)
      throw new DeviceGone(`block device ${device} is a partition, and its disk is not in sysfs`);
    return {
      device,
      name: name.slice(0, 256),
      slaves,
      partitionOf: whole,
      mapping:
        dmName === null
          ? null
          : {
              name: dmName.slice(0, 256),
              uuid: (dmUuid ?? '').slice(0, 1024),
              table:
                [...(this.#tables[device] ?? [])].length === 0 ? null : [...(this.#tables[device] ?? [])],
            },
      loop: backing === null ? null : { backingFile: backing.slice(0, 4096) },
      raid: level === null || level === '' ? null : { level: level.slice(0, 32) },
    };
  }

  async #slaves(folder: string): Promise<string[]> {
    const names = await readdir(folder).catch(notThere);
    const slaves = await Promise.all((names ?? []).map((name) => this.#text(`${folder}/${name}/dev`)));
    return slaves.map((slave, index) => {
      if (slave === null)
        throw new DeviceGone(`${names?.[index]}, a part of another device, went from sysfs`);
      return slave;
    });
  }

  /** @param name of the device that the mount table names: of the kernel (`dm-0`) or of device mapper */
  async #btrfs(name: string): Promise<{ readonly uuid: string; readonly members: string[] } | null> {
    const folder = `${this.#sys}/fs/btrfs`;
    for (const uuid of ((await readdir(folder).catch(notThere)) ?? []).slice(0, mostFileSystems)) {
      const devices = (await readdir(`${folder}/${uuid}/devices`).catch(notThere)) ?? [];
      const members: string[] = [];
      let isIt = false;
      for (const each of devices.slice(0, 256)) {
        const place = `${folder}/${uuid}/devices/${each}`;
        const [member, mapped] = await Promise.all([
          this.#text(`${place}/dev`),
          this.#text(`${place}/dm/name`),
        ]);
        if (member === null) throw new DeviceGone(`${each}, a device of a btrfs, went from sysfs`);
        members.push(member);
        isIt ||= each === name || mapped === name;
      }
      if (isIt) return { uuid, members };
    }
    return null;
  }

  /** The text of a small file, without the line's end; null if it is not there, or the device went. */
  async #text(path: string): Promise<string | null> {
    const bytes = await readBounded(path, mostOfFile, this.#signal).catch(notThere);
    return bytes?.toString('utf8').replace(/\n$/, '') ?? null;
  }
}

const mostDevices = 1024;
const mostFileSystems = 256;
const mostOfFile = 8192;

const nothing = { partitionOf: null, mapping: null, loop: null, raid: null };

/** Errors of a device that goes while it is read. */
const gone = new Set(['ENOENT', 'ENOTDIR', 'ENODEV', 'ENXIO', 'EIO']);

function notThere(error: unknown): null {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && gone.has(error.code))
    return null;
  throw error;
}

/** A tree that was made by hand may have a folder there. */
function noLink(error: unknown): null {
  if (error instanceof Error && 'code' in error && error.code === 'EINVAL') return null;
  return notThere(error);
}
