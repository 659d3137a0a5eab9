import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { readAccessToken, readOwnProject } from '../../../../manifests/cloud/gce/metadata.ts';
import { CloudFault } from '../../../../manifests/cloud/lookup.ts';
import { openVendorApi, recorded, type VendorApi } from '../vendor-api.ts';

const headers = { 'metadata-flavor': 'Google' };

describe('the metadata server of Google Cloud', () => {
  let api: VendorApi;
  before(async () => {
    api = await openVendorApi();
  });
  after(() => api[Symbol.asyncDispose]());
  const signal = () => AbortSignal.timeout(5_000);

  it('gives the token of the service account, and the project', async () => {
    api.answers({ status: 503 }, { headers, body: recorded('gce-token.json') });
    assert.equal(await readAccessToken(api.url, signal()), 'ya29.example-access-token');
    assert.equal(api.calls[1]?.path, '/computeMetadata/v1/instance/service-accounts/default/token');
    assert.equal(api.calls[1]?.headers['metadata-flavor'], 'Google');
    api.answers({ headers, body: 'example-1' });
    assert.equal(await readOwnProject(api.url, signal()), 'example-1');
  });

  for (const [what, reply] of [
    ['no service account', { status: 404, headers }],
    ['an answer that is not of Google Cloud', { body: recorded('gce-token.json') }],
    ['what is no token', { headers, body: '{"access_token":"a b","token_type":"Bearer"}' }],
    ['an answer that is too large', { headers, body: ' '.repeat(70_000) }],
  ] as const)
    it(`is no help by ${what}`, async () => {
      api.answers(reply);
      await assert.rejects(readAccessToken(api.url, signal()), CloudFault);
      assert.equal(api.calls.length, 1);
    });

  it('names no project by what is none', async () => {
    api.answers({ headers, body: 'a/b' });
    await assert.rejects(readOwnProject(api.url, signal()), CloudFault);
  });
});
