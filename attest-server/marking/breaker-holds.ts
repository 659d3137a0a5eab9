import { type Breaker, keyOf } from './breaker.ts';
import type { Clock, Decisions } from './ports.ts';
import type { MarkingReport } from './report.ts';

export interface BreakerHoldsParts extends Pick<Clock, 'now' | 'monotonic'> {
  readonly breaker: Breaker;
  readonly decisions: Pick<Decisions, 'holds' | 'hold' | 'end'>;
  readonly report: Pick<MarkingReport, 'opened' | 'fault'>;
}

const openEvery = 1000;

/** Has the holds of the breaker kept: what opened, so that people learn of it and decide, and what ended. */
export class BreakerHolds {
  readonly #parts: BreakerHoldsParts;
  #openedAt = Number.NEGATIVE_INFINITY;
  readonly #opening = new Set<string>();

  constructor(parts: BreakerHoldsParts) {
    this.#parts = parts;
  }

  /** The breaker learns what was decided. */
  decided(): void {
    const { breaker, decisions, monotonic } = this.#parts;
    breaker.decide(decisions.holds(), monotonic());
  }

  resync(at: number): void {
    const { breaker, decisions } = this.#parts;
    this.#open(at);
    const ended = breaker.ended(at);
    if (ended.length > 0) this.#keep(decisions.end(ended));
  }

  /** At once, and then what there is once a second: thousands of values cost little more than one. */
  open(at: number): void {
    if (at >= this.#openedAt + openEvery) this.#open(at);
  }

  #open(at: number): void {
    const { breaker, decisions, report, now } = this.#parts;
    const opened = breaker.opened(at).filter((held) => !this.#opening.has(keyOf(held)));
    if (opened.length === 0) return;
    this.#openedAt = at;
    for (const held of opened) this.#opening.add(keyOf(held));
    const failing = new Map(breaker.failing(at).map((one) => [keyOf(one), one]));
    const open = { at: now(), decision: 'open', by: null, reason: null } as const;
    const kept = decisions
      .hold(...opened.map((held) => ({ ...held, ...open })))
      .then(() => {
        breaker.decide(decisions.holds(), at);
        for (const held of opened) {
          const { waiting = 0, isOurs = false } = failing.get(keyOf(held)) ?? {};
          report.opened(held, waiting, isOurs);
        }
      })
      .finally(() => {
        for (const held of opened) this.#opening.delete(keyOf(held));
      });
    this.#keep(kept);
  }

  #keep(work: Promise<void>): void {
    work.then(
      () => this.decided(),
      (error: unknown) => this.#parts.report.fault(error, 'hold of the breaker'),
    );
  }
}
