import assert from 'node:assert/strict';
import { join } from 'node:path';
import { storyArguments } from '../../programs.ts';
import { type End, endOf } from '../end-of.ts';

const program = join(import.meta.dirname, '../../../swtpm-fixtures/cluster/main.ts');

/** Runs `npm start` with these arguments, until it ends. */
export function runStory(...args: readonly string[]): Promise<End> {
  return endOf([program, ...storyArguments, ...args], {});
}

/** What a story that ends well says, an object a line; the last one has its counts. */
export async function toldStory(...args: readonly string[]): Promise<{
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  readonly counts: Readonly<Record<string, unknown>>;
  readonly ok: unknown;
}> {
  const { code, stdout, stderr } = await runStory('--once', ...args, '-o', 'json');
  assert.equal(stderr, '');
  assert.equal(code, 0, stdout);
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => Object(JSON.parse(line)) as Record<string, unknown>);
  const last = lines.pop() ?? assert.fail('nothing was said');
  const { seconds, ...counts } = Object(last.summary) as Record<string, unknown>;
  assert.equal(typeof seconds, 'number');
  return { lines, counts, ok: last.ok };
}
