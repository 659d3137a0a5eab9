import { adviceOn } from '../../attest-server/wire/advice.ts';
import { isReasonCode } from '../../attest-server/wire/reasons.ts';

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
    const steps = isReasonCode(code) ? adviceOn(code, { node: this.#node }).split('\n') : [];
    this.#waits(`${code}: the server gives no key to this boot`, steps);
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
    for (const step of steps) this.#say(`  ${step}`);
  }

  #say(line: string): void {
    this.#print(`assay-unlock: ${line}\n`);
  }
}
