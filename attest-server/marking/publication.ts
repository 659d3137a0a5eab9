import type { EnforcementAction, WrongResource } from '../formats/marking.ts';
import {
  attestationStatus,
  leastStatus,
  shareOfHour,
  transitionIn,
  transitionOf,
} from './attestation-status.ts';
import { backOff } from './back-off.ts';
import type { NodeToMark } from './judged-node.ts';
import type { Marks } from './marks.ts';
import {
  ClusterError,
  type ClusterEvent,
  type ClusterNode,
  type ClusterWriter,
  type Decisions,
  type PublishedAttestation,
} from './ports.ts';
import { WorkQueue } from './work-queue.ts';

export interface PublicationParts {
  readonly writer: Pick<ClusterWriter, 'applyAttestation' | 'attestations' | 'removeAttestation' | 'event'>;
  readonly decisions: Pick<Decisions, 'exemption'>;
  /** Null: the cluster has no Node of that name. */
  readonly nodeOf: (name: string) => ClusterNode | null;
  /** Null: nobody looked at that Node yet. */
  readonly judgementOf: (name: string) => Judgement | null;
  /** Whether this server may write, and knows of each Node whether it is there. */
  readonly mayWrite: () => boolean;
  /** Marks wait: they come first. */
  readonly areMarksWaiting: () => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly report: {
    acted(action: EnforcementAction, isDone: boolean): void;
    failed(error: ClusterError, node: string | null): void;
    fault(error: unknown, where: string): void;
  };
}

interface Judgement {
  readonly judged: NodeToMark;
  readonly marks: Marks;
}

/** What the cluster has of one Node besides its marks. Moments are of a clock that nobody sets. */
interface Published {
  isThere: boolean;
  /** The transition that it tells of; null: not known. */
  told: string | null;
  /** False: reduced to what the API takes. */
  isWhole: boolean;
  writtenAt: number;
  dueAt: number;
  notBefore: number;
  /** In a row. */
  refusals: number;
  /** Why it is not as it should be; null: it was never refused, or has been written since. */
  fault: ClusterError | null;
  readonly events: ClusterEvent[];
}

/** A resource that is not as it should be, and what its reader sees instead. */
export interface WrongAttestation {
  readonly shows: WrongResource;
  /** Null while it waits for its turn. */
  readonly fault: ClusterError | null;
}

/** Resources under way while marks wait, and while none does: 5,000 are written within half a minute. */
const resourceWorkers = { behindMarks: 2, alone: 8 };
const eventWorkers = 2;
const hour = 3_600_000;
/** After which one that was reduced or removed is tried again as a whole. */
const againAfter = 600_000;
const longestRetryAfter = 600_000;
/** Refusals after which a resource is reduced or removed, rather than left as it was. */
const patience = 3;
/** Lists that fail until resources are written without one: what is there may be green. */
const mostLists = 3;
/** Of one Node, or with a tenth of all: then it is the API, and no one resource. */
const refusedOfAll = 3;
/** Events of one Node that wait to be told. */
const mostEvents = 4;

/**
 * What the cluster is told of nodes for people and other programs: a resource and Events of each Node. It never goes before
 * marks, and one that is refused keeps no other waiting. `tick` is to be called each second.
 */
export class Publication {
  readonly #parts: PublicationParts;
  readonly #published = new Map<string, Published>();
  readonly #resources: WorkQueue;
  readonly #events: WorkQueue;
  /** Whether it is known which resources there are. */
  #isListed = false;
  #listing: Promise<void> | null = null;
  #listFault: ClusterError | null = null;
  /** In a row, and until when nothing of that kind is asked for. */
  readonly #failures = { lists: 0, resources: 0, events: 0 };
  readonly #closedUntil = {
    lists: Number.NEGATIVE_INFINITY,
    resources: Number.NEGATIVE_INFINITY,
    events: Number.NEGATIVE_INFINITY,
  };
  /** Names whose resource was refused since one was taken as a whole. */
  readonly #refused = new Set<string>();

  constructor(parts: PublicationParts) {
    this.#parts = parts;
    const workers = () => (parts.areMarksWaiting() ? resourceWorkers.behindMarks : resourceWorkers.alone);
    this.#resources = new WorkQueue((name) => this.#publish(name), workers);
    this.#events = new WorkQueue(
      (name) => this.#tell(name),
      () => eventWorkers,
    );
  }

  /** What is known of this Node was looked at anew. */
  judged(name: string, judgement: Judgement): void {
    const its = this.#of(name);
    if (its.told !== transitionOf(judgement.judged, judgement.marks)) its.dueAt = Number.NEGATIVE_INFINITY;
    this.#enqueue(name, its);
  }

  /** Told on the Node as soon as it may be. */
  note(name: string, event: ClusterEvent): void {
    const { events } = this.#of(name);
    events.push(event);
    if (events.length > mostEvents) events.shift();
    if (this.#parts.mayWrite()) this.#events.add(name);
  }

  /** The cluster has no Node of that name any more. */
  gone(name: string): void {
    const its = this.#published.get(name);
    if (its === undefined) return;
    its.events.length = 0;
    its.dueAt = Number.NEGATIVE_INFINITY;
    this.#enqueue(name, its);
  }

  /** Another server may have written until now. */
  tookOver(): void {
    this.#isListed = false;
    this.#failures.lists = 0;
    for (const [name, { events }] of this.#published) {
      // Of a Node that went meanwhile the list knows whether anything is left.
      if (this.#parts.nodeOf(name) === null) this.#published.delete(name);
      events.length = 0;
    }
  }

  tick(): void {
    if (!this.#parts.mayWrite()) return;
    if (!this.#isListed) this.#list();
    for (const [name, its] of this.#published) this.#enqueue(name, its);
  }

  /** Null where the resource of this Node is as it should be. */
  wrong(name: string): WrongAttestation | null {
    const its = this.#published.get(name);
    if (its === undefined) return null;
    const { isThere, told, isWhole, fault } = its;
    if (this.#parts.nodeOf(name) === null) return isThere ? { shows: 'old', fault } : null;
    const wanted = this.#wanted(name);
    if (wanted === null || (told === wanted && fault === null)) return null;
    if (!isThere) return { shows: 'none', fault };
    return { shows: told === wanted && !isWhole ? 'least' : 'old', fault };
  }

  /** How many resources are wrong, by what is shown instead. */
  countWrong(): ReadonlyMap<WrongResource, number> {
    const counts = new Map<WrongResource, number>();
    for (const name of this.#published.keys()) {
      const shows = this.wrong(name)?.shows;
      if (shows !== undefined) counts.set(shows, (counts.get(shows) ?? 0) + 1);
    }
    return counts;
  }

  /** What the API refuses at present, a sentence each. */
  faults(): readonly string[] {
    const refused = [...this.#published.keys()].flatMap((name) => {
      const fault = this.wrong(name)?.fault ?? null;
      return fault === null ? [] : [{ name, fault }];
    });
    const [first] = refused;
    return [
      ...(this.#listFault === null
        ? []
        : [`the NodeAttestations cannot be listed: ${this.#listFault.message}`]),
      ...(first === undefined
        ? []
        : [
            `the NodeAttestations of ${refused.length} nodes (${shortList(refused.map(({ name }) => name))}) cannot be written as they should be: ${first.fault.message}`,
          ]),
    ];
  }

  async close(): Promise<void> {
    await Promise.all([this.#listing, this.#resources.close(), this.#events.close()]);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#listing;
    await this.#resources.idle();
    await this.#events.idle();
  }

  #of(name: string): Published {
    let its = this.#published.get(name);
    if (its === undefined) {
      its = {
        isThere: false,
        told: null,
        isWhole: true,
        writtenAt: Number.NEGATIVE_INFINITY,
        dueAt: Number.NEGATIVE_INFINITY,
        notBefore: Number.NEGATIVE_INFINITY,
        refusals: 0,
        fault: null,
        events: [],
      };
      this.#published.set(name, its);
    }
    return its;
  }

  #enqueue(name: string, { dueAt, notBefore, events }: Published): void {
    if (!this.#parts.mayWrite()) return;
    if (Math.max(dueAt, notBefore) <= this.#parts.monotonic()) this.#resources.add(name);
    if (events.length > 0) this.#events.add(name);
  }

  #wanted(name: string): string | null {
    const judgement = this.#parts.judgementOf(name);
    return judgement && transitionOf(judgement.judged, judgement.marks);
  }

  /** What is there is asked once: a resource of an earlier server may say what is no more, or be of a Node that is gone. */
  #list(): void {
    const { writer, monotonic, report } = this.#parts;
    const asked = monotonic();
    if (this.#listing !== null || asked < this.#closedUntil.lists) return;
    this.#listing = writer
      .attestations()
      .then((found) => this.#listed(found, asked))
      .catch((error: unknown) => {
        if (!(error instanceof ClusterError)) throw error;
        report.failed(error, null);
        this.#listFault = error;
        this.#close('lists', error);
      })
      .catch((error: unknown) => {
        report.fault(error, 'list of the NodeAttestations');
      })
      .finally(() => {
        this.#listing = null;
      });
  }

  #listed(found: readonly PublishedAttestation[], asked: number): void {
    this.#isListed = true;
    this.#listFault = null;
    this.#failures.lists = 0;
    const statuses = new Map(found.map(({ name, status }) => [name, status]));
    for (const name of statuses.keys()) this.#of(name);
    const at = this.#parts.monotonic();
    for (const [name, its] of this.#published) {
      // What was written since is newer than the list.
      if (its.writtenAt > asked) continue;
      its.isThere = statuses.has(name);
      its.told = transitionIn(statuses.get(name));
      its.fault = null;
      const isRight = its.told !== null && its.told === this.#wanted(name);
      its.dueAt = isRight ? at + hour * shareOfHour(name) : Number.NEGATIVE_INFINITY;
      this.#enqueue(name, its);
    }
  }

  async #publish(name: string): Promise<void> {
    const { nodeOf, mayWrite, monotonic, random, report } = this.#parts;
    const its = this.#published.get(name);
    const isReady = this.#isListed || this.#failures.lists >= mostLists;
    const at = monotonic();
    if (its === undefined || !mayWrite() || !isReady || at < this.#closedUntil.resources) return;
    if (at < Math.max(its.dueAt, its.notBefore)) return;
    const node = nodeOf(name);
    try {
      if (node === null) await this.#remove(name, its);
      else await this.#write(node, its);
      this.#failures.resources = 0;
    } catch (error) {
      its.dueAt = Number.NEGATIVE_INFINITY;
      const isOfAll = error instanceof ClusterError && !isRefusal(error);
      if (!isOfAll) {
        its.refusals += 1;
        its.notBefore = monotonic() + backOff(its.refusals, random);
      }
      if (error instanceof ClusterError) this.#notWritten(name, its, error);
      else report.fault(error, `the NodeAttestation of ${name}`);
    }
  }

  async #remove(name: string, its: Published): Promise<void> {
    // A write without an answer may have been done, or half of it.
    await this.#parts.writer.removeAttestation(name);
    its.isThere = false;
    its.told = null;
    this.#refused.delete(name);
    // It may have come back meanwhile.
    if (this.#parts.nodeOf(name) === null) this.#published.delete(name);
  }

  async #write(node: ClusterNode, its: Published): Promise<void> {
    const { writer, decisions, judgementOf, now, report } = this.#parts;
    const judgement = judgementOf(node.name);
    if (judgement === null) return;
    const { judged, marks } = judgement;
    const told = transitionOf(judged, marks);
    const status = attestationStatus(judged, marks, decisions.exemption(node.name), now());
    try {
      await this.#counted('attestation', () => writer.applyAttestation(node, status, its.isThere));
      its.isThere = true;
      its.isWhole = true;
      its.refusals = 0;
      its.fault = null;
      this.#refused.clear();
    } catch (error) {
      if (!isRefusal(error) || (its.refusals + 1 < patience && !this.#areManyRefused)) throw error;
      if (its.told !== told) await this.#reduce(node, its, leastStatus(status));
      its.fault = error;
      report.failed(error, node.name);
    }
    its.told = told;
    its.writtenAt = this.#parts.monotonic();
    // Another transition may have come while this one was written.
    const next = its.writtenAt + (its.fault === null ? hour : againAfter);
    its.dueAt = told === this.#wanted(node.name) ? next : Number.NEGATIVE_INFINITY;
  }

  /** What was told before is no more: it says what the API takes of the truth, or nothing. */
  async #reduce(node: ClusterNode, its: Published, least: Readonly<Record<string, unknown>>): Promise<void> {
    const { writer } = this.#parts;
    try {
      await writer.applyAttestation(node, least, its.isThere);
      its.isThere = true;
      its.isWhole = false;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      await writer.removeAttestation(node.name);
      its.isThere = false;
    }
  }

  /** One whose resource is refused waits alone; what concerns all has all of them wait. */
  #notWritten(name: string, its: Published, error: ClusterError): void {
    this.#parts.report.failed(error, name);
    its.fault = error;
    if (isRefusal(error)) {
      this.#refused.add(name);
      if (!this.#areManyRefused) return;
    }
    // Without their definition all are gone, and none is there when it comes back.
    if (error.reason === 'not_found') this.#isListed = false;
    this.#close('resources', error);
  }

  get #areManyRefused(): boolean {
    return this.#refused.size >= Math.max(refusedOfAll, this.#published.size / 10);
  }

  /** Told once, and lost where that is refused: the resource says how things are. */
  async #tell(name: string): Promise<void> {
    const { nodeOf, mayWrite, writer, monotonic, report } = this.#parts;
    const node = nodeOf(name);
    const events = this.#published.get(name)?.events ?? [];
    if (node === null || !mayWrite()) return;
    while (monotonic() >= this.#closedUntil.events) {
      const event = events.shift();
      if (event === undefined) return;
      try {
        await this.#counted('event', () => writer.event(node, event));
        this.#failures.events = 0;
      } catch (error) {
        if (!(error instanceof ClusterError)) report.fault(error, `an Event on ${name}`);
        else {
          report.failed(error, name);
          if (!isRefusal(error)) this.#close('events', error);
        }
      }
    }
  }

  #close(what: 'lists' | 'resources' | 'events', { retryAfter }: ClusterError): void {
    const { monotonic, random } = this.#parts;
    this.#failures[what] += 1;
    const wait =
      retryAfter === null ? backOff(this.#failures[what], random) : Math.min(longestRetryAfter, retryAfter);
    this.#closedUntil[what] = Math.max(this.#closedUntil[what], monotonic() + wait);
  }

  async #counted(action: EnforcementAction, work: () => Promise<void>): Promise<void> {
    const { report } = this.#parts;
    try {
      await work();
      report.acted(action, true);
    } catch (error) {
      report.acted(action, false);
      throw error;
    }
  }
}

/** The API answered that it does not take this, rather than that it takes nothing at present. A mistake of ours may be a 500. */
function isRefusal(error: unknown): error is ClusterError {
  return (
    error instanceof ClusterError && ['invalid', 'failed', 'forbidden', 'conflict'].includes(error.reason)
  );
}

const mostNames = 3;

function shortList(names: readonly string[]): string {
  const more = names.length > mostNames ? ` and ${names.length - mostNames} more` : '';
  return `${names.slice(0, mostNames).join(', ')}${more}`;
}
