import type { WrongResource } from '../formats/marking.ts';
import { isRefusal } from './api-back-off.ts';
import {
  attestationStatus,
  leastStatus,
  shareOfHour,
  transitionIn,
  transitionOf,
} from './attestation-status.ts';
import type { ContestedNodes } from './contested-node.ts';
import type { MarkJudgement } from './judgement.ts';
import { NodeEvents, type NodeEventsParts } from './node-events.ts';
import {
  type Clock,
  ClusterError,
  type ClusterNode,
  type ClusterWriter,
  type Decisions,
  type PublishedAttestation,
} from './ports.ts';
import { PublishedResource, type WrongAttestation } from './published-resource.ts';
import { counted } from './report.ts';
import { WorkQueue } from './work-queue.ts';

export interface PublicationParts extends NodeEventsParts, Pick<Clock, 'now' | 'monotonic'> {
  readonly writer: NodeEventsParts['writer'] &
    Pick<ClusterWriter, 'applyAttestation' | 'attestations' | 'removeAttestation'>;
  readonly decisions: Pick<Decisions, 'exemption'>;
  readonly contested: ContestedNodes;
  /** Null: nobody looked at that Node yet. */
  readonly judgementOf: (name: string) => MarkJudgement | null;
  /** Whether this server is the one that writes. */
  readonly isLeader: () => boolean;
  /** Marks wait: they come first. */
  readonly areMarksWaiting: () => boolean;
}

/** Resources under way while marks wait, and while none does: 5,000 are written within half a minute. */
const resourceWorkers = { behindMarks: 2, alone: 8 };
const hour = 3_600_000;
/** After which one that was reduced or removed is tried again as a whole. */
const againAfter = 600_000;
/** Refusals after which a resource is reduced or removed, rather than left as it was. */
const patience = 3;
/** Lists that fail until resources are written without one: what is there may be green. */
const mostLists = 3;

/**
 * Publishes nodes in the cluster for people and other programs: a resource and Events of each Node. It never goes
 * before marks, and one that is refused keeps no other waiting. `resync` is to be called each second.
 */
export class Publication {
  readonly events: NodeEvents;
  readonly #parts: PublicationParts;
  readonly #published = new Map<string, PublishedResource>();
  readonly #queue: WorkQueue;
  /** Whether it is known which resources there are. */
  #isListed = false;
  #listing: Promise<void> | null = null;
  #listFault: ClusterError | null = null;

  constructor(parts: PublicationParts) {
    this.#parts = parts;
    const workers = () => (parts.areMarksWaiting() ? resourceWorkers.behindMarks : resourceWorkers.alone);
    this.#queue = new WorkQueue((name) => this.#publish(name), workers);
    this.events = new NodeEvents(parts);
  }

  /** This Node was judged again. */
  judged(name: string): void {
    const its = this.#of(name);
    if (its.lastApplied !== this.#desired(name)) its.dueAt = Number.NEGATIVE_INFINITY;
    this.#enqueue(name, its);
  }

  /** The cluster has no Node of that name any more. */
  gone(name: string): void {
    const its = this.#published.get(name);
    if (its === undefined) return;
    this.events.forget(name);
    its.dueAt = Number.NEGATIVE_INFINITY;
    this.#enqueue(name, its);
  }

  /** Another server may have written until now. */
  tookOver(): void {
    this.#isListed = false;
    this.#parts.backOff.answered('lists');
    this.events.forget();
    // Of a Node that went meanwhile the list knows whether anything is left.
    for (const name of this.#published.keys()) if (this.#parts.nodeOf(name) === null) this.#forget(name);
  }

  resync(): void {
    const { mayWrite, backOff } = this.#parts;
    if (!mayWrite()) return;
    if (!this.#isListed && backOff.isOpen('lists')) this.#listing ??= this.#list();
    for (const [name, its] of this.#published) this.#enqueue(name, its);
    this.events.resync();
  }

  /** Null if the resource of this Node is as it should be, or another server writes it. */
  wrong(name: string): WrongAttestation | null {
    const its = this.#published.get(name);
    if (its === undefined || !this.#parts.isLeader()) return null;
    return its.wrong(this.#parts.nodeOf(name) === null, this.#desired(name));
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

  /** Refusals of the API at present, a sentence each. */
  faults(): readonly string[] {
    if (!this.#parts.isLeader()) return [];
    const faults =
      this.#listFault === null ? [] : [`the NodeAttestations cannot be listed: ${this.#listFault.message}`];
    const faultOf = (name: string) => this.wrong(name)?.fault ?? null;
    const refused = [...this.#published.keys()].filter((name) => faultOf(name) !== null);
    const [first] = refused;
    if (first === undefined) return faults;
    const which = `the NodeAttestations of ${refused.length} nodes (${shortList(refused)})`;
    return [...faults, `${which} cannot be written as they should be: ${faultOf(first)?.message}`];
  }

  async close(): Promise<void> {
    await Promise.all([this.#listing, this.#queue.close(), this.events.close()]);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#listing;
    await this.#queue.idle();
    await this.events.idle();
  }

  #of(name: string): PublishedResource {
    const its = this.#published.get(name) ?? new PublishedResource();
    this.#published.set(name, its);
    return its;
  }

  /** Nothing is left of it. */
  #forget(name: string): void {
    this.#published.delete(name);
    this.#parts.contested.forget(name);
  }

  #enqueue(name: string, its: PublishedResource): void {
    if (this.#mayPublish(name, its)) this.#queue.add(name);
  }

  /** Whether it is time. */
  #mayPublish(name: string, { dueAt }: PublishedResource): boolean {
    const { mayWrite, backOff, contested, monotonic } = this.#parts;
    if (!mayWrite() || !backOff.isOpen('resources')) return false;
    return monotonic() >= Math.max(dueAt, contested.of(name).resource.notBefore);
  }

  #desired(name: string): string | null {
    const judgement = this.#parts.judgementOf(name);
    return judgement && transitionOf(judgement.judged, judgement.marks);
  }

  /** Lists existing resources once: one of an earlier server may be outdated, or be of a Node that is gone. */
  async #list(): Promise<void> {
    const { writer, backOff, monotonic, report } = this.#parts;
    const asked = monotonic();
    try {
      this.#listed(await writer.attestations(), asked);
    } catch (error) {
      if (error instanceof ClusterError) {
        report.failed(error, null);
        this.#listFault = error;
        backOff.failed('lists', error, null);
      } else report.fault(error, 'list of the NodeAttestations');
    } finally {
      this.#listing = null;
    }
  }

  #listed(found: readonly PublishedAttestation[], asked: number): void {
    this.#isListed = true;
    this.#listFault = null;
    this.#parts.backOff.answered('lists');
    const statuses = new Map(found.map(({ name, status }) => [name, status]));
    for (const name of statuses.keys()) this.#of(name);
    const at = this.#parts.monotonic();
    for (const [name, its] of this.#published) {
      // What was written since is newer than the list.
      if (its.writtenAt > asked) continue;
      its.isThere = statuses.has(name);
      its.lastApplied = transitionIn(statuses.get(name));
      its.fault = null;
      const isRight = its.lastApplied !== null && its.lastApplied === this.#desired(name);
      its.dueAt = isRight ? at + hour * shareOfHour(name) : Number.NEGATIVE_INFINITY;
      this.#enqueue(name, its);
    }
  }

  async #publish(name: string): Promise<void> {
    const { nodeOf, backOff, contested, report } = this.#parts;
    const its = this.#published.get(name);
    const isReady = this.#isListed || backOff.failuresOf('lists') >= mostLists;
    if (its === undefined || !isReady || !this.#mayPublish(name, its)) return;
    const node = nodeOf(name);
    try {
      if (node === null) await this.#remove(name, its);
      else await this.#write(node, its);
      backOff.answered('resources');
    } catch (error) {
      its.dueAt = Number.NEGATIVE_INFINITY;
      const isOfAll = error instanceof ClusterError && !isRefusal(error);
      if (!isOfAll) contested.of(name).resource.failed(backOff);
      if (error instanceof ClusterError) this.#notWritten(name, its, error);
      else report.fault(error, `the NodeAttestation of ${name}`);
    }
  }

  async #remove(name: string, its: PublishedResource): Promise<void> {
    const { writer, backOff, nodeOf } = this.#parts;
    // A write without an answer may have been done, or half of it.
    await writer.removeAttestation(name);
    its.isThere = false;
    its.lastApplied = null;
    backOff.forget('resources', name);
    // It may have come back meanwhile.
    if (nodeOf(name) === null) this.#forget(name);
  }

  async #write(node: ClusterNode, its: PublishedResource): Promise<void> {
    const { writer, decisions, backOff, contested, judgementOf, now, monotonic, report } = this.#parts;
    const { name } = node;
    const judgement = judgementOf(name);
    if (judgement === null) return;
    const { judged, marks } = judgement;
    const desired = transitionOf(judged, marks);
    const status = attestationStatus(judged, marks, decisions.exemption(name), now());
    const { resource } = contested.of(name);
    try {
      await counted(report, ['attestation'], () => writer.applyAttestation(node, status, its.isThere));
      its.isThere = true;
      its.isWhole = true;
      its.fault = null;
      resource.succeeded();
      backOff.accepted('resources');
    } catch (error) {
      const isPatient =
        resource.failures + 1 < patience && !backOff.areManyRefused('resources', this.#published.size);
      if (!isRefusal(error) || isPatient) throw error;
      if (its.lastApplied !== desired) await this.#reduce(node, its, leastStatus(status));
      its.fault = error;
      report.failed(error, name);
    }
    its.lastApplied = desired;
    its.writtenAt = monotonic();
    // Another transition may have come while this one was written.
    const next = its.writtenAt + (its.fault === null ? hour : againAfter);
    its.dueAt = desired === this.#desired(name) ? next : Number.NEGATIVE_INFINITY;
  }

  /** Replaces an outdated resource by as much of the truth as the API accepts, or removes it. */
  async #reduce(
    node: ClusterNode,
    its: PublishedResource,
    least: Readonly<Record<string, unknown>>,
  ): Promise<void> {
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
  #notWritten(name: string, its: PublishedResource, error: ClusterError): void {
    const { backOff, report } = this.#parts;
    report.failed(error, name);
    its.fault = error;
    const isOfAll = backOff.failed('resources', error, { name, all: this.#published.size });
    // Without their definition all are gone, and none is there when it comes back.
    if (isOfAll && error.reason === 'not_found') this.#isListed = false;
  }
}

const mostNames = 3;

function shortList(names: readonly string[]): string {
  const more = names.length > mostNames ? ` and ${names.length - mostNames} more` : '';
  return `${names.slice(0, mostNames).join(', ')}${more}`;
}
