import pLimit from 'p-limit';
import type { AuditAction, AuditEvent } from '../formats/audit.ts';
import type { Decisions, Exemption, Hold, Latch, MarkingStore, Pause } from './ports.ts';

/** Subject in the audit log of a decision about the cluster rather than one node or group. */
const wholeCluster = 'cluster';

export interface DecisionsParts {
  readonly store: MarkingStore;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Which holds a person means: those of these groups, none for all; and of one code, where it is given. */
export interface HoldsMeant {
  readonly groups: readonly string[];
  readonly code: string | null;
}

/** Decisions of people: read from memory, and stored before they count. */
export interface KeptDecisions extends Decisions {
  exemptions(): readonly Exemption[];
  latch(): Latch | null;
  setPause(by: string, reason: string): Promise<Pause>;
  /** False if nothing was paused. */
  resume(by: string): Promise<boolean>;
  exempt(exemption: Pick<Exemption, 'node' | 'reason' | 'by' | 'until'>): Promise<Exemption>;
  /** False if there is none. */
  endExemption(node: string, by: string, reason?: string): Promise<boolean>;
  /** Ends what is over by the clock. */
  endDue(): Promise<void>;
  /** Decides about all that is meant and is not decided so already; gives those. */
  decide(
    decision: 'held' | 'released',
    meant: HoldsMeant,
    person: { readonly by: string; readonly reason: string },
  ): Promise<readonly Hold[]>;
  /** @throws Error if it would shrink */
  setLatch(
    latch: Latch,
    action: 'trust.enable' | 'trust.restore',
    detail?: AuditEvent['detail'],
  ): Promise<void>;
  /** Notes that a person had all marks removed. */
  unmarked(by: string, detail: AuditEvent['detail']): Promise<void>;
}

/** @throws Error if the store cannot be read: what was decided must not be forgotten */
export async function loadDecisions({ store, now }: DecisionsParts): Promise<KeptDecisions> {
  const [pause, latch, holds, exemptions] = await Promise.all([
    store.pause(),
    store.latch(),
    store.holds(),
    store.exemptions(),
  ]);
  return new LoadedDecisions({ store, now }, { pause, latch, holds, exemptions });
}

interface StoredDecisions {
  readonly pause: Pause | null;
  readonly latch: Latch | null;
  readonly holds: readonly Hold[];
  readonly exemptions: readonly Exemption[];
}

class LoadedDecisions implements KeptDecisions {
  readonly #store: MarkingStore;
  readonly #now: () => number;
  readonly #listeners: ((node: string | null) => void)[] = [];
  /** Decisions that a person and the reconciler make at the same moment are made one after the other. */
  readonly #oneByOne = pLimit(1);
  readonly #holds: Map<string, Hold>;
  readonly #exemptions: Map<string, Exemption>;
  #pause: Pause | null;
  #latch: Latch | null;

  constructor({ store, now }: DecisionsParts, { pause, latch, holds, exemptions }: StoredDecisions) {
    this.#store = store;
    this.#now = now;
    this.#pause = pause;
    this.#latch = latch;
    this.#holds = new Map(holds.map((hold) => [keyOf(hold), hold]));
    this.#exemptions = new Map(exemptions.map((exemption) => [exemption.node, exemption]));
  }

  pause(): Pause | null {
    return this.#pause;
  }

  latch(): Latch | null {
    return this.#latch;
  }

  holds(): readonly Hold[] {
    return [...this.#holds.values()];
  }

  exemption(node: string): Exemption | null {
    const found = this.#exemptions.get(node);
    return found === undefined || found.until <= this.#now() ? null : found;
  }

  exemptions(): readonly Exemption[] {
    return [...this.#exemptions.values()].filter(({ until }) => until > this.#now());
  }

  onChange(listener: (node: string | null) => void): void {
    this.#listeners.push(listener);
  }

  setPause(by: string, reason: string): Promise<Pause> {
    return this.#oneByOne(async () => {
      const pause = { by, reason, at: this.#now() };
      await this.#store.setPause(pause, this.#event(by, 'cluster.pause', wholeCluster, { reason }));
      this.#pause = pause;
      this.#tell(null);
      return pause;
    });
  }

  resume(by: string): Promise<boolean> {
    return this.#oneByOne(async () => {
      const paused = this.#pause;
      if (paused === null) return false;
      const detail = { pausedBy: paused.by, reason: paused.reason };
      await this.#store.setPause(null, this.#event(by, 'cluster.resume', wholeCluster, detail));
      this.#pause = null;
      this.#tell(null);
      return true;
    });
  }

  exempt({ node, reason, by, until }: Pick<Exemption, 'node' | 'reason' | 'by' | 'until'>) {
    return this.#oneByOne(async () => {
      const exemption = { node, reason, by, at: this.#now(), until };
      const detail = { reason, until: new Date(until).toISOString() };
      await this.#store.setExemption(exemption, this.#event(by, 'exempt', node, detail));
      this.#exemptions.set(node, exemption);
      this.#tell(node);
      return exemption;
    });
  }

  endExemption(node: string, by: string, reason?: string): Promise<boolean> {
    return this.#oneByOne(async () => {
      if (!this.#exemptions.has(node)) return false;
      await this.#end(node, by, reason === undefined ? {} : { reason });
      return true;
    });
  }

  endDue(): Promise<void> {
    return this.#oneByOne(async () => {
      for (const { node, until } of [...this.#exemptions.values()])
        if (until <= this.#now()) await this.#endOver(node);
    });
  }

  /** It no longer counts, even if that cannot be stored. */
  async #endOver(node: string): Promise<void> {
    try {
      await this.#end(node, 'server', { reason: 'its time is over' });
    } catch (error) {
      this.#tell(node);
      throw error;
    }
  }

  async #end(node: string, by: string, detail: AuditEvent['detail']): Promise<void> {
    await this.#store.removeExemption(node, this.#event(by, 'exempt.end', node, detail));
    this.#exemptions.delete(node);
    this.#tell(node);
  }

  // In force at once: while it cannot be stored it holds all the more.
  async hold(...holds: readonly Hold[]): Promise<void> {
    // What was released was decided for those that waited then.
    const fresh = holds.filter(
      (hold) => (this.#holds.get(keyOf(hold))?.decision ?? 'released') === 'released',
    );
    if (fresh.length === 0) return;
    for (const hold of fresh) this.#holds.set(keyOf(hold), hold);
    this.#tell(null);
    await this.#oneByOne(async () => {
      const kept = fresh.flatMap((hold) => this.#holds.get(keyOf(hold)) ?? []);
      await this.#store.saveHolds(
        kept.map((hold) => ({ hold, audit: this.#holdEvent('server', 'breaker.open', hold, {}) })),
      );
    });
  }

  end(holds: readonly Hold[]): Promise<void> {
    return this.#oneByOne(async () => {
      const gone = holds.filter((hold) => this.#holds.has(keyOf(hold)));
      if (gone.length === 0) return;
      await this.#store.removeHolds(
        gone.map((hold) => ({ hold, audit: this.#holdEvent('server', 'breaker.close', hold, {}) })),
      );
      for (const hold of gone) this.#holds.delete(keyOf(hold));
      this.#tell(null);
    });
  }

  decide(
    decision: 'held' | 'released',
    { groups, code }: HoldsMeant,
    { by, reason }: { readonly by: string; readonly reason: string },
  ): Promise<readonly Hold[]> {
    return this.#oneByOne(async () => {
      const decided = this.holds()
        .filter((hold) => groups.length === 0 || groups.includes(hold.group))
        .filter((hold) => code === null || hold.code === code)
        .filter((hold) => hold.decision !== decision)
        .map((hold): Hold => ({ ...hold, decision, by, reason }));
      if (decided.length === 0) return [];
      const action = decision === 'held' ? 'breaker.hold' : 'breaker.release';
      await this.#store.saveHolds(
        decided.map((hold) => ({ hold, audit: this.#holdEvent(by, action, hold, { reason }) })),
      );
      for (const hold of decided) this.#holds.set(keyOf(hold), hold);
      this.#tell(null);
      return decided;
    });
  }

  setLatch(
    latch: Latch,
    action: 'trust.enable' | 'trust.restore',
    detail: AuditEvent['detail'] = {},
  ): Promise<void> {
    return this.#oneByOne(async () => {
      const groups = latch.groups.join(', ') || 'all';
      await this.#store.setLatch(
        latch,
        this.#event(latch.by, action, wholeCluster, { groups, ...detail }, 'latched'),
      );
      this.#latch = latch;
      this.#tell(null);
    });
  }

  unmarked(by: string, detail: AuditEvent['detail']): Promise<void> {
    const event = this.#event(by, 'cluster.unmark', wholeCluster, detail);
    return this.#oneByOne(() => this.#store.setPause(this.#pause, event));
  }

  #holdEvent(by: string, action: AuditAction, hold: Hold, detail: AuditEvent['detail']): AuditEvent {
    const { group, code, value } = hold;
    return this.#event(by, action, group, { ...detail, value }, code);
  }

  #event(
    actor: string,
    action: AuditAction,
    subject: string,
    detail: AuditEvent['detail'],
    code: string | null = null,
  ): AuditEvent {
    return { at: this.#now(), actor, action, subject, code, detail };
  }

  #tell(node: string | null): void {
    for (const listener of this.#listeners) listener(node);
  }
}

function keyOf({ group, code, value }: Hold): string {
  return JSON.stringify([group, code, value]);
}
