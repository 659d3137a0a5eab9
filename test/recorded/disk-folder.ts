import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { BlockDevice, DiskPart, LuksHeader } from '../../attest-server/wire/disk.ts';
import { type Mount, mountOf, parseMountTable } from '../../attest-server/wire/mount-table.ts';

/** When folders count as recorded: nothing is judged by it. */
const at = '2026-11-25T00:00:00.000Z';
const docker = '/var/lib/docker';

/**
 * The part `disk` as an agent on the machine would have sent it, of what its commands printed (mountinfo, sysfs by a
 * shell, dmsetup, cryptsetup, lsblk). Of a file that is missing nothing is known: no header, no table.
 */
export async function diskPartOfFolder(folder: string): Promise<DiskPart> {
  const names = await readdir(folder);
  const text = async (name: string) =>
    names.includes(name) ? await readFile(join(folder, name), 'latin1') : '';
  const each = async (pattern: RegExp): Promise<readonly (readonly [string, string])[]> =>
    Promise.all(
      names.flatMap((name) => {
        const [, key] = pattern.exec(name) ?? [];
        return key === undefined ? [] : [text(name).then((content) => [key, content] as const)];
      }),
    );
  const mountinfo = await text('mountinfo.txt');
  const table = parseMountTable(Buffer.from(mountinfo, 'latin1'));
  const lsblk = partsIn(await text('lsblk-b.json'), await text('lsblk.json'));
  const tables = tablesOf(await text('dmsetup-table.txt'), await each(/^dmsetup-table-(.+)\.txt$/));
  const states = new Map(await each(/^status-(.+)\.txt$/));
  const listedDevices = devicesOf(
    await text('sys-block.txt'),
    await text('sys-dm-uuid.txt'),
    lsblk,
    tables,
    states,
  );
  const devices = [...listedDevices, ...btrfsOf(table, await text('blkid.txt'), listedDevices)];
  const dumps = new Map([
    // Only the JSON was recorded: the mapping that was opened by it says its UUID.
    ...(await each(/^luksDump-(.+)\.json$/)).map(([name]) => [name, dumpOfMapping(name, devices)] as const),
    ...(await each(/^luksDump-(.+)\.txt$/)),
  ]);
  const found = await Promise.all(
    [...dumps].flatMap(([name, dump]) => {
      const header = headerOf(name, dump, devices);
      if (header === null) return [];
      const metadata = text(`luksDump-${name}.json`).then((json) => json || luks2Metadata(dump));
      return [metadata.then((json) => ({ ...header, metadata: header.version === 2 ? json : null }))];
    }),
  );
  const swaps = (await text('swaps.txt'))
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [path = ''] = line.split(/\s+/);
      return path === ''
        ? []
        : [{ path, device: deviceOf(path, devices) ?? mountOf(table, path)?.device ?? null }];
    });
  const residue = (await each(/^(proc-keys|keys)\.txt$/)).flatMap(([, keys]) =>
    [...keys.matchAll(/\blogon\s+(cryptsetup:[^\s:]+(?:-d\d+)?)/g)].map(([, name = '']) => ({
      where: 'keyring' as const,
      name,
    })),
  );
  return {
    version: 1,
    paths: [
      {
        path: docker,
        real: names.includes('stat-docker.txt')
          ? await dockerOf(await text('stat-docker.txt'), await text('findmnt-docker.json'))
          : docker,
      },
      ...['/var/lib/containerd', '/var/lib/kubelet'].map((path) => ({
        path,
        // What nothing is mounted at or below was not there on these machines.
        real: table.some(({ mountPoint }) => mountPoint === path || mountPoint.startsWith(`${path}/`))
          ? path
          : null,
      })),
    ],
    mounts: mountinfo.split('\n').filter((line) => line !== ''),
    devices: [...devices],
    inspected: { at, headers: found, unreadable: [], swaps, residue },
  };
}

const findmnt = z.object({ filesystems: z.array(z.object({ target: z.string() })) });

/** Where the path leads: a link is seen by the mount that it lies on. */
async function dockerOf(stat: string, mounts: string): Promise<string | null> {
  if (stat.trim() === '') return null;
  const targets = findmnt.safeParse(jsonOr(mounts)).data?.filesystems ?? [];
  const target = targets.at(-1)?.target ?? '/';
  const isAbove = target === '/' || target === docker || docker.startsWith(`${target}/`);
  return isAbove ? docker : target;
}

interface Listed {
  readonly name: string;
  readonly type: string;
  readonly pkname: string | null;
}
const listed = z.looseObject({
  name: z.string(),
  kname: z.string().optional(),
  type: z.string(),
  pkname: z.string().nullish(),
  children: z.array(z.unknown()).optional(),
});

/** Of lsblk, each device once. */
function partsIn(...texts: readonly string[]): ReadonlyMap<string, Listed> {
  const all = new Map<string, Listed>();
  const walk = (value: unknown, parent: string | null) => {
    const parsed = listed.safeParse(value);
    if (!parsed.success) return;
    const { name, kname = name, type, pkname, children = [] } = parsed.data;
    all.set(kname, { name: kname, type, pkname: pkname ?? parent });
    for (const child of children) walk(child, kname);
  };
  for (const text of texts)
    for (const top of z.object({ blockdevices: z.array(z.unknown()) }).safeParse(jsonOr(text)).data
      ?.blockdevices ?? [])
      walk(top, null);
  return all;
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** By the mapping's name, its lines. */
function tablesOf(
  all: string,
  each: readonly (readonly [string, string])[],
): ReadonlyMap<string, readonly string[]> {
  const tables = new Map<string, string[]>();
  for (const line of all.split('\n')) {
    const [, name, target] = /^(.+?): (\d+ \d+ .*)$/.exec(line) ?? [];
    if (name !== undefined && target !== undefined) tables.set(name, [...(tables.get(name) ?? []), target]);
  }
  for (const [name, text] of each) {
    const lines = text.split('\n').filter((line) => /^\d+ \d+ /.test(line));
    if (!tables.has(name) && lines.length > 0) tables.set(name, lines);
  }
  return tables;
}

function devicesOf(
  sysBlock: string,
  dmUuids: string,
  lsblk: ReadonlyMap<string, Listed>,
  tables: ReadonlyMap<string, readonly string[]>,
  states: ReadonlyMap<string, string>,
): readonly BlockDevice[] {
  const rows = sysBlock.split('\n').flatMap((line) => {
    const [, name, device, slaves, loop] =
      /^(\S+) dev=(\d+:\d+) slaves=\[(.*?) ?\] holders=\[.*?\] loop=(.*)$/.exec(line) ?? [];
    return name === undefined || device === undefined
      ? []
      : [{ name, device, slaves: (slaves ?? '').split(' ').filter((word) => word !== ''), loop: loop ?? '' }];
  });
  const numbers = new Map(rows.map(({ name, device }) => [name, device]));
  const mappings = new Map(
    dmUuids.split('\n').flatMap((line) => {
      const [, dm, name, uuid] = /^(\S+?)\/dm name=(.*?) uuid=(.*?)(?: suspended=\d)?$/.exec(line) ?? [];
      return dm === undefined || name === undefined ? [] : [[dm, { name, uuid: uuid ?? '' }] as const];
    }),
  );
  return rows.map(({ name, device, slaves, loop }) => {
    const mapping = mappings.get(name) ?? null;
    const { type = '', pkname = null } = lsblk.get(name) ?? {};
    const whole = type === 'part' ? pkname : wholeOf(name, numbers);
    return {
      device,
      name,
      slaves: slaves.flatMap((slave) => numbers.get(slave) ?? []),
      partitionOf: (slaves.length === 0 && whole !== null && numbers.get(whole)) || null,
      mapping:
        mapping === null
          ? null
          : { ...mapping, table: mutable(tables.get(mapping.name) ?? tableOf(states.get(mapping.name))) },
      loop: loop === '' ? null : { backingFile: loop },
      raid: type.startsWith('raid') || type === 'linear' ? { level: type } : null,
    };
  });
}

/** The anonymous device of each btrfs, as an agent tells it: of all devices that have its UUID. */
function btrfsOf(
  table: readonly Mount[],
  blkid: string,
  devices: readonly BlockDevice[],
): readonly BlockDevice[] {
  const uuids = new Map(
    [...blkid.matchAll(/^(\S+): .*\bUUID="([^"]+)".* TYPE="btrfs"/gm)].map(([, path = '', uuid = '']) => [
      deviceOf(path, devices),
      uuid,
    ]),
  );
  const made = new Map<string, BlockDevice>();
  for (const { type, device, source } of table) {
    const on = type === 'btrfs' && device.startsWith('0:') ? deviceOf(source, devices) : null;
    if (on === null) continue;
    const uuid = uuids.get(on);
    const others = [...uuids].flatMap(([other, its]) => (other !== null && its === uuid ? [other] : []));
    const slaves = [...new Set([on, ...others])];
    const name = `btrfs ${uuid ?? ''}`.trim();
    made.set(device, { device, name, slaves, partitionOf: null, mapping: null, loop: null, raid: null });
  }
  return [...made.values()];
}

function mutable(lines: readonly string[] | null): string[] | null {
  return lines === null ? null : [...lines];
}

/** `vdd` of `vdd1`, `nvme0n1` of `nvme0n1p2`, where both are there. */
function wholeOf(name: string, numbers: ReadonlyMap<string, string>): string | null {
  const [, short] = /^([a-z]+)\d+$/.exec(name) ?? /^(.*\d)p\d+$/.exec(name) ?? [];
  return short !== undefined && numbers.has(short) ? short : null;
}

/** Of `cryptsetup status`, where no table was recorded. */
function tableOf(status: string | undefined): readonly string[] | null {
  const cipher = /^\s*cipher:\s+(\S+)/m.exec(status ?? '')?.[1];
  const bits = /^\s*keysize:\s+(\d+) bits/m.exec(status ?? '')?.[1];
  return cipher === undefined || bits === undefined
    ? null
    : [`0 1 crypt ${cipher} :${Number(bits) / 8}: 0 0:0 0`];
}

/** A name of `/dev`: of the kernel, or of device mapper. */
function deviceOf(path: string, devices: readonly BlockDevice[]): string | null {
  const name = /^\/dev\/(?:mapper\/)?(.+)$/.exec(path)?.[1];
  return devices.find((one) => one.name === name || one.mapping?.name === name)?.device ?? null;
}

/** @param name as the recorder calls it: a device, or a path with `_` for each slash */
function headerOf(name: string, dump: string, devices: readonly BlockDevice[]): LuksHeader | null {
  const uuid = /^UUID:\s+(\S+)/m.exec(dump)?.[1];
  const version = Number(/^Version:\s+(\d)/m.exec(dump)?.[1]);
  if (uuid === undefined || (version !== 1 && version !== 2)) return null;
  // `mapper_vg-lv`, `_dev_vg_lv`: LVM writes the name of a mapping with a dash.
  const short = name.replace(/^_?dev_/, '').replace(/^mapper_/, '');
  const own = deviceOf(`/dev/${short}`, devices) ?? deviceOf(`/dev/${short.replace('_', '-')}`, devices);
  const digits = uuid.replaceAll('-', '');
  const mapping = devices.find((one) => one.mapping?.uuid.includes(`-${digits}-`));
  const device = own ?? mapping?.slaves[0] ?? mapping?.device;
  if (device === undefined) return null;
  const detachedAt = own === null ? name.replaceAll('_', '/') : null;
  const header = { device, detachedAt, uuid, digest: null, metadata: null };
  return version === 2
    ? { ...header, version, luks1: null }
    : { ...header, version, luks1: firstVersion(dump) };
}

/** The two lines of a dump by which a header is found, of what was open on its device. */
function dumpOfMapping(name: string, devices: readonly BlockDevice[]): string {
  const own = deviceOf(`/dev/${name.replace(/^mapper_/, '')}`, devices);
  const on = devices.filter(({ slaves }) => own !== null && slaves.includes(own));
  const [, ...parts] =
    on
      .map(({ mapping }) => /^CRYPT-LUKS2-(.{8})(.{4})(.{4})(.{4})(.{12})-/.exec(mapping?.uuid ?? ''))
      .find((match) => match !== null) ?? [];
  return parts.length === 0 ? '' : `Version: 2\nUUID: ${parts.join('-')}\n`;
}

/** What the text of `luksDump` says of LUKS2, as JSON of its form; null where it has no segment. */
function luks2Metadata(dump: string): string | null {
  const objects = (heading: string): readonly (readonly [id: string, type: string, fields: string])[] => {
    const section = new RegExp(`^${heading}:[ \\t]*\\n((?:[ \\t].*\\n?)*)`, 'm').exec(dump)?.[1] ?? '';
    return [...section.matchAll(/^ {2}(\d+): (\S+).*\n?((?:\t.*\n?)*)/gm)].map(
      ([, id = '', type = '', fields = '']) => [id, type, fields],
    );
  };
  const field = (fields: string, name: string) =>
    new RegExp(`^\\t${name}:[ \\t]*(.*(?:\\n\\t {2,}[0-9a-f ]+)*)`, 'm').exec(fields)?.[1]?.trim();
  const bytes = (fields: string, name: string) =>
    Buffer.from((field(fields, name) ?? '').replace(/\s+/g, ''), 'hex').toString('base64');
  const [segments, keyslots] = [objects('Data segments'), objects('Keyslots')];
  if (segments.length === 0) return null;
  const required = /^Requirements:\s*(\S.*)$/m.exec(dump)?.[1]?.split(/\s+/) ?? [];
  return JSON.stringify({
    keyslots: Object.fromEntries(
      keyslots.map(([id, type, fields]) => [
        id,
        { type, key_size: Number.parseInt(field(fields, 'Key') ?? '0', 10) / 8 },
      ]),
    ),
    tokens: Object.fromEntries(objects('Tokens').map(([id, type]) => [id, { type }])),
    segments: Object.fromEntries(
      segments.map(([id, type, fields]) => [id, { type, encryption: field(fields, 'cipher') }]),
    ),
    digests: Object.fromEntries(
      objects('Digests').map(([id, type, fields]) => [
        id,
        {
          type,
          keyslots: keyslots.filter(([, , its]) => field(its, 'Digest ID') === id).map(([slot]) => slot),
          segments: segments.map(([segment]) => segment),
          salt: bytes(fields, 'Salt'),
          digest: bytes(fields, 'Digest'),
        },
      ]),
    ),
    config: { requirements: { mandatory: required } },
  });
}

function firstVersion(dump: string): LuksHeader['luks1'] {
  const field = (label: string) =>
    (new RegExp(`^${label}:[ \\t]*(.*(?:\\n[ \\t]+[0-9a-f ]+)*)`, 'm').exec(dump)?.[1] ?? '').trim();
  const bytes = (label: string) => field(label).replace(/\s+/g, '');
  return {
    cipher: field('Cipher name'),
    mode: field('Cipher mode'),
    hash: field('Hash spec'),
    keyBytes: Number(field('MK bits')) / 8,
    keyDigest: bytes('MK digest'),
    keySalt: bytes('MK salt'),
    activeSlots: [...dump.matchAll(/^Key Slot (\d): ENABLED/gm)].map(([, slot]) => Number(slot)),
  };
}
