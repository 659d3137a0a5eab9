import { hash } from 'node:crypto';
import { bankBytes, type PcrBank, pcrBanks } from '../../protocol/messages.ts';
import { type PcrValues, pcrValue } from '../../protocol/pcr-values.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { type ImaEntry, parseImaList, subjectOf } from './ima-list.ts';

/**
 * A hash over PCRs of one bank, `sha256:…`: the kernel extends PCR 10 with it before any user space runs, whether or not
 * there is an IMA policy.
 */
export type BootAggregate = `${PcrBank}:${string}`;

/**
 * Why a list proves none. `unquoted`: PCR 10 was not quoted; `unextended`: it is zero, as where the TPM's driver came
 * after IMA; `unreadable`: no list of IMA; `no_aggregate`: its first entry is something else, or a digest of nothing;
 * `not_replayed`: the list does not lead to PCR 10.
 */
export type AggregateProblem = 'unquoted' | 'unextended' | 'unreadable' | 'no_aggregate' | 'not_replayed';

/** Where IMA extends by default; a kernel that was built for another one proves nothing here. */
const imaPcr = 10;

/**
 * The first entry of a list that leads to the quoted PCR 10 in each bank: a PCR cannot be set back without a reset, so
 * that whoever runs later adds to the list, and changes nothing of its begin.
 */
export function proveAggregate(list: Buffer, banks: readonly PcrValues[]): BootAggregate | AggregateProblem {
  const quoted: Pcr10[] = [];
  for (const held of banks) {
    const value = pcrValue(held, imaPcr);
    if (value !== null) quoted.push({ bank: held.bank, value });
  }
  if (quoted.length === 0) return 'unquoted';
  if (quoted.some(({ value }) => isZero(value))) return 'unextended';
  const entries = entriesOf(list);
  if (entries === null) return 'unreadable';
  const aggregate = aggregateIn(entries);
  if (aggregate === null) return 'no_aggregate';
  return quoted.every((pcr10) => leadsTo(entries, pcr10)) ? aggregate : 'not_replayed';
}

interface Pcr10 {
  readonly bank: PcrBank;
  readonly value: Buffer;
}

function isZero(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

/** A list that cannot be read vouches for nothing, and says nothing against the node either. */
function entriesOf(list: Buffer): readonly ImaEntry[] | null {
  try {
    return parseImaList(list);
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}

function aggregateIn([first]: readonly ImaEntry[]): BootAggregate | null {
  // Attack: of a violation the kernel extends 0xff, so that PCR 10 would not hold what the entry says.
  if (first === undefined || first.pcr !== imaPcr || first.isViolation) return null;
  const subject = subjectOf(first);
  const bank = pcrBanks.find((known) => known === subject?.algorithm);
  if (subject === null || bank === undefined || subject.name !== 'boot_aggregate') return null;
  const { digest } = subject;
  if (digest.length !== bankBytes[bank] || isZero(digest)) return null;
  return `${bank}:${digest.toString('hex')}`;
}

/**
 * True where some first entries lead to the value: the list is read after the quote. A kernel from 5.8 on hashes each
 * entry for each bank; an older one extends the SHA-1 digest, with zeros behind it.
 */
function leadsTo(entries: readonly ImaEntry[], quoted: Pcr10): boolean {
  return replays(entries, quoted, hashedFor) || replays(entries, quoted, padded);
}

function replays(entries: readonly ImaEntry[], { bank, value }: Pcr10, extended: Extended): boolean {
  const size = bankBytes[bank];
  const scratch = Buffer.alloc(2 * size);
  const digest = scratch.subarray(size);
  for (const entry of entries) {
    if (entry.pcr !== imaPcr) continue;
    if (!extended(entry, bank, digest)) return false;
    scratch.write(hash(bank, scratch, 'latin1'), 0, 'latin1');
    if (value.compare(scratch, 0, size) === 0) return true;
  }
  return false;
}

/** Writes what one entry extends; false where the entry cannot have been one of such a kernel. */
type Extended = (entry: ImaEntry, bank: PcrBank, target: Buffer) => boolean;

const hashedFor: Extended = ({ isViolation, hashed }, bank, target) => {
  if (isViolation) target.fill(0xff);
  else target.write(hash(bank, hashed, 'latin1'), 'latin1');
  return true;
};

const padded: Extended = ({ isViolation, hashed, digest }, _bank, target) => {
  // Attack: a digest that was extended, beside data that it is not of.
  if (!isViolation && hash('sha1', hashed, 'latin1') !== digest.toString('latin1')) return false;
  target.fill(0).fill(isViolation ? 0xff : 0, 0, digest.length);
  if (!isViolation) digest.copy(target);
  return true;
};
