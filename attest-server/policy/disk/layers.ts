import type { BlockDevice, DiskPart, LuksHeader } from '../../wire/disk.ts';
import { isPlainPath, type Mount } from '../../wire/mount-table.ts';
import { overlayLayers } from '../../wire/protected-mounts.ts';
import type { Source } from '../../wire/verdict.ts';
import { type CryptTarget, encrypts, parseTarget } from './crypt-target.ts';
import type { MeasuredTables } from './measured-tables.ts';

/**
 * How far what is stored there is encrypted: through every leg of every layer; by a mapping that encrypts nothing (`null`)
 * or not; or as far as it was shown. `null` and `unknown` are not encrypted.
 */
export type Coverage = 'encrypted' | 'unknown' | 'null' | 'plain';

/** A mount or a device, with what it stands on. */
export interface Layer {
  /** As a person reads it. */
  readonly text: string;
  readonly coverage: Coverage;
  /** Why it is unknown; null if it is not. */
  readonly cause: string | null;
  /** `tpm`: it is not encrypted by what the kernel measured, whatever the node says. */
  readonly source: Source;
  /** The mappings that encrypt it: the topmost of each leg, and those that claim to. */
  readonly crypts: readonly Crypt[];
  readonly below: readonly Layer[];
}

/** A mapping that encrypts, or says so. */
export interface Crypt {
  readonly device: BlockDevice;
  readonly name: string;
  /** By its uuid, which cryptsetup gives: `luks2`, `luks1`; `temporary` while it reencrypts; `plain`: no header. */
  readonly kind: 'luks2' | 'luks1' | 'temporary' | 'plain';
  /** As its uuid says, 32 digits; null if it says none. */
  readonly uuid: string | null;
  readonly targets: readonly Extract<CryptTarget, { kind: 'crypt' }>[];
  /** Who vouches for the targets. */
  readonly source: Source;
  readonly header: LuksHeader | null;
  /** Why its header could not be read; null if nothing was said. */
  readonly unreadable: string | null;
}

/** Reads layers of one part; what is read twice is made once, so that no shape of a part takes long. */
export class Layers {
  readonly #devices: ReadonlyMap<string, BlockDevice>;
  readonly #inspected: DiskPart['inspected'];
  readonly #find: (path: string) => Mount | null;
  readonly #measured: MeasuredTables;
  readonly #made = new Map<string, Layer>();

  constructor(
    { devices, inspected }: DiskPart,
    find: (path: string) => Mount | null,
    measured: MeasuredTables,
  ) {
    this.#devices = new Map(devices.map((device) => [device.device, device]));
    this.#inspected = inspected;
    this.#find = find;
    this.#measured = measured;
  }

  ofMount(mount: Mount): Layer {
    return this.#once(`mount ${mount.id}`, () => this.#mount(mount));
  }

  ofDevice(device: string): Layer {
    return this.#once(`device ${device}`, () => this.#device(device));
  }

  /** Attack: layers that stand on themselves. They stand on nothing. */
  #once(key: string, make: () => Layer): Layer {
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    this.#made.set(key, plain(`${key}, which stands on itself`));
    const layer = make();
    this.#made.set(key, layer);
    return layer;
  }

  #mount(mount: Mount): Layer {
    const { mountPoint, type, device, superOptions } = mount;
    const on = this.#devices.get(device);
    const place = `${shown(mountPoint)}  ${type}`;
    if (type === 'overlay') return this.#overlay(mount);
    if (memory.has(type)) return plain(`${place}, memory, which may be swapped out`);
    // Attack: of `fuseblk` the kernel names a device, and its program may store elsewhere.
    if (stacked.has(type) || type.startsWith('fuse'))
      return plain(`${place}, which nobody can look into from outside`);
    if (on === undefined)
      return device.startsWith('0:')
        ? plain(`${place}, of which the kernel names no device`)
        : {
            ...plain(`${place} on ${device}`),
            coverage: 'unknown',
            cause: `nothing is said of device ${device}`,
          };
    const elsewhere = /(?:^|,)(logdev|rtdev|journal_dev|journal_path)=/.exec(superOptions)?.[1];
    if (elsewhere !== undefined)
      return plain(`${place}, a part of which lies on another device (${elsewhere})`);
    return stackedOn(`${place} on ${called(on)}${bindOf(mount)}`, [this.ofDevice(device)]);
  }

  #overlay(mount: Mount): Layer {
    const place = `${shown(mount.mountPoint)}  overlay`;
    const directories = overlayLayers(mount);
    if (directories === null) return plain(`${place}, whose directories cannot be told`);
    const mounts = [...new Set(directories.map((directory) => this.#find(directory)))];
    if (mounts.length === 0 || mounts.includes(null)) return plain(`${place} of directories on no mount`);
    return stackedOn(
      place,
      mounts.filter((on) => on !== null).map((on) => this.ofMount(on)),
    );
  }

  #device(device: string): Layer {
    const found = this.#devices.get(device);
    if (found === undefined)
      return { ...plain(device), coverage: 'unknown', cause: `nothing is said of device ${device}` };
    const below = () => [
      ...found.slaves.map((slave) => this.ofDevice(slave)),
      ...(found.partitionOf === null ? [] : [this.ofDevice(found.partitionOf)]),
      ...(found.loop === null ? [] : [this.#loop(found.loop.backingFile)]),
    ];
    const name = called(found);
    if (found.mapping !== null) return this.#mapping(found, name, below);
    const raid = found.raid === null ? '' : ` ${found.raid.level}`;
    const loop = found.loop === null ? '' : `, file ${shown(found.loop.backingFile)}`;
    return stackedOn(`${name}${raid}${found.partitionOf === null ? '' : ' partition'}${loop}`, below());
  }

  /** The file lies on a mount. Attack: an unencrypted file for a device; a name that leads elsewhere is no path. */
  #loop(file: string): Layer {
    const path = Buffer.from(file).toString('latin1');
    const mount = isPlainPath(path) && !file.endsWith(' (deleted)') ? this.#find(path) : null;
    return mount === null ? plain(`${shown(file)}, on no mount`) : this.ofMount(mount);
  }

  #mapping(device: BlockDevice, name: string, below: () => readonly Layer[]): Layer {
    const { uuid } = device.mapping ?? { uuid: '' };
    const claim = claimOf(uuid);
    const { targets, source } = this.#targetsOf(device);
    if (targets === null) {
      if (claim === null) return stackedOn(`${name} ${kindOf(uuid)}`, below());
      const cause = this.#unreadOf(device.device) ?? 'assay-agent inspect gave no table of it';
      const crypt = this.#crypt(device, claim, [], source);
      return {
        text: `${name} crypt by its name, ${cause}`,
        coverage: 'unknown',
        cause,
        source: 'host',
        crypts: [crypt],
        below: below(),
      };
    }
    const crypts = targets.filter((target) => target?.kind === 'crypt');
    const measured = source === 'tpm' ? ', as the kernel measured it' : '';
    if (crypts.length === 0 || crypts.length < targets.length) {
      const types = [
        ...new Set(targets.map((target) => (target?.kind === 'other' ? target.type : (target?.kind ?? '?')))),
      ];
      // A mapping that encrypts a part of itself does not encrypt.
      const text = `${name} ${types.join(', ').slice(0, 64)}${measured}`;
      const layer = vouchedBy(source, stackedOn(text, below(), crypts.length > 0));
      // While a volume is reencrypted its mapping is made of others; its header says so.
      return claim === null
        ? layer
        : { ...layer, crypts: [this.#crypt(device, claim, [], source), ...layer.crypts] };
    }
    const crypt = this.#crypt(device, claim ?? helperOf(uuid), crypts, source);
    const words = [
      `${name} crypt`,
      names[crypt.kind],
      ...new Set(crypts.map(({ cipher }) => shown(cipher))),
      bitsOf(crypts),
    ]
      .filter((word) => word !== '')
      .join(', ');
    const text = `${words}${measured}`;
    const lower = below();
    if (!crypts.some(({ isNull }) => isNull))
      return { text, coverage: 'encrypted', cause: null, source: 'host', crypts: [crypt], below: lower };
    // The device below may still be encrypted; the null cipher is reported anyway.
    const rest = joined(lower);
    return {
      text,
      coverage: rest.coverage === 'encrypted' || rest.coverage === 'unknown' ? rest.coverage : 'null',
      cause: rest.cause,
      source: 'host',
      crypts: [crypt, ...rest.crypts],
      below: lower,
    };
  }

  /**
   * The lines of a live table: as the kernel measured them, where it did for this very mapping. What the node says against
   * itself counts all the same.
   */
  #targetsOf({ device, mapping }: BlockDevice): {
    readonly targets: readonly (CryptTarget | null)[] | null;
    readonly source: Source;
  } {
    const said = mapping?.table?.map(parseTarget) ?? [];
    const measured = this.#measured.get(device);
    const isIts = measured?.name === mapping?.name && measured?.uuid === mapping?.uuid;
    if (measured === undefined || !isIts || (said.length > 0 && !encrypts(said)))
      return { targets: said.length === 0 ? null : said, source: 'host' };
    return { targets: measured.targets, source: 'tpm' };
  }

  /** Why what only root can read of a device is not there; null if nothing was said. */
  #unreadOf(device: string): string | null {
    if ('cause' in this.#inspected) return this.#inspected.cause;
    return this.#inspected.unreadable.find((one) => one.device === device)?.cause ?? null;
  }

  #crypt(device: BlockDevice, claim: MappingClaim | null, targets: Crypt['targets'], source: Source): Crypt {
    const on = this.#devicesUnder(device, isOfVolume);
    const { kind, uuid } = claim ?? { kind: 'plain', uuid: null };
    const crypt = { device, name: device.mapping?.name ?? device.name, kind, uuid, targets, source };
    if ('cause' in this.#inspected) return { ...crypt, header: null, unreadable: this.#inspected.cause };
    const { headers, unreadable } = this.#inspected;
    const its = headers.filter((one) => on.has(one.device));
    const header = its.find((one) => bare(one.uuid) === uuid) ?? its[0] ?? null;
    const fault = unreadable.find((one) => on.has(one.device));
    return { ...crypt, header, unreadable: fault?.cause ?? null };
  }

  /**
   * Attack: two volumes of one node, of which one is a copy. Headers of other devices than the mapping and all that it
   * stands on: legs of a RAID and paths to one disk show one header.
   */
  headersBeside({ device, header }: Crypt): readonly LuksHeader[] {
    if ('cause' in this.#inspected || header === null || header.detachedAt !== null) return [];
    const under = this.#devicesUnder(device, () => true);
    const { headers } = this.#inspected;
    return headers.filter((one) => one.detachedAt === null && !under.has(one.device));
  }

  /** A device, and what it stands on. @param isPassed false: what it stands on in its turn is left out */
  #devicesUnder(top: BlockDevice, isPassed: (device: BlockDevice) => boolean): ReadonlySet<string> {
    const under = new Set([top.device]);
    const open = [...top.slaves];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (under.has(next)) continue;
      under.add(next);
      const device = this.#devices.get(next);
      if (device !== undefined && isPassed(device)) open.push(...device.slaves);
    }
    return under;
  }
}

/** File systems in memory. */
const memory: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'devtmpfs', 'hugetlbfs']);
/** They encrypt or not, as keys and folders are set, of which the mount table says nothing. */
const stacked: ReadonlySet<string> = new Set(['ecryptfs', 'zfs']);

function plain(text: string): Layer {
  return { text, coverage: 'plain', cause: null, source: 'host', crypts: [], below: [] };
}

/** @param broken it is not encrypted, whatever it stands on */
function stackedOn(text: string, below: readonly Layer[], broken = false): Layer {
  const { coverage, cause, source, crypts } = joined(below);
  return { text, coverage: broken ? 'plain' : coverage, cause, source, crypts, below };
}

/** A mapping that encrypts nothing itself: by whom, where nothing below it does either. */
function vouchedBy(source: Source, layer: Layer): Layer {
  return layer.coverage === 'plain' && source === 'tpm' ? { ...layer, source } : layer;
}

const worst: readonly Coverage[] = ['plain', 'null', 'unknown', 'encrypted'];

/** The worst of all legs. A layer on nothing is not encrypted. */
function joined(layers: readonly Layer[]): Pick<Layer, 'coverage' | 'cause' | 'source' | 'crypts'> {
  const coverage = worst.find((one) => layers.some((layer) => layer.coverage === one)) ?? 'plain';
  const cause = layers.find((layer) => layer.cause !== null)?.cause ?? null;
  const isVouched = layers.some((layer) => layer.coverage === coverage && layer.source === 'tpm');
  const source = isVouched ? 'tpm' : 'host';
  // Each once: legs share what they stand on.
  return { coverage, cause, source, crypts: [...new Set(layers.flatMap(({ crypts }) => crypts))] };
}

interface MappingClaim {
  readonly kind: Crypt['kind'];
  readonly uuid: string | null;
}

/** The kind of a mapping by its uuid, which whoever made it chose; null if it does not claim to encrypt. */
export function claimOf(uuid: string): MappingClaim | null {
  const luks = /^CRYPT-(LUKS[12])-([0-9a-f]{32})-/i.exec(uuid);
  if (luks !== null)
    return { kind: luks[1] === 'LUKS1' ? 'luks1' : 'luks2', uuid: (luks[2] ?? '').toLowerCase() };
  if (/^CRYPT-(SUBDEV|INTEGRITY|VERITY)-/.test(uuid)) return null;
  if (uuid.startsWith('CRYPT-TEMP-')) return { kind: 'temporary', uuid: null };
  return uuid.startsWith('CRYPT-') ? { kind: 'plain', uuid: null } : null;
}

/** Layers between a volume's mapping and the device that has its header: integrity, LVM, a reencryption. */
function isOfVolume({ mapping }: BlockDevice): boolean {
  const claim = mapping === null ? null : claimOf(mapping.uuid);
  return mapping !== null && (claim === null || claim.kind === 'temporary');
}

/** A mapping that cryptsetup made below that of a volume. */
function helperOf(uuid: string): MappingClaim | null {
  return uuid.startsWith('CRYPT-SUBDEV-') ? { kind: 'temporary', uuid: null } : null;
}

const names: Readonly<Record<Crypt['kind'], string>> = {
  luks2: 'LUKS2',
  luks1: 'LUKS1',
  temporary: 'while it reencrypts',
  plain: 'no LUKS',
};

/** A uuid as device mapper writes it. */
export function bare(uuid: string): string {
  return uuid.replaceAll('-', '').toLowerCase();
}

function kindOf(uuid: string): string {
  return uuid.startsWith('LVM-') ? 'LVM' : 'mapping';
}

function bitsOf(targets: Crypt['targets']): string {
  const bits = [...new Set(targets.map(({ keyBits }) => keyBits))];
  return bits.map((each) => (each === null ? 'key of unknown size' : `${each} bit`)).join(', ');
}

function called({ device, name, mapping }: BlockDevice): string {
  return mapping === null
    ? `${shown(name)} (${device})`
    : `${shown(mapping.name)} (${shown(name)}, ${device})`;
}

function bindOf({ root }: Mount): string {
  return root === '/' ? '' : `, its directory ${shown(root)}`;
}

/** Names of others, cut where they stand among other words. */
function shown(name: string): string {
  return name.length <= 96 ? name : `${name.slice(0, 95)}…`;
}

/** A tree, a line a layer, at most so many lines. */
export function drawn(layer: Layer, lines: number): readonly string[] {
  const all: string[] = [];
  const draw = ({ text, below }: Layer, first: string, others: string) => {
    if (all.length >= lines) return;
    all.push(`${first}${text}`);
    for (const [index, each] of below.entries()) {
      const isLast = index === below.length - 1;
      draw(each, `${others}${isLast ? '└─ ' : '├─ '}`, `${others}${isLast ? '   ' : '│  '}`);
    }
  };
  draw(layer, '', '');
  return all;
}
