import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

const page = readFileSync(join(import.meta.dirname, '../../docs/adopting.md'), 'utf8');

/** A line that a person types, and what is answered where it asks. */
export interface Typed {
  readonly line: string;
  readonly answer: string | null;
}

/** The lines of one section, in their order. */
export function typedIn(heading: string): readonly Typed[] {
  const section = page.split(/\n(?=## )/).find((text) => text.startsWith(`## ${heading}\n`));
  if (section === undefined) throw new Error(`docs/adopting.md has no section ${heading}`);
  return [...section.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, block = '']) => {
    const typed: Typed[] = [];
    for (const line of block.split('\n').filter((each) => each !== '')) {
      const last = typed.at(-1);
      if (line.startsWith('$ ')) typed.push({ line: line.slice(2), answer: null });
      else if (last !== undefined)
        typed.splice(-1, 1, { ...last, answer: /\[y\/N\] (\w+)$/.exec(line)?.[1] ?? last.answer });
    }
    return typed;
  });
}

/** The policy with which the page begins. */
export function firstPolicy(): string {
  const [, text = ''] = /^```yaml\n([\s\S]*?)^```$/m.exec(page) ?? [];
  return text;
}

/** What a file of values gives the chart as its policy. */
export function policyOfValues(values: string): unknown {
  return z.strictObject({ policy: z.record(z.string(), z.unknown()) }).parse(parse(values)).policy;
}
