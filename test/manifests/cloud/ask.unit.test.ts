import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, it } from 'mocha';
import { ask } from '../../../manifests/cloud/ask.ts';
import { CloudFault } from '../../../manifests/cloud/lookup.ts';
import { makeCertificate } from '../../../swtpm-fixtures/api-server/certificate.ts';

describe('a question to a cloud', () => {
  let server: (Server & { closeAllConnections(): void }) | null = null;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
    server = null;
  });
  const listening = async (started: NonNullable<typeof server>): Promise<number> => {
    server = started;
    started.listen(0, '127.0.0.1');
    await once(started, 'listening');
    const address = started.address();
    assert.ok(address !== null && typeof address === 'object');
    return address.port;
  };
  const fault = async (url: string, withinMs = 5_000): Promise<CloudFault> => {
    const headers = { authorization: 'Bearer secret-token' };
    const question = { of: 'the cloud', url: new URL(url), method: 'GET', headers } as const;
    const error: unknown = await ask(question, AbortSignal.timeout(withinMs)).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof CloudFault, String(error));
    assert.doesNotMatch(error.message, /secret-token/);
    return error;
  };

  it('is put to nobody whose certificate no known authority signed', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-tls-'));
    let asked = 0;
    try {
      const { certificate, key } = await makeCertificate(dir);
      const port = await listening(
        createTlsServer({ cert: certificate, key }, (_request, response) => {
          asked += 1;
          response.end('{}');
        }),
      );
      assert.match((await fault(`https://127.0.0.1:${port}/`)).message, /CERT|SIGN/);
      assert.equal(asked, 0);
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  it('waits for no longer than its time, be it for the begin of an answer or for its end', async () => {
    for (const begin of [false, true]) {
      const port = await listening(
        createServer((_request, response) => {
          if (begin) response.write('{');
        }),
      );
      const started = performance.now();
      assert.match((await fault(`http://127.0.0.1:${port}/`, 200)).message, /TimeoutError/);
      assert.ok(performance.now() - started < 3_000);
      server?.closeAllConnections();
      server?.close();
    }
  });

  it('may be put again to one who is not there', async () => {
    const port = await listening(createServer());
    server?.close();
    await once(server ?? assert.fail(), 'close');
    const error = await fault(`http://127.0.0.1:${port}/`);
    assert.ok(error.passes);
    assert.match(error.message, /ECONNREFUSED/);
  });
});
