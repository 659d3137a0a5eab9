import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { start } from 'node-tpm2/run';

const program = join(import.meta.dirname, '../../swtpm-fixtures/cluster/main.ts');
const usual = [8443, 8444, 9464];

describe('npm start beside programs that have its usual ports', function () {
  this.timeout(90_000);

  for (const [what, ports] of [
    ['one of them', [8444]],
    ['all of them', usual],
  ] as const)
    it(`takes free ones for ${what}, and ends all that it began after Ctrl-C`, async () => {
      const dir = await mkdtemp(join(tmpdir(), 'assay-usual-'));
      const taken = await Promise.all(ports.map(occupy));
      const child = start(process.execPath, [program, '--state-dir', dir], {
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
            if (shown !== null) resolve(shown.slice(1).map(Number));
          });
          child.once('exit', () => reject(new Error(said)));
        });
        for (const [index, port] of usual.entries())
          if (ports.some((each) => each === port)) assert.notEqual(its[index], port);
        child.kill('SIGINT');
        assert.deepEqual(await exited, [0, null], said);
      } finally {
        child.kill('SIGKILL');
        for (const each of taken) each?.close();
        await rm(dir, { recursive: true, force: true });
      }
    });
});

/** Null where another program has the port already. */
async function occupy(port: number) {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return server;
  } catch {
    return null;
  }
}
