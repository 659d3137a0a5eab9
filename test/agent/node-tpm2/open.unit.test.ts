import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openTpm } from 'node-tpm2';
import { parseTcti } from '../../../agent/node-tpm2/tcti.ts';

describe('opening a TPM', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'node-tpm2-open-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  for (const tcti of [
    '',
    'swtpm',
    'bogus:x',
    'cmd:sh -c id',
    'cmd:id',
    'device:tpm0',
    'swtpm:path=sock',
    'device:/a b',
  ])
    it(`refuses the TCTI ${JSON.stringify(tcti)}`, async () => {
      await assert.rejects(openTpm({ tcti, lockDir: folder }), { code: 'bad_input' });
    });

  it('names the device or socket that is missing', async () => {
    const device = { code: 'no_tpm', message: /\/dev\/tpmrm99/ };
    await assert.rejects(openTpm({ tcti: 'device:/dev/tpmrm99', lockDir: folder }), device);
    const socket = { code: 'no_tpm', message: /\/nowhere\/sock/ };
    await assert.rejects(openTpm({ tcti: 'swtpm:path=/nowhere/sock', lockDir: folder }), socket);
  });

  it('knows the raw device and its resource manager as one TPM', () => {
    assert.equal(parseTcti('device:/dev/tpm0').identity, parseTcti('device:/dev/tpmrm0').identity);
    assert.equal(parseTcti('device:/dev/tpm0').hasResourceManager, false);
    assert.equal(parseTcti('device:/dev/tpmrm0').hasResourceManager, true);
  });

  it('gives an error, not a hang, when the TPM accepts and stays silent', async () => {
    const sockets = new Set<Socket>();
    const servers = await Promise.all(
      ['sock', 'sock.ctrl'].map((name) => listen(join(folder, name), sockets)),
    );
    try {
      const tcti = `swtpm:path=${join(folder, 'sock')}`;
      await using tpm = await openTpm({ tcti, lockDir: join(folder, 'lock'), timeoutMs: 300 });
      await assert.rejects(tpm.random(8), { code: 'timeout' });
    } finally {
      for (const socket of sockets) socket.destroy();
      for (const server of servers) server.close();
    }
  });

  it('leaves no private folder behind after close or abort', async () => {
    const runtimeDir = join(folder, 'runtime');
    const servers = await Promise.all(['sock'].map((name) => listen(join(folder, name), new Set())));
    const options = {
      tcti: `swtpm:path=${join(folder, 'sock')}`,
      lockDir: join(folder, 'lock'),
      runtimeDir: folder,
    };
    const before = await readdir(folder);
    const tpm = await openTpm(options);
    const made = (await readdir(folder)).filter((name) => name.startsWith('node-tpm2-'));
    assert.equal(made.length, 1);
    await tpm.close();
    await assert.rejects(tpm.random(1), { code: 'closed' });
    const abort = new AbortController();
    await openTpm({ ...options, signal: abort.signal });
    abort.abort();
    assert.deepEqual((await readdir(folder)).filter((name) => name !== 'lock').sort(), before.sort());
    await assert.rejects(openTpm({ ...options, runtimeDir }), { code: 'bad_input' });
    for (const server of servers) server.close();
  });
});

function listen(path: string, sockets: Set<Socket>): Promise<Server> {
  const server = createServer((socket) => sockets.add(socket.on('error', () => {})));
  return new Promise((resolve) => server.listen(path, () => resolve(server)));
}
