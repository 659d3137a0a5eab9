import { setImmediate } from 'node:timers/promises';
import type { LimitFunction } from 'p-limit';
import type { AuditEvent } from '../formats/audit.ts';
import type { LeaseStore, StoredVolume, WrapContext, WrappedSecret, WrappingKeys } from './ports.ts';

interface RewrappingParts {
  readonly store: LeaseStore;
  readonly wrapping: WrappingKeys | null;
  /** One at a time of all that wraps: what was wrapped by an earlier key is in the store before it is looked for. */
  readonly inTurn: LimitFunction;
  /** Milliseconds since the epoch. */
  now(): number;
  readonly report: {
    rewrapped(volumes: number): void;
    fault(error: unknown, where: string): void;
  };
}

/** How many volumes are wrapped again at a time. */
const step = 256;

/** Wraps by the newest wrapping key what an earlier one holds, in steps: whatever stops it, the next start goes on. */
export class Rewrapping {
  readonly #parts: RewrappingParts;
  readonly #ending = new AbortController();

  constructor(parts: RewrappingParts) {
    this.#parts = parts;
    void parts
      .inTurn(() => this.#run())
      .catch((error: unknown) => parts.report.fault(error, 'wrapping keys'));
  }

  async end(): Promise<void> {
    this.#ending.abort();
    await this.#parts.inTurn(() => {});
  }

  /**
   * Reads the file of the wrapping keys again, and wraps by the newest one.
   * @returns how many volumes
   * @throws Error if the file has a fault, or lacks a key that a volume needs: then the keys stay as they are
   */
  again(): Promise<number> {
    const { store, wrapping, inTurn } = this.#parts;
    return inTurn(async () => {
      wrapping?.reread([...(await store.wrappedBy()).keys()]);
      return this.#run();
    });
  }

  async #run(): Promise<number> {
    const { store, wrapping, report, now } = this.#parts;
    let volumes = 0;
    for (let after = '', missed = 0; wrapping !== null && !this.#ending.signal.aborted; ) {
      const earlier = await store.wrappedByOthers(wrapping.current, after, step);
      const changed = await store.rewrap(
        earlier.map((read) => ({ read, by: rewrapped(read, wrapping) })),
        (count) => rewrapEvent(count, now()),
      );
      volumes += changed;
      missed += earlier.length - changed;
      after = earlier.at(-1)?.uuid ?? '';
      // Whoever waits for a key meanwhile comes between.
      await setImmediate();
      if (earlier.length === step) continue;
      if (missed === 0) break;
      // They were changed meanwhile, as by their nodes.
      [after, missed] = ['', 0];
    }
    if (volumes > 0) report.rewrapped(volumes);
    return volumes;
  }
}

function rewrapEvent(volumes: number, at: number): AuditEvent {
  return { at, actor: 'server', action: 'key.rewrap', subject: 'keys', code: null, detail: { volumes } };
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
