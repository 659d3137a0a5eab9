import type { Sleeper, TimerWheel } from './timer-wheel.ts';

/** Actions of a connection when one of its timers ends. */
export interface Duties {
  /** The deadline passed. */
  tooLate(text: string): void;
  challenge(): void;
  beat(): void;
}

const never = Number.POSITIVE_INFINITY;

/** The timers of one connection, in milliseconds: a deadline, the next challenge, the next ping. */
export class ConnectionTimers implements Sleeper {
  readonly #timerWheel: TimerWheel;
  readonly #now: () => number;
  readonly #pingEvery: number;
  /** Null once the connection is gone: an alarm that is still set must not keep it in memory. */
  #duties: Duties | null;
  #deadline = never;
  #missed = '';
  #challenge = never;
  #beat: number;
  /** The earliest alarm that is set. */
  #alarm = never;

  constructor(duties: Duties, timerWheel: TimerWheel, now: () => number, pingEvery: number) {
    this.#duties = duties;
    this.#timerWheel = timerWheel;
    this.#now = now;
    this.#pingEvery = pingEvery;
    this.#beat = now() + pingEvery;
    this.#set();
  }

  /** Replaces the deadline. @param missed text for the agent if it passes */
  within(limit: number, missed: string): void {
    this.#deadline = this.#now() + limit;
    this.#missed = missed;
    this.#set();
  }

  challengeAfter(time: number): void {
    this.#challenge = this.#now() + time;
    this.#set();
  }

  /** The same, unless a challenge is due before that. */
  challengeWithin(time: number): void {
    const due = this.#now() + time;
    if (due >= this.#challenge) return;
    this.#challenge = due;
    this.#set();
  }

  /** An answer came: no deadline, and no challenge until the next is asked for. */
  answered(): void {
    this.#deadline = never;
    this.#challenge = never;
  }

  end(): void {
    this.#duties = null;
  }

  wake(now: number): void {
    if (now < this.#alarm) return;
    this.#alarm = never;
    if (now >= this.#deadline) {
      this.#deadline = never;
      this.#duties?.tooLate(this.#missed);
    }
    if (now >= this.#challenge) {
      this.#challenge = never;
      this.#duties?.challenge();
    }
    if (now >= this.#beat) {
      this.#beat = now + this.#pingEvery;
      this.#duties?.beat();
    }
    if (this.#duties !== null) this.#set();
  }

  #set(): void {
    const due = Math.min(this.#deadline, this.#challenge, this.#beat);
    if (due >= this.#alarm) return;
    this.#alarm = due;
    this.#timerWheel.at(due, this);
  }
}
