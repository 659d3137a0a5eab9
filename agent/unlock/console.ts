import { adviceOn } from '../../attest-server/wire/advice.ts';
import { isReasonCode } from '../../attest-server/wire/reasons.ts';

const givesNone = 'the server gives no key to this boot';

/** The messages for a person at the machine: a few lines whenever the cause changes, and the end. */
export class UnlockConsole {
  readonly #node: string;
  readonly #volume: string;
  readonly #print: (line: string) => void;
  #last = '';

  constructor(node: string, volume: string, print: (line: string) => void) {
    this.#node = node;
    this.#volume = volume;
    this.#print = print;
  }

  fails({ code, text }: { readonly code: string; readonly text: string }): void {
    this.#waits(`${code}: ${text}`, []);
  }

  refused(code: string): void {
    this.#waits(`${code}: ${givesNone}`, this.#stepsFor(code));
  }

  /** No waiting heals it. */
  refusedForGood(code: string): void {
    this.gaveUp(`${code}: ${givesNone}`);
    this.#saySteps(this.#stepsFor(code));
  }

  opened(): void {
    this.#say(`${this.#node} got the key of volume ${this.#volume}`);
  }

  gaveUp(why: string): void {
    this.#say(`${this.#node} got no key of volume ${this.#volume}: ${why}. The recovery passphrase opens it`);
  }

  #waits(cause: string, steps: readonly string[]): void {
    if (cause === this.#last) return;
    this.#last = cause;
    this.#say(`${this.#node} waits for the key of volume ${this.#volume}: ${cause}`);
    this.#saySteps(steps);
  }

  #stepsFor(code: string): readonly string[] {
    return isReasonCode(code) ? adviceOn(code, { node: this.#node }).split('\n') : [];
  }

  #saySteps(steps: readonly string[]): void {
    for (const step of steps) this.#say(`  ${step}`);
  }

  #say(line: string): void {
    this.#print(`assay-unlock: ${line}\n`);
  }
}
