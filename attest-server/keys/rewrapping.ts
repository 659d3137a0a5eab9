import type { LeaseStore, StoredVolume, WrapContext, WrappedSecret, WrappingKeys } from './ports.ts';

interface RewrappingParts {
  readonly store: LeaseStore;
  readonly wrapping: WrappingKeys | null;
  readonly report: {
    rewrapped(volumes: number): void;
    fault(error: unknown, where: string): void;
  };
}

/** How many volumes are wrapped again at a time. */
const step = 64;

/** Wraps by the newest wrapping key what an earlier one holds, in steps: whatever stops it, the next start goes on. */
export class Rewrapping {
  readonly #parts: RewrappingParts;
  readonly #ending = new AbortController();
  readonly #done: Promise<void>;

  constructor(parts: RewrappingParts) {
    this.#parts = parts;
    this.#done = this.#run().catch((error: unknown) => parts.report.fault(error, 'wrapping keys'));
  }

  async end(): Promise<void> {
    this.#ending.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { store, wrapping, report } = this.#parts;
    if (wrapping === null) return;
    for (let volumes = 0; !this.#ending.signal.aborted; ) {
      const earlier = await store.wrappedByOthers(wrapping.current, step);
      const before = volumes;
      for (const volume of earlier) if (await store.rewrap(volume, rewrapped(volume, wrapping))) volumes += 1;
      // Nothing moved: what is left was changed meanwhile, and has the newest key.
      if (earlier.length < step || volumes === before) {
        if (volumes > 0) report.rewrapped(volumes);
        return;
      }
    }
  }
}

function rewrapped({ node, ekDigest, uuid, key, nextKey, recovery }: StoredVolume, wrapping: WrappingKeys) {
  const again = (secret: WrappedSecret, purpose: WrapContext['purpose']): WrappedSecret => {
    const context = { purpose, node, ekDigest, volume: uuid };
    const plain = wrapping.unwrap(secret, context);
    try {
      return wrapping.wrap(plain, context);
    } finally {
      plain.fill(0);
    }
  };
  return {
    key: again(key, 'volume'),
    nextKey: nextKey && again(nextKey, 'volume'),
    recovery: recovery && again(recovery, 'recovery'),
  };
}
