import { certificateIn, isAuthority } from '../tpm/signature-data.ts';
import type { SignatureEntry } from '../tpm/signature-list.ts';
import { certificateList, digestList, signatureEntries, signatureEntry } from '../tpm/signature-list.ts';
import type { MachineOwnerVariable } from './boot-state.ts';
import { digestsOf, oneByte } from './known-digests.ts';
import { dataOf, hasDigest, type KnownDigest, type VouchedLog } from './vouched-log.ts';

type OwnerVariableContent = MachineOwnerVariable['content'];

/** The owner that shim writes into its lists, and the namespace of its variables. */
export const shimLock = Buffer.from('50ab5d6046e00043abb63dd810dd8b23', 'hex');
/** Shim's content for a list without entries: a digest of zeros, that of no image. */
const emptyList = digestsOf(digestList(shimLock, Buffer.alloc(32)));
/** Authorities that are the vendor's certificate in shim, by the name under which its versions measure it. */
const vendorSources: ReadonlySet<string> = new Set(['Shim', 'MokListRT']);

const levels: ReadonlySet<string> = new Set(['SbatLevel', 'SBAT']);
const switches: ReadonlySet<string> = new Set(['MokSBState', 'MokListTrusted']);
/** Variables that PCR 7 holds whole and that allow no image. */
export const shimsOwn: ReadonlySet<string> = new Set([...levels, ...switches]);
/** Lists of keys, which decide by their content. */
const ownLists: ReadonlySet<string> = new Set(['MokList', 'MokListX']);
/** shim has one, and may measure it twice; the sender chooses how many there are. */
const mostVendors = 8;

/**
 * The variables that shim measures: into PCR 14 the value of each, with the name alone as data, so that the log does not hold
 * the value; into PCR 7 its switches and its level of revocation, whole. shim 16, mok.c.
 */
export class ShimVariables {
  readonly #vouched: VouchedLog;
  readonly #variables: MachineOwnerVariable[] = [];
  readonly #vendors: Buffer[] = [];
  readonly #sbatEvents: number[] = [];
  #sbatLevel: number | null = null;
  #validationOff = false;

  constructor(vouched: VouchedLog) {
    this.#vouched = vouched;
  }

  get variables(): readonly MachineOwnerVariable[] {
    return this.#variables;
  }

  get sbatLevel(): number | null {
    return this.#sbatLevel;
  }

  get sbatEvents(): readonly number[] {
    return this.#sbatEvents;
  }

  get validationOff(): boolean {
    return this.#validationOff;
  }

  /** A variable of shim's that PCR 7 holds whole. False if it is an authority for an image. */
  addVariable(event: number, name: string, value: Buffer): boolean {
    if (levels.has(name)) this.#addLevel(event, sbatDate(value));
    else if (switches.has(name)) this.#addSwitch(event, name, value);
    else {
      if (vendorSources.has(name) && this.#vendors.length < mostVendors)
        this.#vendors.push(certificateIn(value) ?? value);
      return this.#addList(event, name, value);
    }
    return true;
  }

  /** Some versions measure a list of keys so. */
  #addList(event: number, name: string, value: Buffer): boolean {
    const entries = ownLists.has(name) && !isAuthority(value) ? signatureEntries(value) : null;
    if (entries === null) return false;
    this.#add(event, name, 'listed', entries);
    return true;
  }

  /** An event of PCR 14. */
  addDigest(event: number): void {
    const name = variableName(dataOf(this.#vouched, event));
    if (name === null) return;
    if (this.#is(event, emptyList)) this.#add(event, name, 'empty');
    else if (this.#is(event, oneByte.on)) {
      this.#add(event, name, 'on');
      // The name is in no digest; nobody gains by giving this one to another switch.
      if (name === 'MokSBState') this.#validationOff = true;
    } else this.#add(event, name, this.#is(event, oneByte.off) ? 'off' : 'unknown');
  }

  /** Looks for lists that hold the vendor's certificate and nothing else: those are all that shim comes with. */
  recognize(): void {
    if (this.#vendors.length === 0) return;
    const lists = this.#vendors.map((vendor) =>
      digestsOf(certificateList(shimLock, vendor), this.#vouched.banks),
    );
    this.#variables.forEach((variable, i) => {
      if (variable.content !== 'unknown') return;
      const vendor = this.#vendors[lists.findIndex((list) => this.#is(variable.event, list))];
      if (vendor === undefined) return;
      this.#variables[i] = {
        ...variable,
        content: 'vendor',
        entries: [signatureEntry(vendor, 'certificate')],
      };
    });
  }

  /** Adds a level; the lowest of several counts: that is what was enforced for a while. */
  #addLevel(event: number, date: number | null): void {
    this.#sbatEvents.push(event);
    if (date !== null) this.#sbatLevel = Math.min(date, this.#sbatLevel ?? date);
  }

  #addSwitch(event: number, name: string, value: Buffer): void {
    const on = value.length !== 1 || value[0] !== 0;
    this.#add(event, name, on ? 'on' : 'off');
    if (on && name === 'MokSBState') this.#validationOff = true;
  }

  #add(
    event: number,
    name: string,
    content: OwnerVariableContent,
    entries: readonly SignatureEntry[] = [],
  ): void {
    this.#variables.push({ event, name, content, entries });
  }

  #is(event: number, known: KnownDigest): boolean {
    return hasDigest(this.#vouched, event, known);
  }
}

/** `MokList`, …; null if the event is not shim's. */
function variableName(data: Buffer): string | null {
  if (data.length > 40 || data.length < 4 || !data.subarray(0, 3).equals(mok)) return null;
  return /^Mok[A-Za-z]+/.exec(data.toString('latin1'))?.[0] ?? null;
}

const mok = Buffer.from('Mok');

/** The date in `sbat,1,2023012900` and what follows. */
function sbatDate(value: Buffer): number | null {
  const date = /^sbat,\d+,(\d{10})\b/.exec(value.toString('latin1', 0, 64))?.[1];
  return date === undefined ? null : Number(date);
}
