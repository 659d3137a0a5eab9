import type { EnrolledNode, EnrolmentStore, ProvenConnection } from './ports.ts';

/**
 * From where each node last came, also before the server started: a silent one still says so. What is new is written at
 * each `flush`, so that a fleet that comes back costs one transaction, and one that comes as before none.
 */
export class LastSeen {
  readonly #store: Pick<EnrolmentStore, 'seen' | 'saveSeen'>;
  readonly #byName = new Map<string, ProvenConnection>();
  readonly #unwritten = new Map<string, string>();

  private constructor(store: Pick<EnrolmentStore, 'seen' | 'saveSeen'>) {
    this.#store = store;
  }

  static async open(store: Pick<EnrolmentStore, 'seen' | 'saveSeen'>): Promise<LastSeen> {
    const lastSeen = new LastSeen(store);
    for (const { name, ...seen } of await store.seen()) lastSeen.#byName.set(name, seen);
    return lastSeen;
  }

  of(name: string): ProvenConnection | null {
    return this.#byName.get(name) ?? null;
  }

  note({ name, ekDigest }: Pick<EnrolledNode, 'name' | 'ekDigest'>, seen: ProvenConnection): void {
    const before = this.#byName.get(name);
    if (before?.address === seen.address && before.agent === seen.agent) return;
    this.#byName.set(name, seen);
    this.#unwritten.set(name, ekDigest);
  }

  /** The name is free, or another machine's. */
  forget(name: string): void {
    this.#byName.delete(name);
    this.#unwritten.delete(name);
  }

  async flush(): Promise<void> {
    if (this.#unwritten.size === 0) return;
    const names = [...this.#unwritten];
    const changed = names.flatMap(([name, ekDigest]) => {
      const seen = this.#byName.get(name);
      return seen === undefined ? [] : [{ ...seen, ekDigest }];
    });
    this.#unwritten.clear();
    try {
      await this.#store.saveSeen(changed);
    } catch (error) {
      for (const [name, ekDigest] of names)
        if (this.#byName.has(name) && !this.#unwritten.has(name)) this.#unwritten.set(name, ekDigest);
      throw error;
    }
  }
}
