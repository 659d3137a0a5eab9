import { ImageQueue } from '../../../../attest-server/attest/supplements/image-queue.ts';

const [second, minute, mib] = [1_000, 60_000, 1024 * 1024];
/** Milliseconds for which a part of an image is held, and how many are. */
const heldFor = 5 * minute;
const atOnce = 2;
const step = 5 * second;

export interface UploadSiege {
  readonly attackers: number;
  /** Of one boot. */
  readonly imagesOfEach: number;
  /** Bytes a second that an attacker sends of an image without end; from the rank that it has by now, where it keeps to the rules. */
  readonly attack: (turnsGivenUp: number) => number;
  /** Others that come together with the one that is watched, all with images of 60 MiB. */
  readonly fleet: readonly { readonly rate: number }[];
  /** Bytes a second of the one that is watched. */
  readonly rate: number;
  /** Milliseconds after the attackers at which it comes; default: at once. */
  readonly comesAfter?: number;
}

interface Node {
  readonly name: string;
  readonly images: readonly string[];
  readonly rateOf: () => number;
  readonly size: number;
  turns: number;
}

/**
 * Plays it on the queue without waiting: the attackers wait first, the one that is watched behind them all.
 * @returns milliseconds until its image is there; null where it is not within `within`
 */
export function waitOf(
  { attackers, imagesOfEach, attack, fleet, rate, comesAfter = 0 }: UploadSiege,
  within: number,
): number | null {
  let now = 0;
  const queue = new ImageQueue({
    atOnce,
    patience: 1e9,
    aliveFor: 3 * minute,
    monotonic: () => now,
    called() {},
  });
  const nodes = new Map<string, Node>();
  const join = (name: string, images: number, rateOf: (node: Node) => number, size = 60 * mib) => {
    const node: Node = {
      name,
      images: Array.from({ length: images }, (_, which) => `${name}-image-${which}`),
      rateOf: () => rateOf(node),
      size,
      turns: 0,
    };
    nodes.set(name, node);
  };
  for (let count = 0; count < attackers; count++)
    join(`attacker-${count}`, imagesOfEach, ({ turns }) => attack(turns), Number.POSITIVE_INFINITY);
  for (const [count, each] of fleet.entries()) join(`other-${count}`, 1, () => each.rate);
  const waits = () => {
    for (const { name, images } of nodes.values()) queue.waits(name, images);
  };
  const partials = new Map<string, { bytes: number; at: number }>();
  let sending = new Set<string>();
  try {
    for (; now <= comesAfter + within; now += step) {
      if (now === comesAfter) {
        join('watched', 1, () => rate);
        waits();
      }
      if (now % minute === 0) waits();
      const before = sending;
      sending = new Set();
      for (const node of [...nodes.values()]) {
        const digest = queue.turnOf(node.name);
        if (digest === null) continue;
        sending.add(digest);
        if (!before.has(digest)) node.turns += 1;
        for (const [other, { at }] of partials) if (now - at > heldFor) partials.delete(other);
        const others = [...partials.keys()];
        const partial = partials.get(digest) ?? { bytes: 0, at: now };
        if (!partials.has(digest))
          for (const other of [
            ...others.filter((each) => !queue.isSent(each)),
            ...others.filter((each) => queue.isSent(each)),
          ])
            if (partials.size >= atOnce) partials.delete(other);
        partials.set(digest, partial);
        const bytes = (node.rateOf() * step) / second;
        partial.bytes += bytes;
        partial.at = now;
        if (partial.bytes < node.size) {
          queue.moved(digest, bytes);
          continue;
        }
        if (node.name === 'watched') return now - comesAfter;
        partials.delete(digest);
        queue.done(digest);
        queue.waits(node.name, []);
        nodes.delete(node.name);
      }
    }
    return null;
  } finally {
    queue.close();
  }
}
