import type { NodeState } from '../../attest-server/wire/verdict.ts';
import type { LiveTable } from './live-table.ts';
import { createWaits } from './waits.ts';

/** Writes the story to the terminal; as JSON only the transitions, the commands that are shown, and the summary. */
export interface Narrator {
  /** One sentence that a newcomer understands. */
  say(sentence: string): void;
  /** A command as it was typed, and what it printed. */
  typed(command: string, output: string): void;
  transition(node: string, state: NodeState, reasons: readonly string[], sentence: string): void;
  /** A wait begins, which ends with this: a long one is spoken of. @param longest milliseconds */
  waiting(what: string, longest: number): Disposable;
  /** Somebody typed a line at the terminal. */
  heard(): void;
  /** How it ended, and what could not be part of it. */
  summary(counts: Summary, ok: boolean, leftOut: readonly LeftOut[]): void;
}

/** A part of the story that this computer cannot have. */
export interface LeftOut {
  readonly aspect: 'firewall';
  readonly why: string;
}

export interface Summary {
  readonly nodes: number;
  readonly trusted: number;
  readonly untrusted: number;
  readonly unknown: number;
}

/** Each line begins with the seconds since the start. @param table below the lines; null where there is no terminal for it */
export function createNarrator(
  format: 'text' | 'json',
  out: { write(text: string): unknown },
  table: LiveTable | null = null,
): Narrator {
  const started = performance.now();
  const seconds = () => Math.round(performance.now() - started) / 1000;
  if (format === 'json')
    return {
      say: () => undefined,
      typed: (command) => out.write(`${JSON.stringify({ t: seconds(), command })}\n`),
      transition: (node, state, reasons) =>
        out.write(`${JSON.stringify({ t: seconds(), node, state, reasons })}\n`),
      waiting: () => ({ [Symbol.dispose]: () => undefined }),
      heard: () => undefined,
      summary: (counts, ok, leftOut) =>
        out.write(`${JSON.stringify({ summary: { ...counts, seconds: seconds() }, ok, leftOut })}\n`),
    };
  const line = (text: string, below: readonly string[] = []) => {
    waits.spoke();
    const lines = [`${seconds().toFixed(1).padStart(6)} s  ${text}`, ...below];
    (table ?? out).write(lines.map((each) => `${each}\n`).join(''));
  };
  const waits = createWaits(line);
  return {
    say: (sentence) => line(sentence),
    typed(command, output) {
      const printed = output.split('\n').filter((each) => each.trim() !== '');
      line(
        `$ ${command}`,
        printed.map((each) => `          ${each}`),
      );
    },
    transition(node, state, reasons, sentence) {
      table?.set(node, state, reasons[0]);
      line(sentence);
    },
    waiting: waits.begin,
    heard: () => table?.leave(),
    summary({ nodes, trusted, untrusted, unknown }, ok, leftOut) {
      for (const { aspect, why } of leftOut) line(`LEFT OUT: the aspect ${aspect} was not tried: ${why}`);
      const whole = leftOut.length === 0 ? 'Everything' : 'Everything else';
      line(
        `${nodes === 1 ? '1 node' : `${nodes} nodes`}: ${trusted} trusted, ${untrusted} untrusted, ${unknown} unknown. ` +
          (ok ? `${whole} came out as it should.` : 'Something did NOT come out as it should, see above.'),
      );
    },
  };
}
