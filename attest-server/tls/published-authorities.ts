import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';

/** Where agents of the cluster get the authorities of the server: a ConfigMap that is mounted into each of them. */
export interface AuthorityKeeper {
  /** `NAMESPACE/NAME`. */
  readonly place: string;
  /** Null if there is none. */
  read(): Promise<Readonly<Record<string, string>> | null>;
  /** Sets these keys of it, and never makes it. */
  write(data: Readonly<Record<string, string>>): Promise<void>;
}

export interface PublishedAuthoritiesParts {
  readonly keeper: AuthorityKeeper;
  /** PEM of all that agents are to trust at present. */
  readonly wanted: () => string;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

/** The ConfigMap's key: agents name the file of it as `caFile`. */
const authorityKey = 'ca.crt';

/** Milliseconds from one look to the next: what somebody changed there is put back after it at the latest. */
const lookEvery = 60_000;
/** The same after a look that failed. Agents of a new cluster wait for what is written here. */
const againAfter = 10_000;

/** Keeps the authorities of the server where its agents get them, whatever anybody makes of that place. */
export class PublishedAuthorities {
  readonly #parts: PublishedAuthoritiesParts;
  /** Content that this server last saw or put there. */
  #own: string | null = null;
  /** Monotonic milliseconds. */
  #lookAt = Number.NEGATIVE_INFINITY;
  #fault: string | null = null;
  #working: Promise<void> | null = null;

  constructor(parts: PublishedAuthoritiesParts) {
    this.#parts = parts;
  }

  /** Why agents may not get them at present; null if they do. */
  get fault(): string | null {
    return this.#fault;
  }

  /** Looks what is there, as far as it is time, and writes what is to be there. Never rejects. */
  turn(): Promise<void> {
    this.#working ??= this.#turn().finally(() => {
      this.#working = null;
    });
    return this.#working;
  }

  /** Waits for work under way, which may take as long as the API of the cluster does. */
  async close(within = 2000): Promise<void> {
    await Promise.race([this.#working, delay(within, undefined, { ref: false })]);
  }

  async #turn(): Promise<void> {
    const { wanted, monotonic, keeper, logger } = this.#parts;
    const pem = wanted();
    if (monotonic() < this.#lookAt && (this.#own === pem || this.#fault !== null)) return;
    this.#lookAt = monotonic() + againAfter;
    try {
      const found = (await keeper.read())?.[authorityKey] ?? '';
      if (found !== pem) {
        // Before the write: whoever looks why it failed sees what was there.
        this.#say(found, pem);
        await keeper.write({ [authorityKey]: pem });
        logger.info({ code: 'authorities_published', configMap: keeper.place }, 'agents get the authorities');
      }
      this.#own = pem;
      this.#lookAt = monotonic() + lookEvery;
      this.#fault = null;
    } catch (error) {
      const text = `agents may not get the authorities of the server from the ConfigMap ${keeper.place}: ${error instanceof Error ? error.message : String(error)}`;
      if (this.#fault === null) logger.warn({ code: 'authorities_not_published', err: error }, text);
      this.#fault = text;
    }
  }

  /** Others than ours were trusted by each agent that connected meanwhile. */
  #say(found: string, pem: string): void {
    const { keeper, logger } = this.#parts;
    // Of the time before one was announced, or before the earlier one was retired.
    if (pem.includes(found) || found === this.#own || this.#fault !== null) return;
    logger.warn(
      { code: 'authorities_replaced', configMap: keeper.place },
      `the ConfigMap ${keeper.place} held other authorities than those of the server, and agents trusted them: somebody wrote there, or the server has lost its state folder`,
    );
  }
}
