import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { start } from 'node-tpm2/run';

const root = join(import.meta.dirname, '../..');

/** Starts a program that has the loggers of the agent and of the server. */
function started(program: string) {
  const script = `
    const { createLogger: ofAgent } = await import('${root}/agent/logger.ts');
    const { createLogger: ofServer } = await import('${root}/attest-server/settings/logger.ts');
    const { pino } = await import('${root}/node_modules/pino/pino.js');
    ${program}`;
  return start(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function textOf(stream: AsyncIterable<unknown> | null): Promise<string> {
  const chunks: string[] = [];
  for await (const chunk of stream ?? []) chunks.push(String(chunk));
  return chunks.join('');
}

describe('the logger of the agent', function () {
  this.timeout(30_000);

  it('writes the very lines that the library of the server writes', async () => {
    const { stderr } = started(`
      const lines = [
        [{ code: 'plain' }, 'a text'],
        [{ code: 'no_text' }],
        [{ code: 'kinds', count: 3, none: null, left: undefined, is: false, list: [1, 'two'], of: { it: { is: 1 } } }, ''],
        [{ code: 'no_numbers', ms: Number.NaN, most: Number.POSITIVE_INFINITY }, 'numbers that JSON has not'],
        [{ code: 'signs', text: 'quote " back \\\\ line \\n bell \\u0007 é 字 😀 \\ud800 \\u2028' }, '" \\\\ \\n \\u0000 😀 \\udfff'],
        [{ code: 'long', text: 'é"'.repeat(200) }, 'x'.repeat(300)],
      ];
      for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
        for (const base of [{}, { node: 'node-1' }]) {
          const loggers = [ofAgent(level, base), ofServer(level, base, pino.destination({ dest: 2, sync: true }))];
          for (const word of ['debug', 'info', 'warn', 'error'])
            for (const line of lines) for (const logger of loggers) logger[word](...line);
        }
    `);
    const lines = (await textOf(stderr)).trimEnd().split('\n');
    // Of four levels 4, 4, 3, 2, 1, 0 and 0 are let through: six lines each, with two bases, by two loggers.
    assert.equal(lines.length, 14 * 6 * 2 * 2);
    const timeless = lines.map((line) =>
      line.replace(/"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/, '"time":""'),
    );
    const ofOne = (parity: number) => timeless.filter((_, at) => at % 2 === parity);
    assert.deepEqual(ofOne(0), ofOne(1));
  });

  it('loses no line where the pipe is full and does not block', async () => {
    const child = started(`
      // Node.js makes it non-blocking.
      process.stderr;
      const logger = ofAgent('info', {});
      for (let at = 0; at < 2_000; at++) logger.info({ code: 'line', at, fill: 'x'.repeat(1_000) });
    `);
    await sleep(500);
    const lines = (await textOf(child.stderr)).trimEnd().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).at),
      Array.from({ length: 2_000 }, (_, at) => at),
    );
  });

  it('goes on where nobody reads it any more', async () => {
    const child = started(`
      process.stdout.write('up');
      await new Promise((resolve) => setTimeout(resolve, 300));
      ofAgent('info', {}).info({ code: 'line' });
      process.stdout.write(' and on');
    `);
    child.stderr?.destroy();
    const [said, [exitCode]] = await Promise.all([textOf(child.stdout), once(child, 'close')]);
    assert.deepEqual([said, exitCode], ['up and on', 0]);
  });
});
