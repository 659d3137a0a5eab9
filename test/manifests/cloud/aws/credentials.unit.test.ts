import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type CredentialSources, readCredentials } from '../../../../manifests/cloud/aws/credentials.ts';
import { CloudFault } from '../../../../manifests/cloud/lookup.ts';
import { openVendorApi, type Reply, recorded, type VendorApi } from '../vendor-api.ts';

const role = 'arn:aws:iam::123456789012:role/assay';
const ofInstance = recorded('aws-instance-credentials.json');
const sts = recorded('aws-sts.xml');

describe('credentials for AWS', () => {
  let api: VendorApi;
  let folder: string;
  let tokenFile: string;
  before(async () => {
    api = await openVendorApi();
    folder = await mkdtemp(join(tmpdir(), 'assay-aws-'));
    tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'projected.service.token\n');
  });
  after(async () => {
    await api?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  const read = (replies: readonly Reply[], sources: Partial<CredentialSources>) => {
    api.answers(...replies);
    return readCredentials(
      { keys: null, webIdentity: null, container: null, sts: api.url, metadata: api.url, ...sources },
      AbortSignal.timeout(5_000),
    );
  };
  const fault = async (replies: readonly Reply[], sources: Partial<CredentialSources>): Promise<string> => {
    const error: unknown = await read(replies, sources).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof CloudFault, String(error));
    assert.doesNotMatch(error.message, /projected\.service\.token|wJalrXUtn/);
    return error.message;
  };

  it('are the keys of the environment first, and nobody is asked', async () => {
    const keys = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret', sessionToken: null };
    assert.equal(await read([], { keys, webIdentity: { role, tokenFile } }), keys);
    assert.equal(api.calls.length, 0);
  });

  it('are those of a role, for the token of the service account', async () => {
    assert.deepEqual(await read([{ body: sts }], { webIdentity: { role, tokenFile } }), {
      accessKeyId: 'ASgeIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY',
      sessionToken: 'AQoDYXdzEE0a8ANXXXXXXXXNO1ewxE5TijQyp+IEXAMPLE',
    });
    const sent = new URLSearchParams(api.calls[0]?.body);
    assert.equal(sent.get('Action'), 'AssumeRoleWithWebIdentity');
    assert.deepEqual([sent.get('RoleArn'), sent.get('WebIdentityToken')], [role, 'projected.service.token']);
  });

  it('are those of Pod Identity, whose agent is shown the token', async () => {
    const container = { url: new URL('v1/credentials', api.url), tokenFile };
    const { accessKeyId } = await read([{ body: ofInstance }], { container });
    assert.equal(accessKeyId, 'ASIAIOSFODNN7EXAMPLE');
    assert.equal(api.calls[0]?.headers.authorization, 'projected.service.token');
    const elsewhere = { url: new URL('http://192.0.2.1/v1/credentials'), tokenFile };
    assert.match(await fault([], { container: elsewhere }), /without TLS/);
  });

  it('are those of the instance last, by a token of its metadata service', async () => {
    const replies = [{ body: 'imds-token' }, { body: 'node-role' }, { body: ofInstance }];
    assert.deepEqual(await read(replies, {}), {
      accessKeyId: 'ASIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
      sessionToken: 'token',
    });
    assert.deepEqual(
      api.calls.map(({ method, path, headers }) => [method, path, headers['x-aws-ec2-metadata-token']]),
      [
        ['PUT', '/latest/api/token', undefined],
        ['GET', '/latest/meta-data/iam/security-credentials/', 'imds-token'],
        ['GET', '/latest/meta-data/iam/security-credentials/node-role', 'imds-token'],
      ],
    );
  });

  it('are missing where nobody gives any, and it says so', async () => {
    const token = { body: 'imds-token' };
    assert.match(await fault([token, { status: 404 }], {}), /no credentials/);
    assert.match(await fault([token, { body: '../evil' }], {}), /no role/);
    assert.match(await fault([token, { body: 'r' }, { body: '{"Code":"Failed"}' }], {}), /no credentials/);
    const absent = join(folder, 'absent');
    assert.match(await fault([], { webIdentity: { role, tokenFile: absent } }), /absent.*ENOENT/);
    await writeFile(join(folder, 'odd'), 'two\r\nlines');
    assert.match(await fault([], { webIdentity: { role, tokenFile: join(folder, 'odd') } }), /no token/);
  });

  it('are refused with the reason of STS', async () => {
    const refusal = (code: string) => ({
      status: 400,
      body: recorded('aws-sts-error.xml', { ERROR_CODE: code }),
    });
    const webIdentity = { role, tokenFile };
    assert.match(await fault([refusal('ExpiredTokenException')], { webIdentity }), /have ended/);
    assert.match(await fault([refusal('InvalidIdentityToken')], { webIdentity }), /does not take/);
    assert.match(await fault([refusal('AccessDenied')], { webIdentity }), /must trust/);
    assert.match(await fault([{ body: '<Credentials/>' }], { webIdentity }), /no credentials/);
    await read([{ status: 400, body: refusal('Throttling').body }, { body: sts }], { webIdentity });
    assert.equal(api.calls.length, 2);
  });
});
