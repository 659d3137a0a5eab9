import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, it } from 'mocha';

const run = promisify(execFile);
const heap = join(import.meta.dirname, '../../attest-server/heap.ts');

/** What V8 says of it. */
async function said(program: string): Promise<string> {
  const { stderr } = await run(process.execPath, ['--input-type=module', '--eval', program]);
  return stderr;
}

describe('the heap of the server', () => {
  it('is kept small by a flag that this V8 has', async () => {
    assert.equal(await said(`(await import(${JSON.stringify(heap)})).keepHeapSmall();`), '');
    // Of one that it has not, it would say so.
    const other = `(await import('node:v8')).setFlagsFromString('--heap-growing-share=30');`;
    assert.match(await said(other), /heap-growing-share/);
  });
});
