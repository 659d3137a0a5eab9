import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { type Client, createClient, Refusal } from '../../../attest-server/cli/client.ts';
import { type Listening, listenSecurely } from '../../../attest-server/http/listen.ts';
import { quietAdmission } from '../door/quiet-admission.ts';
import { identityIn } from '../tls/made-identity.ts';

describe('what the command line makes of a problem', () => {
  let dir = '';
  let listening: Listening;
  let client: Client;
  let said: { status: number; code?: string } = { status: 500 };

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-client-'));
    const identity = await identityIn(dir, ['localhost'], Date.now());
    listening = await listenSecurely(
      (_, response) => {
        response.writeHead(said.status, { 'content-type': 'application/problem+json', connection: 'close' });
        response.end(
          JSON.stringify({ type: 'about:blank', title: 'x', detail: 'query.limit: why', ...said }),
        );
      },
      { key: identity.key, cert: identity.chain },
      { host: '127.0.0.1', port: 0 },
      quietAdmission(),
    );
    client = await createClient({
      server: new URL(`https://localhost:${listening.port}`),
      token: 'token',
      tokenFile: 'a.token',
      caFile: identity.caFile,
      startedBy: null,
      ca: readFileSync(identity.caFile, 'utf8'),
    });
  });
  after(async () => {
    await listening[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });

  const refused = async (problem: typeof said): Promise<Refusal> => {
    said = problem;
    const error: unknown = await client.get('/v1/nodes/node-1?limit=1', nodeView).catch((caught) => caught);
    assert(error instanceof Refusal, String(error));
    assert.deepEqual([error.status, error.code], [problem.status, problem.code ?? null]);
    return error;
  };

  it('keeps its code, also one that only a newer server knows, and does without where an older one has none', async () => {
    for (const code of ['not_found', 'conflict', 'kernel_unknown', 'of_another_time', undefined])
      await refused(code === undefined ? { status: 409 } : { status: 409, code });
  });

  it('says the word that documents explain, and no other', async () => {
    assert.equal(
      (await refused({ status: 409, code: 'too_large' })).message,
      'the server refused: too_large: limit: why',
    );
    assert.equal(
      (await refused({ status: 400, code: 'invalid_field' })).message,
      'the server refused: limit: why',
    );
  });

  it('takes a path that the server does not know for a server of another version', async () => {
    const unknown = await refused({ status: 404, code: 'unknown_path' });
    assert.match(unknown.message, /does not know \/v1\/nodes\/node-1$/);
    assert.match(unknown.hint ?? '', /same version/);
    assert.match((await refused({ status: 404, code: 'not_found' })).hint ?? '', /assay get nodes/);
  });
});
