/**
 * IMA's list in both forms (`entry`, `ascii-form`), replayed onto PCR 10 from where it was proven before: the
 * entries since then, the kernel's word on the boot (`boot-aggregate`), and devices of the device mapper
 * (`mappings`).
 */

import type { PcrBank } from '../../wire/messages.ts';
import { bootAggregateOf, pcrValue } from '../../wire/pcr-values.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { QuotedBank } from '../quote.ts';
import { type AggregateProblem, aggregateIn, aggregateName, type BootAggregate } from './boot-aggregate.ts';
import type { EntryView } from './entry.ts';
import { type ListBytes, ListCursor, openList } from './list-bytes.ts';
import { Mappings, mapperEvents } from './mappings.ts';
import type { ImaEntry, ImaProblem, ProvenImaList } from './proven-list.ts';
import { imaPcr, Replay, type ReplayMethod, waysOf } from './replay.ts';

/** For the compiler alone, as in proven.ts. */
declare class CheckpointSeal {
  protected readonly proven: never;
}

/** IMA's list from where it was proven before, or from its begin. */
export interface ImaTail {
  /** Bytes of the list before these: 0, or as many as `Verifier.imaProven` says. */
  readonly from: number;
  /** In order; an entry may begin in one and end in the next. */
  readonly chunks: readonly Buffer[];
}

/** A list up to where a quote confirmed it: what is remembered of it, so that the next answer goes on from there. */
export interface ImaCheckpoint extends CheckpointSeal {
  readonly head: string;
  readonly entries: number;
  readonly bytes: number;
  readonly elsewhere: number;
  /** The size of the template's digest in each entry. */
  readonly digestBytes: number;
  readonly running: readonly RunningValue[];
  readonly aggregate: BootAggregate | null;
  readonly aggregates: readonly number[];
  readonly mappings: Mappings;
}

interface RunningValue {
  readonly bank: PcrBank;
  /** The value of PCR 10, one character a byte. */
  readonly value: string;
  readonly way: ReplayMethod;
}

/** The last two places up to which a list was proven: the same answer may be verified twice. */
export interface KnownList {
  readonly before: ImaCheckpoint | null;
  readonly last: ImaCheckpoint;
}

/** The proof that one answer gives of a list. */
export interface ListProof {
  readonly list: ProvenImaList | ImaProblem | null;
  /** Null if the answer says nothing of the list's start. */
  readonly aggregate: BootAggregate | AggregateProblem | null;
  /** To be remembered; null: nothing is to be known of the list any longer. */
  readonly known: KnownList | null;
}

/**
 * Replays a list, from its start or from where it was proven before, until it gives the quoted PCR 10: in each quoted bank
 * that has it, and with the same entry. Stops after each step of some milliseconds.
 * @param known of this boot and this attestation key
 */
export function* proveList(
  tail: ImaTail | null,
  banks: readonly QuotedBank[],
  known: KnownList | null,
): Generator<void, ListProof> {
  if (tail === null) return withoutTail(banks, known);
  const quoted = quotedValues(banks);
  // Of a list that goes on somewhere nothing is said of its start.
  const of = (aggregate: ListProof['aggregate']) => (tail.from === 0 ? aggregate : null);
  const [best] = quoted;
  if (best === undefined) return failed(incomplete(unquoted), of('unquoted'));
  if (quoted.some(({ value }) => /^\0*$/.test(value)))
    return failed(incomplete(unextended), of('unextended'));
  const start = tail.from === 0 ? null : checkpointAt(tail.from, known);
  if (tail.from !== 0 && start === null) return failed(goesOnElsewhere(tail.from, known), null);
  if (start !== null && quoted.some(({ bank }) => runningIn(start, bank) === null))
    return failed(incomplete('PCR 10 is quoted in a bank in which the list was not proven before'), null);
  // What came besides is for the next answer.
  if (known !== null && start === known.last && isAt(start, quoted))
    return { list: sealed(null, start, start, banks), aggregate: start.aggregate, known };
  const list = yield* openList(tail.chunks, start?.digestBytes ?? null);
  const replayed = yield* replayTo(list, start, best);
  const { told, fault, reached } = replayed;
  if (reached === null) {
    const without = told.aggregate === null ? 'no_aggregate' : 'not_replayed';
    if (fault === null) return failed(leadsElsewhere(start, told, best), of(without));
    return failed(fault, of('unreadable'));
  }
  let running: readonly RunningValue[] = [reached];
  for (const other of quoted.slice(1)) {
    const there = yield* replayWith(list, start, other, told.entries);
    if (there === null) return failed(banksDisagree(best, other, told), of('not_replayed'));
    running = [...running, there];
  }
  const aggregate = told.aggregate ?? of('no_aggregate');
  if (told.fault !== null) return failed(told.fault, aggregate);
  const { entries, bytes, elsewhere, aggregates, mappings } = told;
  const { digestBytes } = list;
  const head = headOf(best);
  // The one place that makes it: the seal exists for the compiler only.
  const end = {
    head,
    entries,
    bytes,
    elsewhere,
    digestBytes,
    running,
    aggregate: told.aggregate,
    aggregates,
    mappings,
  } as ImaCheckpoint;
  return { list: sealed(list, start, end, banks), aggregate, known: { before: start, last: end } };
}

interface QuotedValue {
  readonly bank: PcrBank;
  readonly value: string;
}

/** PCR 10 of each bank that has it, from the best on. */
function quotedValues(banks: readonly QuotedBank[]): readonly QuotedValue[] {
  const quoted: QuotedValue[] = [];
  for (const bank of fromBest)
    for (const held of banks) {
      const value = held.bank === bank ? pcrValue(held, imaPcr) : null;
      if (value !== null) quoted.push({ bank, value: value.toString('latin1') });
    }
  return quoted;
}

const fromBest = ['sha256', 'sha384', 'sha512', 'sha1'] as const satisfies readonly PcrBank[];

function headOf({ bank, value }: QuotedValue): string {
  return `${bank}:${Buffer.from(value, 'latin1').toString('hex')}`;
}

const nothingSaid: ListProof = { list: null, aggregate: null, known: null };

/** The proof without new entries: the list is proven as far as it was, while PCR 10 did not move. */
export function withoutTail(banks: readonly QuotedBank[], known: KnownList | null): ListProof {
  if (known === null) return nothingSaid;
  const quoted = quotedValues(banks);
  const { last } = known;
  const said = (list: ListProof['list']) => ({ list, aggregate: null, known });
  if (quoted.length === 0) return said(incomplete(unquoted));
  if (isAt(last, quoted)) return said(sealed(null, last, last, banks));
  return said(incomplete('PCR 10 has moved on, and nothing of the list came'));
}

function isAt(checkpoint: ImaCheckpoint, quoted: readonly QuotedValue[]): boolean {
  return quoted.every(({ bank, value }) => runningIn(checkpoint, bank)?.value === value);
}

function checkpointAt(bytes: number, known: KnownList | null): ImaCheckpoint | null {
  if (known?.last.bytes === bytes) return known.last;
  return known?.before?.bytes === bytes ? known.before : null;
}

function runningIn(checkpoint: ImaCheckpoint, bank: PcrBank): RunningValue | null {
  return checkpoint.running.find((each) => each.bank === bank) ?? null;
}

interface ReplayedList {
  readonly told: ListSummary;
  /** The entry that cannot be read, before the value was reached. */
  readonly fault: ImaProblem | null;
  /** Null if the list does not lead to the value. */
  readonly reached: RunningValue | null;
}

/** In whichever way the kernel extends this bank. */
function* replayTo(
  list: ListBytes,
  start: ImaCheckpoint | null,
  quoted: QuotedValue,
): Generator<void, ReplayedList> {
  let first: ReplayedList | null = null;
  for (const way of waysFrom(start, quoted.bank)) {
    // Without a violation the two are the same.
    if (way === 'unmapped' && first?.told.hasViolation === false) continue;
    const told = new ListSummary(start);
    const cursor = new ListCursor(list, start?.entries ?? 0, start?.bytes ?? 0);
    const replay = replayOf(start, quoted, way);
    let fault: ImaProblem | null = null;
    try {
      const visit = (entry: EntryView) => told.visit(entry, cursor.begin);
      while (!replay.run(cursor, Number.POSITIVE_INFINITY, visit)) yield;
    } catch (error) {
      // What a text's line lacks is counted in the text.
      fault = problemOf(error, cursor.entries, error === list.fault ? 0 : cursor.begin);
    }
    told.ended(cursor);
    const { bank, value } = replay;
    if (replay.isThere) return { told, fault: null, reached: { bank, value, way } };
    first ??= { told, fault, reached: null };
  }
  if (first === null) throw new Error('a bank is extended in no way');
  return first;
}

/** Replays in another bank, up to this entry; null if it leads elsewhere. */
function* replayWith(
  list: ListBytes,
  start: ImaCheckpoint | null,
  quoted: QuotedValue,
  until: number,
): Generator<void, RunningValue | null> {
  for (const way of waysFrom(start, quoted.bank)) {
    const cursor = new ListCursor(list, start?.entries ?? 0, start?.bytes ?? 0);
    const replay = replayOf(start, quoted, way);
    while (!replay.run(cursor, until, null)) yield;
    if (replay.isThere && cursor.entries === until) return { bank: quoted.bank, value: quoted.value, way };
  }
  return null;
}

/** The way that led here first: a kernel keeps to one. */
function waysFrom(start: ImaCheckpoint | null, bank: PcrBank): readonly ReplayMethod[] {
  const known = start === null ? null : runningIn(start, bank);
  const ways = waysOf(bank);
  return known === null ? ways : [known.way, ...ways.filter((way) => way !== known.way)];
}

function replayOf(start: ImaCheckpoint | null, { bank, value }: QuotedValue, way: ReplayMethod): Replay {
  return new Replay(bank, way, start === null ? null : (runningIn(start, bank)?.value ?? null), value);
}

/** The content of a list beside its hashes, as far as it is read. */
class ListSummary {
  entries = 0;
  bytes = 0;
  elsewhere: number;
  aggregate: BootAggregate | null;
  aggregates: readonly number[];
  mappings: Mappings;
  /** The first entry whose fields are not what a kernel writes: it is proven that it was extended, and no more. */
  fault: ImaProblem | null = null;
  hasViolation = false;
  /** The checkpoint has the same mappings, which stay as they are. */
  #isShared = true;

  constructor(start: ImaCheckpoint | null) {
    this.elsewhere = start?.elsewhere ?? 0;
    this.aggregate = start?.aggregate ?? null;
    this.aggregates = start?.aggregates ?? [];
    this.mappings = start?.mappings ?? Mappings.none;
  }

  ended({ entries, bytes }: ListCursor): void {
    this.entries = entries;
    this.bytes = bytes;
  }

  /** @param begin bytes of the list before the entry */
  visit(entry: EntryView, begin: number): void {
    if (entry.isViolation) this.hasViolation = true;
    if (entry.pcr !== imaPcr) this.elsewhere++;
    else if (this.fault === null)
      try {
        entry.parse();
        entry.check();
        this.#note(entry);
      } catch (error) {
        this.fault = problemOf(error, entry.index, begin);
      }
  }

  #note(entry: EntryView): void {
    // Attack: no PCR binds what a violation says, and who shows the list may write into it what he likes.
    if (entry.isViolation) return;
    if (entry.isNamed(aggregateName)) {
      if (entry.index === 0) this.aggregate = aggregateIn(entry);
      if (this.aggregates.length === mostKernels)
        throw new Rejection('ima_malformed', `more than ${mostKernels} kernels began a list`);
      this.aggregates = [...this.aggregates, entry.index];
    } else if (entry.isNamedFrom(mapperEvents)) {
      if (this.#isShared) this.mappings = this.mappings.copy();
      this.#isShared = false;
      this.mappings.note(entry);
    }
  }
}

/** By kexec, since the machine was reset. */
const mostKernels = 256;

/** @param begin bytes of the list before those that the error counts from */
function problemOf(error: unknown, entry: number, begin: number): ImaProblem {
  if (!(error instanceof Rejection)) throw error;
  const { message, field = null, offset = 0 } = error;
  return { code: 'ima_malformed', text: message, entry, offset: begin + offset, field };
}

function failed(problem: ImaProblem, aggregate: ListProof['aggregate']): ListProof {
  return { list: problem, aggregate, known: null };
}

const unquoted = 'PCR 10 was not quoted';
const unextended = 'PCR 10 is zero: the driver of the TPM started after IMA, or the kernel has no IMA';

function incomplete(text: string, entry: number | null = null, offset: number | null = null): ImaProblem {
  return { code: 'ima_incomplete', text, entry, offset, field: null };
}

function goesOnElsewhere(from: number, known: KnownList | null): ImaProblem {
  const proven = known === null ? 'nothing of it was' : `it was up to byte ${known.last.bytes}`;
  return incomplete(`the list goes on from byte ${from} as if it were proven, and ${proven}`, null, from);
}

function leadsElsewhere(
  start: ImaCheckpoint | null,
  { entries, bytes }: ListSummary,
  { bank }: QuotedValue,
): ImaProblem {
  const from = start === null ? '' : ` from entry ${start.entries} on, up to where it was proven before,`;
  const text = `the list does not lead to PCR 10 of the bank ${bank}${from} with any of its ${entries} entries`;
  return incomplete(text, entries, bytes);
}

function banksDisagree(
  { bank }: QuotedValue,
  other: QuotedValue,
  { entries, bytes }: ListSummary,
): ImaProblem {
  const text = `entry ${entries} leads to PCR 10 of the bank ${bank}, and not to that of ${other.bank}`;
  return incomplete(text, entries, bytes);
}

/** @param list of which the entries between both are walked through; null if there are none */
function sealed(
  list: ListBytes | null,
  start: ImaCheckpoint | null,
  end: ImaCheckpoint,
  banks: readonly QuotedBank[],
): ProvenImaList {
  const firstAdded = start?.entries ?? 0;
  function* walkInSteps(visit: (entry: ImaEntry) => void, entries: number): Iterable<void> {
    if (list === null) return;
    const cursor = new ListCursor(list, firstAdded, start?.bytes ?? 0);
    const { entry } = cursor;
    while (cursor.entries < end.entries && cursor.next()) {
      if (entry.pcr === imaPcr) {
        entry.parse();
        visit(entry);
      }
      if ((cursor.entries - firstAdded) % entries === 0) yield;
    }
  }
  const walked = {
    head: end.head,
    entries: end.entries,
    bytes: end.bytes,
    elsewhere: end.elsewhere,
    since: start?.head ?? null,
    firstAdded,
    walk: (visit: (entry: ImaEntry) => void) => {
      for (const _ of walkInSteps(visit, Number.POSITIVE_INFINITY));
    },
    walkInSteps,
    get mappings() {
      return end.mappings.list();
    },
    aggregates: end.aggregates,
    isBootAggregate({
      index,
      algorithm,
      digest,
      nameBytes,
    }: Parameters<ProvenImaList['isBootAggregate']>[0]) {
      if (!nameBytes.equals(aggregateName)) return false;
      const said = `${algorithm}:${digest.toString('hex')}`;
      return index === 0 || said === end.aggregate || banks.some((bank) => isOfPcrs(said, bank));
    },
  };
  // The one place that makes it: the seal exists for the compiler only.
  return walked as ProvenImaList;
}

function isOfPcrs(said: string, bank: QuotedBank): boolean {
  return said === bootAggregateOf(bank, 9) || said === bootAggregateOf(bank, 7);
}
