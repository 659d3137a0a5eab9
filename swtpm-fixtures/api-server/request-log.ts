import type { Write } from './object-verbs.ts';

/** Which requests are meant; what is left out is any. */
export interface RequestFilter {
  readonly user?: string;
  readonly verb?: string;
  readonly resource?: string;
  readonly code?: number;
}

interface Counted {
  readonly user: string;
  readonly verb: string;
  readonly resource: string;
  readonly code: number;
  count: number;
}

const mostWrites = 50_000;

/** Requests counted by user, verb, resource and code, and the latest writes with what they changed. */
export class RequestLog {
  readonly #counts = new Map<string, Counted>();
  #writes: Write[] = [];

  count(user: string, verb: string, resource: string, code: number): void {
    const key = JSON.stringify([user, verb, resource, code]);
    const counted = this.#counts.get(key);
    if (counted === undefined) this.#counts.set(key, { user, verb, resource, code, count: 1 });
    else counted.count += 1;
  }

  note(write: Write): void {
    this.#writes.push(write);
    if (this.#writes.length > 2 * mostWrites) this.#writes = this.#writes.slice(-mostWrites);
  }

  requests(filter: RequestFilter = {}): number {
    let sum = 0;
    for (const { count, ...counted } of this.#counts.values()) {
      const { user, verb, resource, code } = { ...counted, ...filter };
      const isMeant =
        user === counted.user &&
        verb === counted.verb &&
        resource === counted.resource &&
        code === counted.code;
      if (isMeant) sum += count;
    }
    return sum;
  }

  /** Oldest first; at least the latest 50,000. */
  writes(filter: Omit<RequestFilter, 'code'> = {}): readonly Write[] {
    return this.#writes.filter((write) => {
      const { user, verb, resource } = { ...write, ...filter };
      return user === write.user && verb === write.verb && resource === write.resource;
    });
  }

  clear(): void {
    this.#counts.clear();
    this.#writes = [];
  }
}
