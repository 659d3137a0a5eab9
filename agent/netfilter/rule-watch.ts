import { setTimeout as sleep } from 'node:timers/promises';
import { backOff } from '../back-off.ts';
import type { Logger } from '../logger.ts';
import { runMonitor } from './monitor.ts';
import { NetfilterFault } from './netfilter-fault.ts';
import type { BaseChains } from './nft-ruleset.ts';
import type { FirewallListing } from './read-rules.ts';
import { concernsCompared } from './rule-event.ts';
import { RuleReader } from './rule-reader.ts';
import { legacyTables, type Netns } from './tools.ts';

export interface RuleWatchOptions extends Netns {
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** Called if the compared rules changed, cannot be read any more, or can again: with them, or the fault's code. */
  readonly onMoved: (state: RuleState) => void;
  /** Milliseconds between two readings that events start; default 5,000. */
  readonly everyMs?: number;
  /** Milliseconds after which a legacy table, which has no events, is read again; default 15,000. */
  readonly legacyEveryMs?: number;
}

/** The rules that are compared (`FirewallListing`), or why there are none. */
type RuleState = Buffer | NetfilterFault['code'];

/** The commands of one script, or the events of one transaction, start one reading. */
const gatherMs = 50;
/** A monitor that ran this long was not at fault. */
const healthyMs = 60_000;
/** The wait after a fault that no waiting fixes. */
const hopelessMs = 300_000;

/** Listens to the kernel's events from when it is made until it is disposed of. */
export class RuleWatch implements AsyncDisposable {
  readonly #options: RuleWatchOptions;
  readonly #reader: RuleReader;
  readonly #stop = new AbortController();
  readonly #monitoring: Promise<void>;
  readonly #legacyTimer: NodeJS.Timeout;
  #state: RuleState | null = null;
  #baseChains: BaseChains = new Map();
  #hasLegacy = false;
  #timer: NodeJS.Timeout | undefined;
  #lastAt = -Infinity;
  #told = '';
  #lost = 0;
  #ignored = 0;

  constructor(options: RuleWatchOptions) {
    this.#options = options;
    this.#reader = new RuleReader(options, (outcome) => this.#observe(outcome));
    this.#monitoring = this.#monitor();
    this.#legacyTimer = setInterval(() => void this.#lookAtLegacy(), options.legacyEveryMs ?? 15_000);
    this.#legacyTimer.unref();
  }

  /** The latest reading of what is compared: its bytes, or a fault's code; null before the first one. */
  get state(): RuleState | null {
    return this.#state;
  }

  /** Readings, monitors that were lost, and events that named nothing that is compared. */
  get counts(): { readonly readings: number; readonly lost: number; readonly ignored: number } {
    return { readings: this.#reader.readings, lost: this.#lost, ignored: this.#ignored };
  }

  /** @throws NetfilterFault */
  read(): Promise<FirewallListing> {
    return this.#reader.read(this.#stop.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    clearInterval(this.#legacyTimer);
    await this.#monitoring;
  }

  #observe(outcome: FirewallListing | NetfilterFault): void {
    if (this.#stop.signal.aborted) return;
    const state = outcome instanceof NetfilterFault ? outcome.code : outcome.compared;
    if (!(outcome instanceof NetfilterFault)) {
      this.#baseChains = outcome.baseChains;
      this.#hasLegacy = outcome.hasLegacy;
    }
    const before = this.#state;
    this.#state = state;
    if (before !== null && before !== state) this.#options.onMoved(state);
  }

  /** Reads for an event, now or when it is time again. */
  #readSoon(): void {
    if (this.#timer !== undefined || this.#stop.signal.aborted) return;
    const { everyMs = 5_000 } = this.#options;
    const wait = Math.max(gatherMs, this.#lastAt + everyMs - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lastAt = performance.now();
      this.#readNow();
    }, wait);
  }

  #readNow(): void {
    this.read().catch((fault: unknown) => this.#tell(fault, 'the rules of the firewall could not be read'));
  }

  async #monitor(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; failures++) {
      const startedAt = performance.now();
      const fault = await runMonitor(
        this.#options,
        {
          ready: () => this.#readNow(),
          line: (text) => {
            if (concernsCompared(text, this.#baseChains)) this.#readSoon();
            else this.#ignored++;
          },
        },
        signal,
      );
      if (fault === null) return;
      this.#lost++;
      this.#tell(fault, 'nft monitor was lost: changes are seen by the next challenge until it runs again');
      const isHopeless = fault.code === 'missing_program' || fault.code === 'not_permitted';
      if (performance.now() - startedAt > healthyMs) failures = 0;
      const wait = isHopeless ? hopelessMs : backOff(failures, Math.random);
      await sleep(wait, undefined, { signal }).catch(() => undefined);
    }
  }

  /** iptables' own tables tell nobody when they change. Which there are is read without a process. */
  async #lookAtLegacy(): Promise<void> {
    try {
      const { signal } = this.#stop;
      const names = [
        ...(await legacyTables(this.#options, 'ip', signal)),
        ...(await legacyTables(this.#options, 'ip6', signal)),
      ];
      if (names.length > 0 || this.#hasLegacy) await this.read();
    } catch (fault) {
      this.#tell(fault, 'the tables of iptables-legacy could not be read');
    }
  }

  /** Each fault once, until another one. */
  #tell(fault: unknown, text: string): void {
    if (this.#stop.signal.aborted) return;
    const code = fault instanceof NetfilterFault ? fault.code : 'failed';
    const cause = fault instanceof Error ? fault.message : String(fault);
    if (this.#told === `${text} ${code}`) return;
    this.#told = `${text} ${code}`;
    this.#options.logger.warn({ code, cause, ...this.counts }, text);
  }
}
