import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run, start } from 'node-tpm2/run';

const bounds = { timeoutMs: 10_000, maxOutputBytes: 4096 };
const file = join(import.meta.dirname, '../../../agent/collectors/resolve-below.ts');

/** A folder whose lookups wait for ever, as those of a file server that is away: nobody answers for it. */
describe('paths below a file system that hangs', () => {
  let dir = '';
  let hanging = '';
  beforeEach(async function () {
    dir = await mkdtemp(join(tmpdir(), 'assay-hang-'));
    hanging = join(dir, 'hanging');
    await mkdir(hanging);
    await run('mkfifo', [join(dir, 'pipe')], bounds);
    const options = 'minproto=5,maxproto=5,indirect,pgrp=1,fd=3';
    const mounting = `exec 3<>"$1"; exec mount -n -i -t autofs -o ${options} none "$2"`;
    const mounted = await run('bash', ['-c', mounting, 'bash', join(dir, 'pipe'), hanging], bounds).catch(
      () => null,
    );
    if (mounted === null) this.skip();
  });
  afterEach(async () => {
    await run('umount', ['-n', '-l', hanging], bounds).catch(() => {});
    await rmdir(hanging);
    await rm(dir, { recursive: true });
  });

  it('hold one thread, however many there are: other files are read meanwhile', async () => {
    const program = `
      import { readFile } from 'node:fs/promises';
      import { resolveAllBelow } from ${JSON.stringify(file)};
      void resolveAllBelow('/', Array.from({ length: 16 }, (_, at) => ${JSON.stringify(hanging)} + '/' + at));
      await new Promise((resolve) => setTimeout(resolve, 200));
      await readFile('/proc/version');
      process.stdout.write('read');
      setInterval(() => {}, 1000);`;
    const child = start(process.execPath, ['--input-type=module', '--eval', program], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const closed = once(child, 'close');
    const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
    const [said] = await Promise.race([
      once(child.stdout ?? assert.fail(), 'data'),
      closed.then(() => ['nothing']),
    ]);
    clearTimeout(late);
    child.kill('SIGKILL');
    await closed;
    assert.equal(String(said), 'read');
  });
});
