import type { NodeState } from '../../attest-server/wire/verdict.ts';

/** Writes the story to the terminal; as JSON only the transitions, the commands that are shown, and the summary. */
export interface Narrator {
  /** One sentence that a newcomer understands. */
  say(sentence: string): void;
  /** A command as it was typed, and what it printed. */
  typed(command: string, output: string): void;
  transition(node: string, state: NodeState, reasons: readonly string[], sentence: string): void;
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

/** Each line begins with the seconds since the start. */
export function createNarrator(format: 'text' | 'json', out: { write(text: string): unknown }): Narrator {
  const started = performance.now();
  const seconds = () => Math.round(performance.now() - started) / 1000;
  const line = (text: string) => out.write(`${seconds().toFixed(1).padStart(6)} s  ${text}\n`);
  if (format === 'json')
    return {
      say: () => undefined,
      typed: (command) => out.write(`${JSON.stringify({ t: seconds(), command })}\n`),
      transition: (node, state, reasons) =>
        out.write(`${JSON.stringify({ t: seconds(), node, state, reasons })}\n`),
      summary: (counts, ok, leftOut) =>
        out.write(`${JSON.stringify({ summary: { ...counts, seconds: seconds() }, ok, leftOut })}\n`),
    };
  return {
    say: line,
    typed(command, output) {
      line(`$ ${command}`);
      for (const each of output.split('\n')) if (each.trim() !== '') out.write(`          ${each}\n`);
    },
    transition: (_node, _state, _reasons, sentence) => line(sentence),
    summary({ nodes, trusted, untrusted, unknown }, ok, leftOut) {
      for (const { aspect, why } of leftOut) line(`LEFT OUT: the aspect ${aspect} was not tried: ${why}`);
      const whole = leftOut.length === 0 ? 'Everything' : 'Everything else';
      line(
        `${nodes} nodes: ${trusted} trusted, ${untrusted} untrusted, ${unknown} unknown. ` +
          (ok ? `${whole} came out as it should.` : 'Something did NOT come out as it should, see above.'),
      );
    },
  };
}
