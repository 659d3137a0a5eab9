/** Claim of one source under one name. Times are milliseconds since the epoch. */
export interface NameClaim {
  readonly node: string;
  readonly firstSeen: number;
  /** Whence it first came, as far as that is known: later anybody may say its keys from elsewhere. */
  readonly source: string;
}

/** Of one name: in all, and from one source. */
const perName = 16;
const perNameAndSource = 4;
/** Of all names together. */
export const inAll = 1024;

/**
 * Claims of strangers under names, by a key that the owner chooses, in the order in which they were last made. Where
 * room is needed, whichever source takes most of it gives way, and of its claims the one whose last repetition is
 * longest ago, except the first claim of a name. A flood costs memory of a fixed size.
 */
export class ClaimTable<T extends NameClaim> {
  readonly #members = new Map<string, T>();
  readonly #dropped: (member: T, key: string) => void;

  /** @param dropped called for each that gave way */
  constructor(dropped: (member: T, key: string) => void = () => {}) {
    this.#dropped = dropped;
  }

  get(key: string): T | undefined {
    return this.#members.get(key);
  }

  values(): IterableIterator<T> {
    return this.#members.values();
  }

  entries(): IterableIterator<[string, T]> {
    return this.#members.entries();
  }

  /** As the one that was said last. */
  put(key: string, member: T): void {
    if (!this.#members.delete(key)) this.#makeRoom(member);
    this.#members.set(key, member);
  }

  /** In its place: setting a key that is there keeps the order. */
  replace(key: string, member: T): void {
    this.#members.set(key, member);
  }

  delete(key: string): boolean {
    return this.#members.delete(key);
  }

  #makeRoom({ node, source }: NameClaim): void {
    const all = [...this.#members];
    const ofName = all.filter(([, member]) => member.node === node);
    const ofSource = ofName.filter(([, member]) => member.source === source);
    if (ofSource.length >= perNameAndSource) this.#dropOf(ofSource);
    else if (ofName.length >= perName) this.#dropOf(ofName);
    else if (all.length >= inAll) this.#dropOf(all);
  }

  /** @param table in the order in which they were last said */
  #dropOf(table: readonly (readonly [string, T])[]): void {
    const first = new Map<string, NameClaim>();
    for (const member of this.#members.values()) {
      const known = first.get(member.node);
      if (known === undefined || member.firstSeen < known.firstSeen) first.set(member.node, member);
    }
    const isFirst = ([, member]: readonly [string, T]) => first.get(member.node) === member;
    const [most = []] = heaviest(table).sort((a, b) => Number(a.every(isFirst)) - Number(b.every(isFirst)));
    const [key, member] = most.find((each) => !isFirst(each)) ?? most[0] ?? [];
    if (key === undefined || member === undefined) return;
    this.#members.delete(key);
    this.#dropped(member, key);
  }
}

/** By source, those of it: of each source that has most. */
function heaviest<E extends readonly [string, NameClaim]>(table: readonly E[]): (readonly E[])[] {
  const bySource = [...Map.groupBy(table, ([, { source }]) => source).values()];
  const most = Math.max(...bySource.map(({ length }) => length));
  return bySource.filter(({ length }) => length === most);
}
