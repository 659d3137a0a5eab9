import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import type { Coverage, Reached } from './coverage.ts';

export interface ReachedOfSource {
  readonly source: string;
  readonly functions: Reached;
  /** What V8 counts apart from what is around it: a side of an `if`, a loop, what follows a `return`. */
  readonly branches: Reached;
  /** Lines that hold more than a comment or a type. */
  readonly lines: Reached;
}

export function reachedOf(
  coverage: Coverage,
  root: string,
  sources: readonly string[],
): readonly ReachedOfSource[] {
  return sources.map((source) => {
    const { functions, branches, ran } = coverage.of(source);
    return { source, functions, branches, lines: linesOf(readFileSync(join(root, source), 'utf8'), ran) };
  });
}

function linesOf(text: string, ran: Uint8Array): Reached {
  let [reached, of, from] = [0, 0, 0];
  // As Node ran it: blanks where types were, so that each character stands where it stood.
  for (const line of stripTypeScriptTypes(text).split('\n')) {
    const code = line.search(/\S/);
    const isCode = code >= 0 && !/^(?:\/\/|\/?\*|[\])};,]+$|import )/.test(line.slice(code));
    if (isCode) of++;
    if (isCode && ran[from + code] === 1) reached++;
    from += line.length + 1;
  }
  return { reached, of };
}
