import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { type ApiServer, openApiServer } from '../../../../swtpm-fixtures/api-server/api-server.ts';
import { isObject, type JsonObject, textAt } from '../../../../swtpm-fixtures/api-server/json.ts';
import { signingKeys } from '../../../../swtpm-fixtures/api-server/service-tokens.ts';
import { administrator } from '../../../../swtpm-fixtures/api-server/users.ts';
import { differences } from './answer.ts';
import { readRecording } from './recording.ts';

type Claims = JsonObject & { readonly 'kubernetes.io': JsonObject };

const now = Math.floor(Date.now() / 1000);
const account = (claims: Claims, its: JsonObject) => {
  const { serviceaccount, ...rest } = claims['kubernetes.io'];
  const merged = { ...(isObject(serviceaccount) ? serviceaccount : {}), ...its };
  return { ...claims, 'kubernetes.io': { ...rest, serviceaccount: merged } };
};

/** What each recorded token says otherwise than one that was issued. */
const changes: Readonly<Record<string, (claims: Claims) => JsonObject>> = {
  'as issued': (claims) => claims,
  'expired a minute ago': (claims) => ({ ...claims, exp: now - 61 }),
  'expired 3 s ago': (claims) => ({ ...claims, exp: now - 3 }),
  'not yet valid': (claims) => ({ ...claims, nbf: now + 300 }),
  'another issuer': (claims) => ({ ...claims, iss: 'https://elsewhere.example' }),
  'algorithm none': (claims) => claims,
  'a subject that is not there': (claims) => ({
    ...account(claims, { name: 'nosuch' }),
    sub: 'system:serviceaccount:cases:nosuch',
  }),
  'another uid of the account': (claims) => account(claims, { uid: '00000000-0000-0000-0000-000000000000' }),
  'subject and private claims differ': (claims) => ({ ...claims, sub: 'system:serviceaccount:cases:other' }),
  'no audience': ({ aud: _, ...claims }) => claims,
  'audience as text': (claims) => ({ ...claims, aud: 'assay' }),
};

describe('tokens that were made by hand with the right key, as kube-apiserver reviewed them', () => {
  const recorded = readRecording().filter(({ case: its }) => its.startsWith('tokens: made by hand'));
  let api: ApiServer;
  let issued: Claims;
  const asked = (path: string, body: JsonObject) => api.as(administrator).request('POST', path, body);
  before(async () => {
    api = await openApiServer();
    await asked('/api/v1/namespaces', { metadata: { name: 'cases' } });
    await asked('/api/v1/namespaces/cases/serviceaccounts', { metadata: { name: 'runner' } });
    const spec = { audiences: ['assay'], expirationSeconds: 600 };
    const { body } = await asked('/api/v1/namespaces/cases/serviceaccounts/runner/token', { spec });
    const token = textAt(body ?? {}, 'status', 'token') ?? '';
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    issued = { ...claims, 'kubernetes.io': claims['kubernetes.io'] };
  });
  after(() => api[Symbol.asyncDispose]());

  it('is a case each', () => {
    assert.deepEqual(
      recorded.map(({ note }) => note),
      Object.keys(changes),
    );
  });

  for (const { note = '', status, response = null } of recorded) {
    it(`one like this: ${note}`, async () => {
      const claims = changes[note]?.(issued) ?? assert.fail(note);
      const header = { alg: note === 'algorithm none' ? 'none' : 'RS256' };
      const text = [header, claims]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
        .join('.');
      const { privateKey } = await signingKeys();
      const token = `${text}.${sign('sha256', Buffer.from(text), privateKey).toString('base64url')}`;
      const spec = { token, audiences: ['assay'] };
      const { code, body } = await asked('/apis/authentication.k8s.io/v1/tokenreviews', { spec });
      const real = { status, headers: {}, body: response };
      assert.deepEqual(differences(real, { status: code, headers: {}, body }), []);
    });
  }
});
