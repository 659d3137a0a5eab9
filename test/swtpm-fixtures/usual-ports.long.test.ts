import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { storyArguments } from '../programs.ts';
import { shared } from './end-of.ts';
import { occupy } from './occupy.ts';

const program = join(import.meta.dirname, '../../swtpm-fixtures/cluster/main.ts');

/** Process ids of the tpm-brokers that it started. */
async function brokersOf(pid: number): Promise<readonly string[]> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ');
  const commands = await Promise.all(
    children.map((child) => readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')),
  );
  return children.filter((_, index) => commands[index]?.includes('tpm-broker'));
}

describe('npm start beside a program that has one of its usual ports', function () {
  this.timeout(90_000);

  it('takes a free one for the one that is taken, and ends all that it began when it is interrupted', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-usual-'));
    await using _taken = await occupy(8444);
    const child = start(process.execPath, [program, ...storyArguments, '--state-dir', dir], {
      env: shared,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    try {
      let said = '';
      child.stderr?.on('data', (text: Buffer) => {
        said += String(text);
      });
      const exited = once(child, 'exit');
      const its = await new Promise<readonly number[]>((resolve, reject) => {
        child.stdout?.on('data', (text: Buffer) => {
          said += String(text);
          const shown = /127\.0\.0\.1:(\d+), the API is \S+:(\d+), metrics are \S+:(\d+)/.exec(said);
          if (shown !== null && said.includes('Ctrl-C ends it')) resolve(shown.slice(1).map(Number));
        });
        child.once('exit', () => reject(new Error(said)));
      });
      assert.notEqual(its[1], 8444);
      // While a machine starts its programs: what is not up yet is ended all the same.
      const before = await brokersOf(child.pid ?? 0);
      child.stdin?.write('tamper node-1 kernel\n');
      while ((await brokersOf(child.pid ?? 0)).every((pid) => before.includes(pid))) await sleep(5);
      child.kill('SIGINT');
      assert.deepEqual(await exited, [0, null], said);
    } finally {
      child.kill('SIGKILL');
      await rm(dir, { recursive: true, force: true });
    }
  });
});
