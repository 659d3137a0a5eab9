import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from '../../wire/messages.ts';
import type { EntryView } from './entry.ts';
import type { ListCursor } from './list-bytes.ts';

/** Where IMA extends by default; a rule's `pcr=` chooses another one for what it measures. */
export const imaPcr = 10;

/**
 * The value that a kernel extends a bank with, security/integrity/ima/ima_crypto.c (ima_calc_field_array_hash). `hashed`: the
 * data hashed for it, from 5.8 on. `padded`: their SHA-1 digest with zeros behind it, before 5.8. `unmapped`: the same from
 * 5.8 on, in a bank whose hash the kernel has not; its violations fill the bank's whole size.
 */
export type ReplayMethod = 'hashed' | 'padded' | 'unmapped';

export function waysOf(bank: PcrBank): readonly ReplayMethod[] {
  return bank === 'sha1' ? ['hashed'] : ['hashed', 'padded', 'unmapped'];
}

/** PCR 10 of one bank, extended with one entry after the other. */
export class Replay {
  readonly bank: PcrBank;
  readonly way: ReplayMethod;
  /** One character a byte. */
  value: string;
  readonly #target: string;
  readonly #size: number;
  /** An extend hashes [old | new] whole. */
  readonly #scratch: Buffer;

  /** @param value that it begins with; null: zero, as after a reset */
  constructor(bank: PcrBank, way: ReplayMethod, value: string | null, target: string) {
    this.bank = bank;
    this.way = way;
    this.value = value ?? '\0'.repeat(bankBytes[bank]);
    this.#target = target;
    this.#size = bankBytes[bank];
    this.#scratch = Buffer.alloc(2 * this.#size);
    this.#scratch.write(this.value, 'latin1');
  }

  get isThere(): boolean {
    return this.value === this.#target;
  }

  /**
   * Goes on until the value is the target, or the list or the step ends.
   * @param until no further than so many entries of the list
   * @param visit what else is done with each entry; its fields are not yet found
   * @returns whether it is over: at the target, at the list's end, or at `until`
   * @throws Rejection
   */
  run(cursor: ListCursor, until: number, visit: ((entry: EntryView) => void) | null): boolean {
    const { entry } = cursor;
    const stop = cursor.entries + entriesInStep;
    const full = cursor.bytes + bytesInStep;
    while (!this.isThere && cursor.entries < until) {
      if (cursor.entries >= stop || cursor.bytes >= full) return false;
      if (!cursor.next()) return true;
      visit?.(entry);
      if (entry.pcr === imaPcr) this.#extend(entry);
    }
    return true;
  }

  #extend(entry: EntryView): void {
    const { bank } = this;
    const scratch = this.#scratch;
    const size = this.#size;
    if (entry.isViolation)
      scratch.fill(0).fill(0xff, size, size + (this.way === 'padded' ? sha1Bytes : size));
    else if (this.way === 'hashed') scratch.write(hash(bank, entry.hashed(), 'latin1'), size, 'latin1');
    else scratch.fill(0, size).write(hash('sha1', entry.hashed(), 'latin1'), size, 'latin1');
    if (entry.isViolation) scratch.write(this.value, 0, 'latin1');
    this.value = hash(bank, scratch, 'latin1');
    scratch.write(this.value, 0, 'latin1');
  }
}

const sha1Bytes = 20;
/** A step takes some milliseconds: a hash of an entry and one of an extend take half a microsecond. */
const entriesInStep = 4096;
const bytesInStep = 1024 * 1024;
