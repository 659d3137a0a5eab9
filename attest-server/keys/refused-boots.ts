import { hash } from 'node:crypto';
import type { AuditEvent } from '../formats/audit.ts';
import type { LeaseStore, RefusedBoot } from './ports.ts';

/** Refusals of one boot so far. */
interface RefusedSoFar {
  readonly resetCount: number;
  readonly marks: Set<string>;
  /** The one that is kept last. */
  last: string;
}

/**
 * How many refusals of one boot have an entry in the audit log and keep their evidence. Attack: a node that asks for two volumes
 * by turns, or shows two boot logs, so that no answer repeats the one before.
 */
const mostNews = 8;

/** Why nodes got no key: kept in the store, and of each node what its latest boot was told already. */
export class RefusedBoots {
  readonly #store: Pick<LeaseStore, 'refuse'>;
  /** By the digest of the endorsement key. */
  readonly #ofBoots = new Map<string, RefusedSoFar>();

  private constructor(store: Pick<LeaseStore, 'refuse'>) {
    this.#store = store;
  }

  static async open(store: Pick<LeaseStore, 'refuse' | 'refusals'>): Promise<RefusedBoots> {
    const refusals = new RefusedBoots(store);
    for (const refused of await store.refusals()) refusals.#note(refused);
    return refusals;
  }

  isNews(refused: Omit<RefusedBoot, 'at'>): boolean {
    const before = this.#ofBoots.get(refused.ekDigest);
    if (before?.resetCount !== refused.resetCount) return true;
    return before.marks.size < mostNews && !before.marks.has(markOf(refused));
  }

  /** Also where it is no news: the latest one is shown. @param entry null: it is none */
  async keep(refused: RefusedBoot, entry: AuditEvent | null): Promise<void> {
    const before = this.#ofBoots.get(refused.ekDigest);
    if (entry === null && before?.resetCount === refused.resetCount && before.last === markOf(refused))
      return;
    await this.#store.refuse(refused, entry);
    this.#note(refused);
  }

  /** From now on each refusal is news again. */
  released(ekDigest: string): void {
    this.#ofBoots.delete(ekDigest);
  }

  #note(refused: RefusedBoot): void {
    const { ekDigest, resetCount } = refused;
    const found = this.#ofBoots.get(ekDigest);
    const mark = markOf(refused);
    const before =
      found?.resetCount === resetCount ? found : { resetCount, marks: new Set<string>(), last: mark };
    before.last = mark;
    if (before.marks.size < mostNews) before.marks.add(mark);
    this.#ofBoots.set(ekDigest, before);
  }
}

/** Of one length: a text may be long. */
function markOf({ volume, code, text }: Omit<RefusedBoot, 'at'>): string {
  return hash('sha256', `${volume} ${code} ${text}`, 'base64');
}
