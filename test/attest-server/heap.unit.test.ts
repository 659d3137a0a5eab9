import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, it } from 'mocha';

const run = promisify(execFile);
const heap = join(import.meta.dirname, '../../attest-server/heap.ts');

/** Bytes of the heap at its largest once it has settled, in a program of which 64 MiB live on while 4 MiB come and go again and again. */
async function peak(begin: string): Promise<number> {
  const program = `${begin}
    const made = (mib) => Array.from({ length: mib * 1024 }, () => new Array(127).fill(0));
    const alive = made(64);
    let [last, most] = [null, 0];
    for (let round = 0; round < 300; round++) {
      last = made(4);
      if (round > 150) most = Math.max(most, process.memoryUsage().heapUsed);
    }
    console.log(most + 0 * (alive.length + last.length));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', program]);
  return Number(stdout);
}

describe('the heap of the server', () => {
  it('is collected before it has doubled', async () => {
    const small = await peak(`(await import(${JSON.stringify(heap)})).keepHeapSmall();`);
    assert.ok(small < 2 * 64 * 1024 ** 2, String(small));
    const usual = await peak('');
    assert.ok(small < 0.9 * usual, `${small} of ${usual}`);
  });
});
