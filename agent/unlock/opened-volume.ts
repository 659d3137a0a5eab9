import { z } from 'zod';
import type { ParsedHeader } from '../../attest-server/wire/luks-header.ts';
import { jsonOrNothing } from '../../attest-server/wire/parse-json.ts';
import { type InspectedDevice, readBlockDevices } from '../inspect/block-devices.ts';
import { type DiskTools, readHeader } from '../inspect/disk.ts';
import { parseMappingTables } from '../inspect/mapping-tables.ts';
import type { UnlockNote } from './note.ts';

/** A volume whose key was given out, as it is now. */
export type OpenedVolume =
  | { readonly is: 'open'; readonly mapping: string; readonly headerDigest: string }
  /** The mapping is not what the server knows: it must not be used. */
  | { readonly is: 'wrong'; readonly mapping: string; readonly why: string };

/**
 * Reads the live table of each mapping of this volume and, past the page cache, the header below it; none if nothing maps it.
 * @throws where sysfs or the device mapper cannot be read
 */
export async function lookAtVolume(
  note: UnlockNote,
  sysroot: string,
  tools: DiskTools,
): Promise<readonly OpenedVolume[]> {
  const { devices } = await readBlockDevices(sysroot);
  const prefix = `CRYPT-LUKS2-${note.volume.replaceAll('-', '')}-`;
  const mappings = devices.filter(({ mapping }) => mapping?.uuid.startsWith(prefix) === true);
  return Promise.all(mappings.map((top) => lookAt(top, devices, note, sysroot, tools)));
}

async function lookAt(
  top: InspectedDevice,
  devices: readonly InspectedDevice[],
  { expectedHeaders }: UnlockNote,
  sysroot: string,
  tools: DiskTools,
): Promise<OpenedVolume> {
  const mapping = top.mapping?.name ?? top.name;
  const wrong = (why: string): OpenedVolume => ({ is: 'wrong', mapping, why });
  const [below, ...others] = top.slaves.flatMap((name) => devices.find((one) => one.name === name) ?? []);
  if (below === undefined || others.length > 0) return wrong(`it lies on ${top.slaves.length} devices`);
  const { header, faults } = await readHeader(sysroot, below, true, tools);
  if (header === null || faults.length > 0) return wrong(`its header cannot be read: ${faults.join('; ')}`);
  if (!expectedHeaders.includes(header.digest))
    return wrong('its header is another one than before it was opened');
  const names = devices.flatMap((one) => one.mapping?.name ?? []);
  const { tables } = parseMappingTables(await tools.dmsetup(['table', '--manglename', 'none']), names);
  const fault = tableFault(tables.get(mapping) ?? [], header, below);
  return fault === null ? { is: 'open', mapping, headerDigest: header.digest } : wrong(fault);
}

const segments = z.object({
  segments: z.record(
    z.string(),
    z.object({ type: z.string(), encryption: z.string(), offset: z.string().regex(/^\d{1,16}$/) }),
  ),
});

/** Why a live table is not that of this header; null if it is. Columns: start, length, target, cipher, key, IV offset, device, offset. */
function tableFault(table: readonly string[], header: ParsedHeader, below: InspectedDevice): string | null {
  if (header.version !== 2) return 'its header is of LUKS1';
  const [line, ...more] = table;
  const found = segments.safeParse(jsonOrNothing(header.metadata)).data?.segments ?? {};
  const [segment, ...others] = Object.values(found);
  if (line === undefined || more.length > 0) return `its table has ${table.length} lines`;
  if (segment === undefined || others.length > 0 || segment.type !== 'crypt')
    return 'its header has not one encrypted segment';
  const [, , target, cipher, , , device, offset] = line.split(' ');
  if (target !== 'crypt') return `it is mapped by ${target}`;
  if (cipher !== segment.encryption || /null/.test(cipher))
    return `its cipher is ${cipher}, and the header says ${segment.encryption}`;
  if (device !== below.device) return `it is mapped from device ${device}, and lies on ${below.device}`;
  if (Number(offset) * 512 !== Number(segment.offset)) return 'its data begin elsewhere than the header says';
  return null;
}
