import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ParsedHeader } from '../../attest-server/wire/luks-header.ts';
import { jsonOrNothing } from '../../attest-server/wire/parse-json.ts';
import { readBounded } from '../collectors/read-bounded.ts';
import { type InspectedDevice, readBlockDevices } from '../inspect/block-devices.ts';
import { type DiskTools, dashed, readHeader } from '../inspect/disk.ts';
import { parseMappingTables } from '../inspect/mapping-tables.ts';
import type { UnlockConfig } from './config.ts';
import { readNote, type UnlockNote } from './note.ts';

/** A volume whose key comes from a socket of Assay, as it is now. */
export type SocketVolume =
  /** Without a note: the recovery passphrase opened it, or somebody took the note away. */
  | {
      readonly is: 'open';
      readonly mapping: string;
      readonly note: UnlockNote | null;
      readonly headerDigest: string;
    }
  /** The mapping is not what it must be: it must not be used. */
  | { readonly is: 'wrong'; readonly mapping: string; readonly why: string }
  /** Nothing opened it. */
  | { readonly is: 'shut'; readonly mapping: string };

/**
 * Reads the live table of each volume that crypttab opens through a key socket and, past the page cache, the header below it.
 * One with a note must have a header that the server knows; each must be what its header says.
 * @throws where crypttab, sysfs or the device mapper cannot be read
 */
export async function lookAtVolumes(
  { sysroot, runtimeDir }: Pick<UnlockConfig, 'sysroot' | 'runtimeDir'>,
  tools: DiskTools,
): Promise<readonly SocketVolume[]> {
  const names = await readVolumeNames(sysroot);
  const { devices, faults } = await readBlockDevices(sysroot);
  if (faults.length > 0) throw new Error(`not every device can be looked at: ${faults.join('; ')}`);
  return Promise.all(
    Array.from(names, async (mapping): Promise<SocketVolume> => {
      const top = devices.find((one) => one.mapping?.name === mapping);
      if (top === undefined) return { is: 'shut', mapping };
      try {
        return { is: 'open', mapping, ...(await checkVolume(top, devices, sysroot, runtimeDir, tools)) };
      } catch (error) {
        return { is: 'wrong', mapping, why: error instanceof Error ? error.message : String(error) };
      }
    }),
  );
}

const keyFolder = 'run/cryptsetup-keys.d';
const longestCrypttab = 1024 * 1024;

/** The names of crypttab(5) whose key comes from such a socket. It is root's word: whoever unlocks cannot change it. */
async function readVolumeNames(sysroot: string): Promise<ReadonlySet<string>> {
  const text = await readBounded(join(sysroot, 'etc/crypttab'), longestCrypttab);
  const lines = (text?.toString('utf8') ?? '').split('\n').map((line) => line.trim().split(/\s+/));
  const isOurs = ([name = '', , key = 'none']: readonly string[]) =>
    // Where no key is named, systemd looks in that folder.
    key === 'none' || key === '-'
      ? existsSync(join(sysroot, keyFolder, `${name}.key`))
      : key.startsWith(`/${keyFolder}/`);
  return new Set(lines.filter((words) => isOurs(words)).flatMap(([name = '']) => (name === '' ? [] : name)));
}

/** @throws Error why it must not be used; what the system throws */
async function checkVolume(
  top: InspectedDevice,
  devices: readonly InspectedDevice[],
  sysroot: string,
  runtimeDir: string,
  tools: DiskTools,
): Promise<{ readonly note: UnlockNote | null; readonly headerDigest: string }> {
  const { name = '', uuid = '' } = top.mapping ?? {};
  const [prefix = '', digits] = /^CRYPT-LUKS2-([0-9a-f]{32})-/.exec(uuid) ?? [];
  const volume = dashed(digits);
  if (volume === null) throw new Error('it is no volume of LUKS2');
  if (devices.filter(({ mapping }) => mapping?.uuid.startsWith(prefix)).length > 1)
    throw new Error(`it is open twice, or another disk has its UUID ${volume}`);
  const note = await readNote(runtimeDir, volume);
  const [below, ...others] = top.slaves.flatMap((slave) => devices.find((one) => one.name === slave) ?? []);
  if (below === undefined || others.length > 0) throw new Error(`it lies on ${top.slaves.length} devices`);
  const { header, faults } = await readHeader(sysroot, below, true, tools);
  if (header === null || faults.length > 0)
    throw new Error(`its header cannot be read: ${faults.join('; ')}`);
  if (header.uuid !== volume) throw new Error('its header is of another volume');
  if (note?.expectedHeaders.includes(header.digest) === false)
    throw new Error('its header is another one than before it was opened');
  const names = devices.flatMap((one) => one.mapping?.name ?? []);
  const { tables } = parseMappingTables(await tools.dmsetup(['table', '--manglename', 'none']), names);
  const fault = tableFault(tables.get(name) ?? [], header, below);
  if (fault !== null) throw new Error(fault);
  return { note, headerDigest: header.digest };
}

const metadataSchema = z.object({
  keyslots: z.record(z.string(), z.object({ area: z.object({ encryption: z.string() }) })),
  segments: z.record(
    z.string(),
    z.object({ type: z.string(), encryption: z.string(), offset: z.string().regex(/^\d{1,16}$/) }),
  ),
});

/** Why a live table is not that of this header; null if it is. Columns: start, length, target, cipher, key, IV offset, device, offset. */
function tableFault(table: readonly string[], header: ParsedHeader, below: InspectedDevice): string | null {
  if (header.version !== 2) return 'its header is of LUKS1';
  const [line, ...more] = table;
  const { segments = {}, keyslots = {} } =
    metadataSchema.safeParse(jsonOrNothing(header.metadata)).data ?? {};
  const [segment, ...others] = Object.values(segments);
  if (line === undefined || more.length > 0) return `its table has ${table.length} lines`;
  if (segment === undefined || others.length > 0 || segment.type !== 'crypt')
    return 'its header has not one encrypted segment';
  const [, , target, cipher, , , device, offset] = line.split(' ');
  if (target !== 'crypt') return `it is mapped by ${target}`;
  if (Object.values(keyslots).some(({ area }) => /null/.test(area.encryption)))
    return 'its header keeps the key in clear';
  if (cipher !== segment.encryption || /null/.test(cipher))
    return `its cipher is ${cipher}, and the header says ${segment.encryption}`;
  if (device !== below.device) return `it is mapped from device ${device}, and lies on ${below.device}`;
  if (Number(offset) * 512 !== Number(segment.offset)) return 'its data begin elsewhere than the header says';
  return null;
}
