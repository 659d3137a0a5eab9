import { hash } from 'node:crypto';
import { Rejection } from '../../wire/rejection.ts';
import type { EntryView } from './entry.ts';
import type { MeasuredMapping, MeasuredTarget } from './proven-list.ts';

/** With what the names of its events begin. */
export const mapperEvents = Buffer.from('dm_');

/**
 * Devices of the device mapper, as critical data in IMA's list tell of them: drivers/md/dm-ima.c. What the kernel measured
 * before it measures no second time in the same words, so that this is what it said last, and not always what is.
 */
export class Mappings {
  static readonly none = new Mappings(new Map(), 0, false);

  /** By `major:minor`, the one that was spoken of last at the end. */
  readonly #devices: Map<string, MappedDevice>;
  /** The size of the records that are kept, about. */
  #bytes: number;
  /** Attack: so many devices that what was told of one is forgotten. */
  #isCut: boolean;
  #list: readonly MeasuredMapping[] | null = null;

  private constructor(devices: Map<string, MappedDevice>, bytes: number, isCut: boolean) {
    this.#devices = devices;
    this.#bytes = bytes;
    this.#isCut = isCut;
  }

  /** About what it takes in memory, in bytes. */
  get size(): number {
    return this.#bytes;
  }

  copy(): Mappings {
    return new Mappings(new Map(this.#devices), this.#bytes, this.#isCut);
  }

  list(): readonly MeasuredMapping[] {
    this.#list ??= [...this.#devices.values()].map(({ active, loaded, ...device }) => ({
      ...device,
      isOnlyTable: !this.#isCut && loaded.length === 1,
      targets: (device.state === 'loaded' ? loaded.at(-1) : active)?.targets ?? [],
    }));
    return this.#list;
  }

  /** @param entry named as `mapperEvents` says, checked @throws Rejection */
  note(entry: EntryView): void {
    const { data, index } = entry;
    // Attack: what is said of a device, called something that says nothing: no PCR holds the template's name.
    if (data === null)
      throw new Rejection('ima_malformed', `${entry.name} without its data`, { field: 'ima.template' });
    if (data.length > longestRecord || !data.subarray(0, begin.length).equals(begin)) return;
    const said = parseRecord(data.toString('utf8'));
    const about = this.#about(said);
    if (about === null) return;
    const [key, device] = about;
    const next = afterEvent(entry.name, device, said, data, index);
    if (next !== null) this.#put(key, next);
  }

  /** The device of a record, by its numbers; where it has none, by its name; null if it has neither. */
  #about(said: RecordFields): readonly [key: string, device: MappedDevice] | null {
    const [major, minor] = [numberIn(said.get('major')), numberIn(said.get('minor'))];
    const { name, uuid } = namesIn(said);
    if (major !== null && minor !== null) {
      const key = `${major}:${minor}`;
      const none: MappedDevice = {
        name,
        uuid,
        major,
        minor,
        entry: 0,
        state: 'removed',
        active: null,
        loaded: [],
      };
      return [key, this.#devices.get(key) ?? none];
    }
    for (const known of this.#devices) if (known[1].name === name && known[1].uuid === uuid) return known;
    return null;
  }

  #put(key: string, device: MappedDevice): void {
    this.#list = null;
    this.#drop(key);
    this.#devices.set(key, device);
    this.#bytes += sizeOf(device);
    for (const [oldest] of this.#devices) {
      if (this.#devices.size <= mostDevices && this.#bytes <= mostBytes) break;
      this.#drop(oldest);
      this.#isCut = true;
    }
  }

  #drop(key: string): void {
    const device = this.#devices.get(key);
    if (device === undefined) return;
    this.#devices.delete(key);
    this.#bytes -= sizeOf(device);
  }
}

interface MappedDevice extends Omit<MeasuredMapping, 'targets' | 'isOnlyTable'> {
  /** The table that it works with, or worked with; null if it was resumed with one that no entry shows. */
  readonly active: DeviceTable | null;
  /** The last ones that were loaded for its numbers, the newest at the end, each once. */
  readonly loaded: readonly DeviceTable[];
}

interface DeviceTable {
  /** As the kernel names it later: `sha256:…` over all records of its load; null while not all of them came. */
  readonly hash: string | null;
  /** None if there are more than are kept. */
  readonly targets: readonly MeasuredTarget[];
  /** While more of them may come; null if there are more than are kept. */
  readonly records: readonly Buffer[] | null;
  readonly bytes: number;
}

const begin = Buffer.from('dm_version=');
/** The kernel's own buffer has 4096 bytes, drivers/md/dm-ima.h. */
const longestRecord = 16 * 1024;
const mostDevices = 4096;
const mostTargets = 64;
const mostTableBytes = 64 * 1024;
const mostTables = 4;
/** The most bytes for all devices of one node. */
const mostBytes = 256 * 1024;

function sizeOf({ name, uuid, loaded }: MappedDevice): number {
  return loaded.reduce((sum, { bytes }) => sum + bytes, 256 + name.length + uuid.length);
}

/** Null if nothing is to be said of it. */
function afterEvent(
  event: string,
  device: MappedDevice,
  said: RecordFields,
  data: Buffer,
  entry: number,
): MappedDevice | null {
  switch (event) {
    case 'dm_table_load':
      return loading(device, said, data, entry);
    case 'dm_device_resume': {
      const active = tableOf(device, said.get('active_table_hash'));
      return { ...device, ...namesIn(said), entry, state: 'active', active };
    }
    case 'dm_device_remove':
      return { ...device, entry, state: 'removed' };
    case 'dm_table_clear':
      return device.state === 'loaded' ? { ...device, entry, state: 'removed' } : null;
    case 'dm_device_rename': {
      const { name, uuid } = device;
      return { ...device, name: said.get('new_name') ?? name, uuid: said.get('new_uuid') ?? uuid, entry };
    }
    default:
      return null;
  }
}

/** A table that does not fit into one record goes on in the next, whose targets have the next numbers. */
function loading(device: MappedDevice, said: RecordFields, data: Buffer, entry: number): MappedDevice {
  const { name, uuid } = namesIn(said);
  const newest = device.loaded.at(-1);
  const goesOn = newest !== undefined && newest.hash === null && said.firstTarget > 0;
  const table = tableWith(goesOn ? newest : null, said, data);
  const before = goesOn ? device.loaded.slice(0, -1) : device.loaded;
  const others = before.filter((known) => known.hash === null || known.hash !== table.hash);
  const loaded = [...others, table].slice(-mostTables);
  // Another device may have the numbers of one that is gone.
  const isKnown = device.state === 'active' && device.name === name && device.uuid === uuid;
  if (isKnown) return { ...device, entry, loaded };
  return { ...device, name, uuid, entry, state: 'loaded', active: null, loaded };
}

function tableWith(before: DeviceTable | null, said: RecordFields, data: Buffer): DeviceTable {
  const bytes = (before?.bytes ?? 0) + data.length;
  const targets = [...(before?.targets ?? []), ...said.targets];
  const records = before === null ? [] : before.records;
  if (records === null || targets.length > mostTargets || bytes > mostTableBytes)
    return { hash: null, targets: [], records: null, bytes };
  // A copy: what is given is a view into all that came.
  const all = [...records, Buffer.from(data)];
  if (targets.length < (numberIn(said.get('num_targets')) ?? 0))
    return { hash: null, targets, records: all, bytes };
  return { hash: `sha256:${hash('sha256', Buffer.concat(all))}`, targets, records: [], bytes };
}

function tableOf({ loaded }: MappedDevice, named: string | undefined): DeviceTable | null {
  return loaded.findLast((table) => table.hash !== null && table.hash === named) ?? null;
}

function namesIn(said: RecordFields): Pick<MappedDevice, 'name' | 'uuid'> {
  return { name: said.get('name') ?? '', uuid: said.get('uuid') ?? '' };
}

function numberIn(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null;
}

/** The words of a record: those of the device, and those of each target. */
interface RecordFields {
  get(word: string): string | undefined;
  /** Number of the first target in it; -1 where it has none. */
  readonly firstTarget: number;
  readonly targets: readonly MeasuredTarget[];
}

/** `key=value` between commas and semicolons, each of which stands behind a backslash within a name. */
function parseRecord(text: string): RecordFields {
  const words = new Map<string, string>();
  const targets: Map<string, string>[] = [];
  for (const [piece] of text.matchAll(/(?:[^\\;,]|\\.)+/gs)) {
    // What is removed is reported with both of its tables: the device is the same.
    const [, escaped = '', value = ''] =
      /^\s*(?:device_(?:in)?active_metadata=)?((?:[^\\=]|\\.)*)=(.*)$/s.exec(piece) ?? [];
    const word = unescaped(escaped);
    if (word === 'target_index') targets.push(new Map());
    (targets.at(-1) ?? words).set(word, unescaped(value));
  }
  return {
    get: (word) => words.get(word),
    firstTarget: numberIn(targets[0]?.get('target_index')) ?? -1,
    targets: targets.map(targetOf),
  };
}

function unescaped(text: string): string {
  return text.replace(/\\(.)/gs, '$1');
}

function targetOf(words: ReadonlyMap<string, string>): MeasuredTarget {
  const parameters = new Map(words);
  for (const word of ['target_index', 'target_begin', 'target_len', 'target_name']) parameters.delete(word);
  return {
    type: words.get('target_name') ?? '',
    begin: sectorsIn(words.get('target_begin')),
    length: sectorsIn(words.get('target_len')),
    parameters,
  };
}

function sectorsIn(text: string | undefined): bigint {
  return text !== undefined && /^\d{1,20}$/.test(text) ? BigInt(text) : 0n;
}
