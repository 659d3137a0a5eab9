import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, it } from 'mocha';
import { run } from '../../../agent/node-tpm2/run.ts';

const bounds = { timeoutMs: 5000, maxOutputBytes: 1000 };

describe('the process runner', () => {
  it('hands input over by a pipe and returns the output', async () => {
    const { stdout } = await run('cat', [], { ...bounds, input: Buffer.from('a secret') });
    assert.equal(stdout.toString(), 'a secret');
  });

  it('passes arguments as they are, not through a shell', async () => {
    const { stdout } = await run('printf', ['%s', '$(id); `id` "x"'], bounds);
    assert.equal(stdout.toString(), '$(id); `id` "x"');
  });

  it('gives children a minimal environment', async () => {
    const { stdout } = await run('env', [], { ...bounds, env: { EXTRA: '1' } });
    const names = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    assert.deepEqual(names.sort(), ['EXTRA', 'LC_ALL', 'PATH', 'TSS2_LOG']);
  });

  it('kills a program at its time bound', async () => {
    const began = performance.now();
    await assert.rejects(run('sleep', ['30'], { ...bounds, timeoutMs: 100 }), {
      name: 'ToolError',
      code: 'timeout',
    });
    assert.ok(performance.now() - began < 3000);
  });

  it('does not wait for a grandchild that holds the pipes', async () => {
    const script = 'sleep 30 & sleep 30';
    const began = performance.now();
    await assert.rejects(run('sh', ['-c', script], { ...bounds, timeoutMs: 100 }), { code: 'timeout' });
    assert.ok(performance.now() - began < 3000);
  });

  it('lets its own program end while another one runs in the background, which then ends too', async () => {
    const chatty =
      "process.stdout.on('error', () => process.exit()); console.log(process.pid); setInterval(() => console.log('.'), 20)";
    const module = JSON.stringify(join(import.meta.dirname, '../../../agent/node-tpm2/run.ts'));
    const program = `
      import { run } from ${module};
      import { readFileSync } from 'node:fs';
      const options = { timeoutMs: 60_000, maxOutputBytes: 1 << 20, background: true };
      run(process.execPath, ['-e', process.argv[1]], options).catch(() => {});
      const children = () => readFileSync('/proc/self/task/' + process.pid + '/children', 'latin1').trim();
      console.log(children());
    `;
    const args = ['--input-type=module', '-e', program, chatty];
    const { stdout } = await run(process.execPath, args, { timeoutMs: 20_000, maxOutputBytes: 4096 });
    const child = stdout.toString().trim();
    assert.match(child, /^\d+$/);
    for (let tries = 0; existsSync(`/proc/${child}`); tries++) {
      assert.ok(tries < 500, 'it runs on');
      await sleep(20);
    }
  });

  it('kills a program at its output bound', async () => {
    await assert.rejects(run('yes', [], bounds), { code: 'output_bound', signal: 'SIGKILL' });
  });

  it('kills a program when the signal aborts, and starts none afterwards', async () => {
    const abort = new AbortController();
    const running = run('sleep', ['30'], { ...bounds, signal: abort.signal });
    await sleep(50);
    abort.abort();
    await assert.rejects(running, { code: 'aborted' });
    await assert.rejects(run('true', [], { ...bounds, signal: abort.signal }), { code: 'aborted' });
  });

  it('names the Debian package of a missing program', async () => {
    const env = { PATH: '/nonexistent' };
    await assert.rejects(run('tpm2_quote', [], { ...bounds, env }), {
      code: 'missing_program',
      tool: 'tpm2_quote',
      message: /apt install tpm2-tools/,
    });
    await assert.rejects(run('swtpm_setup', [], { ...bounds, env }), { message: /apt install swtpm-tools/ });
  });

  it('reports the exit of a program that fails', async () => {
    await assert.rejects(run('sh', ['-c', 'echo why >&2; exit 7'], bounds), {
      code: 'failed',
      exitCode: 7,
      signal: null,
      retryable: false,
    });
    await assert.rejects(run('sh', ['-c', 'kill -TERM $$'], bounds), { exitCode: null, signal: 'SIGTERM' });
  });

  it('keeps a bounded part of what a program complains', async () => {
    const { stderr } = await run('sh', ['-c', 'head -c 1000000 /dev/zero >&2'], bounds);
    assert.equal(stderr.length, 8192);
  });

  it('survives a program that does not read its input', async () => {
    await run('true', [], { ...bounds, input: Buffer.alloc(1_000_000) });
  });
});
