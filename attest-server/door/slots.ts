import { type HitBound, inAll, type SourceBounds } from './bounds.ts';

/** Slot of one connection, from its first byte until it has proven itself, is refused or is gone. */
export interface AdmissionSlot {
  /** It sent more. */
  grow(bytes: number): void;
  /** It asked for something: of its source it is the youngest again. */
  touch(): void;
  /** It said hello with enrolled keys: from now on it is counted among those who claim this node. */
  claim(node: string): void;
  /** It is refused: its slot is free, and what it sent counts until it leaves. */
  free(): void;
  leave(): void;
}

interface TakenSlot {
  readonly source: SourceSlots;
  readonly evict: (bound: HitBound) => void;
  /** The set that its slot is in; null once it is free. */
  within: Set<TakenSlot> | null;
  /** Which node it claims; null for a stranger. */
  node: string | null;
  bytes: number;
  isGone: boolean;
}

interface SourceSlots {
  readonly name: string;
  /** The one that was silent for longest comes first. */
  readonly strangers: Set<TakenSlot>;
  readonly claimants: Map<string, Set<TakenSlot>>;
  /** Those whose bytes still count. */
  readonly senders: Set<TakenSlot>;
  claimed: number;
  bytes: number;
}

/**
 * The slots of one port's unproven connections, and the bytes that they sent. There is one rule: where room is lacking,
 * the heaviest gives way. Among sources that is the one that has most; within a source, the stranger who was silent for
 * longest gives up its slot, and among claimants the oldest of the node that is claimed most; of the bytes the stranger
 * that sent most, and only where strangers sent nothing the oldest of the node that is claimed with most.
 */
export class Slots {
  readonly #of: SourceBounds;
  /** Bytes of all sources: no fewer than one may send. */
  readonly #most: number;
  readonly #sources = new Map<string, SourceSlots>();
  #strangers = 0;
  #claimants = 0;
  #bytes = 0;
  /** Those that still have a socket. */
  #held = 0;

  constructor(of: SourceBounds) {
    this.#of = of;
    this.#most = Math.max(inAll.unprovenBytes, of.unprovenBytes);
  }

  /** As they count in all. */
  get bytes(): number {
    return this.#bytes + Math.min(this.#held * inAll.connectionBytes, this.#most / 2);
  }
  get strangers(): number {
    return this.#strangers;
  }
  get claimants(): number {
    return this.#claimants;
  }

  /** @param evict ends the connection at once; called with the bound that it hit */
  take(name: string, evict: (bound: HitBound) => void): AdmissionSlot {
    const source = this.#source(name);
    const held: TakenSlot = { source, evict, within: source.strangers, node: null, bytes: 0, isGone: false };
    if (source.strangers.size >= this.#of.connections) this.#evict(first(source.strangers), 'places');
    else if (this.#strangers >= inAll.connections) {
      const heaviest = this.#heaviest(source, ({ strangers }) => strangers.size);
      this.#evict(first(heaviest.strangers), 'places_in_all');
    }
    this.#sources.set(name, source);
    source.strangers.add(held);
    this.#strangers += 1;
    this.#held += 1;
    return {
      touch: () => touch(held),
      grow: (bytes) => this.#grow(held, bytes),
      claim: (node) => this.#claim(held, node),
      free: () => this.#free(held),
      leave: () => this.#leave(held),
    };
  }

  #claim(held: TakenSlot, node: string): void {
    const { source } = held;
    if (held.node !== null || held.within === null) return;
    const { perSource, total } = inAll.claimants;
    if (source.claimed >= perSource) this.#evict(oldestClaimant(source), 'places');
    else if (this.#claimants >= total)
      this.#evict(oldestClaimant(this.#heaviest(source, ({ claimed }) => claimed)), 'places_in_all');
    source.strangers.delete(held);
    this.#strangers -= 1;
    const others = source.claimants.get(node) ?? new Set();
    source.claimants.set(node, others.add(held));
    source.claimed += 1;
    this.#claimants += 1;
    held.within = others;
    held.node = node;
  }

  #grow(held: TakenSlot, bytes: number): void {
    const { source } = held;
    if (held.isGone) return;
    const counted = bytes + inAll.pieceBytes;
    held.bytes += counted;
    source.bytes += counted;
    this.#bytes += counted;
    source.senders.add(held);
    while (source.bytes > this.#of.unprovenBytes) this.#evict(heaviestSender(source), 'bytes');
    // Where nobody sent anything, the number of slots is the bound.
    while (this.bytes > this.#most && this.#bytes > 0)
      this.#evict(heaviestSender(this.#heaviest(source, (each) => each.bytes)), 'bytes_in_all');
  }

  #evict(held: TakenSlot | undefined, bound: HitBound): void {
    if (held === undefined) return;
    this.#leave(held);
    held.evict(bound);
  }

  #leave(held: TakenSlot): void {
    const { source } = held;
    if (held.isGone) return;
    this.#held -= 1;
    this.#free(held);
    source.senders.delete(held);
    source.bytes -= held.bytes;
    this.#bytes -= held.bytes;
    held.bytes = 0;
    held.isGone = true;
    if (source.strangers.size + source.claimed + source.senders.size === 0) this.#sources.delete(source.name);
  }

  #free(held: TakenSlot): void {
    const { source, within, node } = held;
    if (within === null) return;
    held.within = null;
    within.delete(held);
    if (node === null) {
      this.#strangers -= 1;
      return;
    }
    source.claimed -= 1;
    this.#claimants -= 1;
    if (within.size === 0) source.claimants.delete(node);
  }

  #source(name: string): SourceSlots {
    return (
      this.#sources.get(name) ?? {
        name,
        strangers: new Set(),
        claimants: new Map(),
        senders: new Set(),
        claimed: 0,
        bytes: 0,
      }
    );
  }

  /** The newcomer's own source, unless another one has more. */
  #heaviest(own: SourceSlots, weigh: (source: SourceSlots) => number): SourceSlots {
    return heaviestOf(this.#sources.values(), weigh, own);
  }
}

function touch(held: TakenSlot): void {
  if (held.within?.delete(held)) held.within.add(held);
}

function heaviestOf<T>(all: Iterable<T>, weigh: (each: T) => number, start: T): T {
  let [heaviest, most] = [start, weigh(start)];
  for (const each of all) {
    const weight = weigh(each);
    if (weight > most) [heaviest, most] = [each, weight];
  }
  return heaviest;
}

function oldestClaimant({ claimants }: SourceSlots): TakenSlot | undefined {
  const start = first(claimants.values());
  return start && first(heaviestOf(claimants.values(), ({ size }) => size, start));
}

/**
 * Strangers may send little, so that many of them are heavier than the node whose log comes: they go first, the heaviest of
 * them. Anybody can claim a node by its public keys and send a little less than it does: of these it counts which node is
 * claimed with most, and there the oldest goes.
 */
function heaviestSender({ senders }: SourceSlots): TakenSlot | undefined {
  let heaviest: TakenSlot | undefined;
  const byNode = new Map<string, { readonly oldest: TakenSlot; bytes: number }>();
  for (const held of senders) {
    const { node, bytes } = held;
    if (node === null) {
      if (bytes > (heaviest?.bytes ?? 0)) heaviest = held;
      continue;
    }
    const claimed = byNode.get(node);
    if (claimed === undefined) byNode.set(node, { oldest: held, bytes });
    else claimed.bytes += bytes;
  }
  const start = first(byNode.values());
  return heaviest ?? (start && heaviestOf(byNode.values(), ({ bytes }) => bytes, start).oldest);
}

function first<T>(all: Iterable<T>): T | undefined {
  for (const each of all) return each;
  return undefined;
}
