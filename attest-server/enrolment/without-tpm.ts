import { LRUCache } from 'lru-cache';
import type { Mode } from '../wire/verdict.ts';
import type { EnrolmentStore, MachineWithoutTpm } from './ports.ts';

/** A machine that says it has no TPM, of a kind that has none by the policy. */
export interface UnsupportedNode {
  readonly name: string;
  readonly group: string;
  readonly mode: Mode;
  /** `name@revision` of the policy that says so. */
  readonly policy: string;
}

export interface UnsupportedPorts {
  readonly store: Pick<EnrolmentStore, 'machinesWithoutTpm' | 'saveMachinesWithoutTpm'>;
  /** The word of the policy in force; null if it says nothing of the sort about this name. */
  absentBy(node: string): Omit<UnsupportedNode, 'name'> | null;
  /** Milliseconds since the epoch. */
  now(): number;
}

const most = 1024;
/** Names for which one source may say so where the cluster vouches for none of them. */
const mostOfSource = 64;
/** Agents come back within a minute; one that stays away for a day is gone. */
const fadesAfterMs = 24 * 60 * 60 * 1000;
/** That a machine was seen again is written after this, not each minute. */
const writtenEveryMs = 60 * 60 * 1000;

/**
 * Which machines without a TPM were seen, also before the server started. It is their own word, unproven, so that it
 * changes nothing but this list, which a flood cannot make larger; that they are `unsupported` and no alarm is the word
 * of the policy. What is new is written at each `flush`.
 */
export class MachinesWithoutTpm {
  readonly #ports: UnsupportedPorts;
  /** In the order in which they were last seen. */
  readonly #seen = new Map<string, number>();
  /** As the store has them. */
  readonly #written = new Map<string, number>();
  readonly #changed = new Set<string>();
  /** Of which policy expects a TPM; known while the server runs, and in a room of their own. */
  readonly #claimed = new LRUCache<string, { readonly at: number; readonly source: string | null }>({
    max: most,
  });

  private constructor(ports: UnsupportedPorts) {
    this.#ports = ports;
  }

  static async open(ports: UnsupportedPorts): Promise<MachinesWithoutTpm> {
    const machines = new MachinesWithoutTpm(ports);
    for (const { node, seenAt } of await ports.store.machinesWithoutTpm()) {
      machines.#written.set(node, seenAt);
      machines.#put(node, seenAt);
    }
    machines.#fade();
    return machines;
  }

  /**
   * Notes a machine that says it has no TPM; false if policy does not expect that of it.
   * @param source where it comes from; null if its token says which Node of the cluster it is
   */
  note(node: string, source: string | null): boolean {
    const now = this.#ports.now();
    this.#claimed.delete(node);
    if (this.#ports.absentBy(node) === null) {
      if (source !== null) this.#makeRoomFor(source);
      this.#claimed.set(node, { at: now, source });
      return false;
    }
    this.#put(node, now);
    const written = this.#written.get(node);
    if (written === undefined || now - written >= writtenEveryMs || now < written) this.#changed.add(node);
    return true;
  }

  /** By the policy that is in force now. */
  list(): readonly UnsupportedNode[] {
    this.#fade();
    return [...this.#seen.keys()].flatMap((name) => {
      const by = this.#ports.absentBy(name);
      return by === null ? [] : [{ name, ...by }];
    });
  }

  /** Machines that say they have no TPM where policy expects one, by name: nothing of it is proven. */
  claimed(): readonly string[] {
    const since = this.#ports.now() - fadesAfterMs;
    return [...this.#claimed]
      .filter(([node, { at }]) => at >= since && this.#ports.absentBy(node) === null)
      .map(([node]) => node)
      .sort();
  }

  /** Attack: one machine fills what people look at with names that it invents. What it said first goes. */
  #makeRoomFor(source: string): void {
    const its = [...this.#claimed].filter(([, claim]) => claim.source === source);
    const oldest = its.at(-1);
    if (its.length >= mostOfSource && oldest !== undefined) this.#claimed.delete(oldest[0]);
  }

  /** It came with a TPM, and is enrolled. */
  forget(node: string): void {
    this.#claimed.delete(node);
  }

  /** Entries that could not be written are kept for the next time. */
  async flush(): Promise<void> {
    this.#fade();
    if (this.#changed.size === 0) return;
    const names = [...this.#changed];
    this.#changed.clear();
    const changed: MachineWithoutTpm[] = [];
    const gone: string[] = [];
    for (const node of names) {
      const seenAt = this.#seen.get(node);
      if (seenAt === undefined) gone.push(node);
      else changed.push({ node, seenAt });
    }
    try {
      await this.#ports.store.saveMachinesWithoutTpm({ changed, gone });
    } catch (error) {
      for (const node of names) this.#changed.add(node);
      throw error;
    }
    for (const { node, seenAt } of changed) this.#written.set(node, seenAt);
    for (const node of gone) this.#written.delete(node);
  }

  #put(node: string, at: number): void {
    this.#seen.delete(node);
    const [oldest] = this.#seen.keys();
    if (this.#seen.size >= most && oldest !== undefined) this.#drop(oldest);
    this.#seen.set(node, at);
  }

  #fade(): void {
    const since = this.#ports.now() - fadesAfterMs;
    for (const [node, at] of this.#seen) if (at < since) this.#drop(node);
  }

  #drop(node: string): void {
    this.#seen.delete(node);
    if (this.#written.has(node)) this.#changed.add(node);
    else this.#changed.delete(node);
  }
}
