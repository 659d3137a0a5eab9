import { adviceOn } from '../../attest-server/wire/advice.ts';
import type { GateOpening } from '../../attest-server/wire/gate.ts';
import { isReasonCode } from '../../attest-server/wire/reasons.ts';
import type { Decision } from './decide.ts';

/** The condition that a gate waits for. */
export interface MissingCondition {
  /** A reason code, or the code of a fault. */
  readonly code: string;
  readonly text: string;
  /** Whose it is: then `assay why` says more of it. */
  readonly by: 'verdict' | 'refusal' | 'fault';
}

export interface ConsoleParts {
  readonly node: string;
  /** The file with which an operator lets it go on. */
  readonly openFile: string;
  readonly print: (line: string) => void;
}

/** The messages for a person at the machine: a few lines whenever the cause changes, and the end. */
export class GateConsole {
  readonly #parts: ConsoleParts;
  #last = '';
  #ignored = '';

  constructor(parts: ConsoleParts) {
    this.#parts = parts;
  }

  /** @param now milliseconds of the clock of `until` */
  waits(wanted: MissingCondition, { until, after }: Extract<Decision, { do: 'wait' }>, now: number): void {
    const { node, openFile } = this.#parts;
    const key = `${wanted.code} ${wanted.text} ${until} ${after}`;
    if (key === this.#last) return;
    this.#last = key;
    this.#say(`${node} waits before kubelet: ${wanted.code}: ${wanted.text}`);
    for (const step of nextSteps(wanted, node)) this.#say(`  ${step}`);
    this.#say(`  ${howLong(until, after, now)}`);
    this.#say(`  To let it start without proof, as root on this machine: echo REASON > ${openFile}`);
  }

  /** A file is where an operator's would be, and does not count. */
  ignores(why: string): void {
    if (why === this.#ignored) return;
    this.#ignored = why;
    this.#say(`what an operator left does not count: ${why}`);
  }

  ends(decision: Exclude<Decision, { do: 'wait' }>, { reason }: { readonly reason: string }): void {
    const { node } = this.#parts;
    if (decision.do === 'hold')
      this.#say(
        `${node} is held: its time is over, and kubelet does not start. To try again: systemctl start kubelet`,
      );
    else if (decision.why === 'operator')
      this.#say(`${node} goes on without proof: an operator says: ${reason || 'no reason given'}`);
    else this.#say(`${node} goes on: ${openings[decision.why]}`);
  }

  #say(line: string): void {
    this.#parts.print(`assay-gate: ${line}\n`);
  }
}

const openings: Readonly<Record<Exclude<GateOpening, 'operator'>, string>> = {
  affirmed: 'identity and boot are affirmed',
  observe: 'its group is in mode observe, in which nothing is held back',
  kept: 'no server answers, and the last one said mode observe, in which nothing is held back',
  timeout: 'its time is over, and the policy lets it start without proof then',
};

function howLong(until: number | null, after: 'hold' | 'open', now: number): string {
  if (until === null) return 'It waits without end.';
  const left = `It waits ${Math.max(1, Math.ceil((until - now) / 1000))} s more`;
  return after === 'open'
    ? `${left}, and then lets kubelet start.`
    : `${left}, and then holds kubelet for good.`;
}

/** The next steps for a person. */
function nextSteps({ code, by }: MissingCondition, node: string): readonly string[] {
  if (by === 'fault' || !isReasonCode(code)) return [];
  const steps = adviceOn(code, { node }).split('\n');
  return by === 'verdict' ? [...steps, 'The server says more:', `  assay why ${node}`] : steps;
}
