import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { ConfigError } from '../../attest-server/settings/config-error.ts';
import { startFault } from '../../attest-server/start-fault.ts';

async function faultOf(attempt: () => Promise<unknown>): Promise<unknown> {
  try {
    await attempt();
  } catch (error) {
    return error;
  }
  return assert.fail('nothing failed');
}

describe('why a server did not start', () => {
  it('is wrong usage where the configuration is faulty', () =>
    assert.equal(startFault(new ConfigError([])).exitCode, 2));

  it('names the file that cannot be used', async () => {
    const { text, exitCode } = startFault(await faultOf(() => readFile('/nonexistent/server.yaml')));
    assert.match(text, /^\/nonexistent\/server\.yaml /);
    assert.equal(exitCode, 1);
  });

  it('names the port that is taken', async () => {
    const first = createServer().listen(0, '127.0.0.1');
    await once(first, 'listening');
    const address = first.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const error = await faultOf(() => once(createServer().listen(port, '127.0.0.1'), 'listening'));
    first.close();
    assert.match(startFault(error).text, new RegExp(`\\b${port}\\b`));
  });

  it('tells the fault, not what did not close after it', () => {
    const fault = new SuppressedError(new Error('the disk is full'), new ConfigError([]));
    assert.equal(startFault(fault).exitCode, 2);
  });

  it('is a disk that is full, whoever noticed it, with what it holds', async () => {
    const { text, exitCode } = startFault(await faultOf(() => writeFile('/dev/full', 'x')));
    assert.match(text, /^the disk is full: /);
    const cause = Object.assign(new Error('database or disk is full'), { errcode: 13 });
    const store = startFault(new Error('the store /var/lib/assay/assay.db cannot be opened', { cause }));
    assert.match(store.text, /^the disk is full: the store \/var\/lib\/assay\/assay\.db /);
    assert.deepEqual([exitCode, store.exitCode], [1, 1]);
    const later = startFault(cause, {
      stateDir: '/var/lib/assay',
      agentPort: 8443,
      apiPort: 8444,
      metricsPort: 9464,
      policy: 'observe',
      host: '0.0.0.0',
    });
    assert.match(later.text, /^the disk is full: \/var\/lib\/assay: /);
  });

  it('keeps the words of every other fault', () =>
    assert.deepEqual(startFault(new Error('the store is newer')), {
      text: 'the store is newer',
      exitCode: 1,
    }));
});
