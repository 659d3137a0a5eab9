import type { NodeStatus } from '../attest/ports.ts';
import type { AuditEvent } from '../formats/audit.ts';
import type { PresenceDoubt } from '../formats/cluster.ts';
import { type AbsenceState, awayAfter, doubtOf, here } from './absence.ts';
import type { Absence, KeptPresence, PresencePorts, PresentNodes, ReturnedBy } from './ports.ts';

export interface PresenceConfig {
  /** How long a node that is away is waited for, in milliseconds. */
  readonly goneAfter: number;
  /** How long the record of a node that is gone stays in lists and in memory, in milliseconds. */
  readonly archiveAfter: number;
}

export interface PresenceFigures {
  /** Nodes that are gone and not archived. */
  readonly gone: number;
  readonly doubt: PresenceDoubt | null;
  /** Names of Nodes of the cluster under which no TPM is enrolled. It looks at all of them. */
  readonly unenrolled: () => readonly string[];
}

/** A node of which the cluster has or had a Node. */
interface NodePresence {
  readonly ekDigest: string;
  away: AbsenceState;
  /** Milliseconds since the epoch. */
  missingSince: number | null;
  goneAt: number | null;
  /** Its latest proof, when it was last looked at. */
  verifiedAt: number | null;
}

interface NodeReturn {
  readonly ekDigest: string;
  readonly audit: AuditEvent;
}

/** In one transaction: others must not wait for it. */
const batch = 50;
/** Milliseconds until a failed write is tried again. */
const retryAfter = 60_000;

/**
 * Which nodes are gone. It looks at the present state each second and relies on no events: a node that leaves is gone
 * once that is written, and one that comes back is there at once.
 */
export class Presence {
  readonly #ports: PresencePorts;
  readonly #config: PresenceConfig;
  readonly #known = new Map<string, NodePresence>();
  /** Returns that are not written down yet. */
  readonly #returns = new Map<string, NodeReturn>();
  /** Archived nodes that were recalled. */
  readonly #recalled = new Set<string>();
  /** Nodes of names that no node in memory has, by uid: asked for once each, and again after a while. */
  readonly #asked = new Map<string, string>();
  /** Names of Nodes that were removed since the last look: they may have been there for less than the time between two. */
  readonly #left = new Set<string>();
  #askAgainAt = Number.NEGATIVE_INFINITY;
  #nodes: PresentNodes | null = null;
  #doubt: PresenceDoubt | null = null;
  #retryAt = Number.NEGATIVE_INFINITY;

  constructor(ports: PresencePorts, config: PresenceConfig, kept: readonly KeptPresence[]) {
    this.#ports = ports;
    this.#config = config;
    for (const { name, ekDigest, missingSince, goneAt } of kept)
      this.#known.set(name, {
        ekDigest,
        away: goneAt === null ? here : { missingAt: null, isGone: true },
        missingSince,
        goneAt,
        verifiedAt: null,
      });
  }

  /** From now on it knows how the nodes are. */
  begin(nodes: PresentNodes): void {
    this.#nodes = nodes;
    this.#ports.nodes?.onChange((name, after) => {
      if (after === null && !this.#known.has(name) && this.#left.size < mostLeft) this.#left.add(name);
    });
    for (const [name, known] of this.#known) known.verifiedAt = nodes.status(name)?.verifiedAt ?? null;
  }

  /** Whether the node is missed or gone. */
  isAway(name: string): boolean {
    const known = this.#known.get(name);
    return known !== undefined && (known.away.missingAt !== null || known.goneAt !== null);
  }

  /** Null while it is there, as far as anybody knows; of an archived one, too. */
  absenceOf(name: string): Absence | null {
    const known = this.#known.get(name);
    if (known?.missingSince == null) return null;
    return { missingSince: known.missingSince, goneAt: known.goneAt };
  }

  /** The same of any node, also an archived one. */
  async readAbsence(name: string): Promise<Absence | null> {
    if (this.#ports.nodes === null || this.#known.has(name)) return this.absenceOf(name);
    const kept = await this.#ports.store.read(name);
    return kept?.missingSince == null ? null : { missingSince: kept.missingSince, goneAt: kept.goneAt };
  }

  /** Gone, and nothing is held against it. A node with findings stays listed, counted and reported, since silence clears nothing. */
  isHidden(name: string): boolean {
    const known = this.#known.get(name);
    if (known === undefined || known.goneAt === null) return false;
    const status = this.#nodes?.status(name) ?? null;
    return status !== null && !isHeld(status);
  }

  figures(): PresenceFigures {
    let gone = 0;
    for (const { goneAt } of this.#known.values()) if (goneAt !== null) gone += 1;
    return { gone, doubt: this.#doubt, unenrolled: () => this.#unenrolled() };
  }

  #unenrolled(): string[] {
    const { nodes } = this.#ports;
    if (nodes === null || this.#nodes === null || !nodes.synced()) return [];
    const names: string[] = [];
    for (const { name } of nodes.all()) if (this.#nodes.status(name) === null) names.push(name);
    return names;
  }

  /** An archived node was taken into memory again: it proves itself, or the cluster has its Node. */
  recalled(name: string): void {
    this.#recalled.add(name);
  }

  /** A node was proven: if it was gone, it is back before anybody asks. */
  proven(name: string): void {
    const known = this.#known.get(name);
    const status = this.#nodes?.status(name) ?? null;
    if (known === undefined || known.goneAt === null || status === null) return;
    if (status.verifiedAt !== known.verifiedAt) this.#comeBack(name, known, 'tpm');
  }

  /** Looks at all nodes, and writes down what is new. One call after the other. */
  async look(): Promise<void> {
    const { nodes } = this.#ports;
    if (nodes === null || this.#nodes === null) return;
    const leaving = this.#lookAt(nodes, this.#nodes);
    if (this.#ports.monotonic() < this.#retryAt) return;
    try {
      await this.#askForOthers(nodes, this.#nodes);
      await this.#writeReturns();
      await this.#noteNew(nodes, this.#nodes);
      await this.#leave(leaving);
      await this.#archive(this.#nodes);
    } catch (error) {
      this.#retryAt = this.#ports.monotonic() + retryAfter;
      throw error;
    }
  }

  /** @returns those that are gone from now on */
  #lookAt(nodes: NonNullable<PresencePorts['nodes']>, { statuses, isConnected }: PresentNodes): string[] {
    const { now, monotonic } = this.#ports;
    const [at, wall] = [monotonic(), now()];
    const all = statuses();
    this.#forgetOthers(all);
    const mayConclude = nodes.synced() && !this.#isDoubtful(nodes, all, isConnected);
    const leaving: string[] = [];
    for (const { name, state, verdict, verifiedAt, expiresAt } of all) {
      const known = this.#known.get(name);
      if (known === undefined) continue;
      const hasNode = nodes.get(name) !== null;
      const isProven = isConnected(name) || verifiedAt !== known.verifiedAt;
      known.verifiedAt = verifiedAt;
      const isJudged =
        verdict !== null &&
        (state === 'trusted' || state === 'pending') &&
        expiresAt !== null &&
        wall < expiresAt;
      const away = awayAfter(
        known.away,
        { hasNode, isProven, isJudged, mayConclude },
        at,
        this.#config.goneAfter,
      );
      if (away === here && known.goneAt !== null) this.#comeBack(name, known, hasNode ? 'node' : 'tpm');
      else if (away.isGone && known.goneAt === null) leaving.push(name);
      else known.away = away;
      if (known.goneAt === null) known.missingSince = away === here ? null : (known.missingSince ?? wall);
    }
    return leaving;
  }

  /** Records that no longer exist, or belong to another TPM. */
  #forgetOthers(all: readonly NodeStatus[]): void {
    if (this.#known.size === 0) return;
    const keys = new Map(all.map(({ name, ekDigest }) => [name, ekDigest]));
    for (const [name, { ekDigest }] of this.#known)
      if (keys.get(name) !== ekDigest) {
        this.#known.delete(name);
        this.#returns.delete(name);
      }
  }

  #isDoubtful(
    nodes: NonNullable<PresencePorts['nodes']>,
    all: readonly NodeStatus[],
    isConnected: PresentNodes['isConnected'],
  ): boolean {
    const { ownNode, report } = this.#ports;
    if (!nodes.synced()) return true;
    let inCluster = 0;
    for (const _ of nodes.all()) inCluster += 1;
    const connected = all.filter(({ name }) => this.#known.has(name) && isConnected(name));
    const doubt = doubtOf({
      inCluster,
      hasOwn: ownNode === null ? null : nodes.get(ownNode) !== null,
      connected: connected.length,
      denied: connected.filter(({ name }) => nodes.get(name) === null).length,
    });
    if (doubt !== this.#doubt) report.doubted(doubt);
    this.#doubt = doubt;
    return doubt !== null;
  }

  /** There at once, and written down as soon as it can be. */
  #comeBack(name: string, known: NodePresence, by: ReturnedBy): void {
    const { now, report } = this.#ports;
    const { ekDigest, goneAt } = known;
    known.away = here;
    known.goneAt = null;
    known.missingSince = null;
    known.verifiedAt = this.#nodes?.status(name)?.verifiedAt ?? null;
    this.#returns.set(name, { ekDigest, audit: returnEvent(name, now(), by, goneAt, false) });
    report.back(name, by);
  }

  async #writeReturns(): Promise<void> {
    const { store, now, report } = this.#ports;
    for (const name of this.#recalled) {
      const kept = await store.read(name);
      this.#recalled.delete(name);
      if (kept === null || kept.goneAt === null) continue;
      const by: ReturnedBy = this.#ports.nodes?.get(name) == null ? 'tpm' : 'node';
      const { ekDigest } = kept;
      this.#returns.set(name, { ekDigest, audit: returnEvent(name, now(), by, kept.goneAt, true) });
      this.#known.set(name, {
        ekDigest,
        away: here,
        missingSince: null,
        goneAt: null,
        verifiedAt: this.#nodes?.status(name)?.verifiedAt ?? null,
      });
      report.back(name, by);
    }
    while (this.#returns.size > 0) {
      const written = [...this.#returns].slice(0, batch);
      await store.comeBack(written.map(([, each]) => each));
      for (const [name, each] of written) if (this.#returns.get(name) === each) this.#returns.delete(name);
    }
  }

  /** Nodes of the cluster whose names are not in memory: they may be archived, or enrolled and never judged yet. */
  async #askForOthers(nodes: NonNullable<PresencePorts['nodes']>, present: PresentNodes): Promise<void> {
    const at = this.#ports.monotonic();
    if (at >= this.#askAgainAt) {
      this.#asked.clear();
      this.#askAgainAt = at + askAgainAfter;
    }
    const unknown = [...this.#left].filter((name) => present.status(name) === null);
    for (const { name, uid } of nodes.all()) {
      if (this.#asked.get(name) === uid || present.status(name) !== null) continue;
      this.#asked.set(name, uid);
      unknown.push(name);
    }
    for (const name of this.#asked.keys()) if (nodes.get(name) === null) this.#asked.delete(name);
    for (let from = 0; from < unknown.length; from += mostAsked)
      for (const name of await this.#ports.store.enrolledAmong(unknown.slice(from, from + mostAsked)))
        if ((await present.recall(name)) !== null) this.#recalled.add(name);
  }

  /** From now on these can be missed. */
  async #noteNew(nodes: NonNullable<PresencePorts['nodes']>, { statuses }: PresentNodes): Promise<void> {
    const wasThere = (name: string) => this.#left.has(name) || nodes.get(name) !== null;
    const found = statuses().filter(({ name }) => !this.#known.has(name) && wasThere(name));
    const left = [...this.#left];
    for (let from = 0; from < found.length; from += mostAsked) {
      const some = found.slice(from, from + mostAsked);
      await this.#ports.store.noteNodes(some.map(({ ekDigest }) => ekDigest));
      for (const { name, ekDigest, verifiedAt } of some)
        this.#known.set(name, { ekDigest, away: here, missingSince: null, goneAt: null, verifiedAt });
    }
    for (const name of left) this.#left.delete(name);
  }

  async #leave(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const { store, report, now } = this.#ports;
    const at = now();
    const there = [...this.#known.values()].filter(({ goneAt }) => goneAt === null).length;
    for (let from = 0; from < names.length; from += batch) {
      const some = names.slice(from, from + batch).flatMap((name) => {
        const known = this.#known.get(name);
        return known === undefined ? [] : [{ name, known }];
      });
      await store.leave(
        some.map(({ name, known: { ekDigest, missingSince } }) => ({
          ekDigest,
          missingSince,
          goneAt: at,
          audit: eventOf(name, at, 'node.gone', { missingSince: moment(missingSince) }),
        })),
      );
      for (const { known } of some) {
        known.away = { missingAt: null, isGone: true };
        known.missingSince ??= at;
        known.goneAt = at;
      }
    }
    report.gone(names, names.length * 2 > there);
  }

  /** One batch at a time. What is held against a node keeps it where it is. */
  async #archive(present: PresentNodes): Promise<void> {
    const { store, report, now } = this.#ports;
    const at = now();
    const due: string[] = [];
    for (const [name, { goneAt }] of this.#known) {
      if (goneAt === null || at - goneAt < this.#config.archiveAfter || !this.isHidden(name)) continue;
      due.push(name);
      if (due.length === batch) break;
    }
    if (due.length === 0) return;
    await present.archive(due, async () => {
      // Some may have come back while this waited for its turn.
      const names = due.filter((name) => this.isHidden(name));
      if (names.length === 0) return names;
      const keys = names.flatMap((name) => this.#known.get(name)?.ekDigest ?? []);
      const audit = eventOf('nodes', at, 'node.archive', { count: names.length, nodes: names.join(' ') });
      await store.archive(keys, at, audit, (digests) => ({
        ...eventOf('archived nodes', at, 'evidence_erased', {
          count: digests.length,
          digests: digests.join(' '),
        }),
        code: 'evidence_erased',
      }));
      for (const name of names) this.#known.delete(name);
      report.archived(names.length);
      return names;
    });
  }
}

/** Of names in one query. */
const mostAsked = 500;
const askAgainAfter = 600_000;
const mostLeft = 10_000;

function isHeld({ state, sequence }: NodeStatus): boolean {
  return state === 'untrusted' || (sequence?.held ?? null) !== null;
}

function returnEvent(
  name: string,
  at: number,
  by: ReturnedBy,
  goneAt: number | null,
  wasArchived: boolean,
): AuditEvent {
  return eventOf(name, at, 'node.back', { by, goneSince: moment(goneAt), wasArchived });
}

function eventOf(
  subject: string,
  at: number,
  action: AuditEvent['action'],
  detail: AuditEvent['detail'],
): AuditEvent {
  return { at, actor: 'server', action, subject, code: null, detail };
}

function moment(at: number | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
