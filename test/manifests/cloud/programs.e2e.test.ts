import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { ekTemplate, softwareKey } from '../../attest-server/verify/software-key.ts';
import { programs } from '../../programs.ts';
import { endOf } from '../../swtpm-fixtures/end-of.ts';
import { openVendorApi, recorded, type VendorApi } from './vendor-api.ts';

const key = softwareKey('rsa2048', ekTemplate);
const ek = hash('sha256', key.publicArea, 'hex');
const pem = key.publicKey.export({ type: 'spki', format: 'pem' }).toString();
const gceMachine = 'gce://example-1/europe-west3-a/node-1';
const awsMachine = 'aws:///eu-central-1a/i-01234567890abcdef';

describe('the programs that ask a cloud', () => {
  let api: VendorApi;
  let metadata: VendorApi;
  let folder: string;
  let tokenFile: string;
  before(async () => {
    [api, metadata] = await Promise.all([openVendorApi(), openVendorApi()]);
    folder = await mkdtemp(join(tmpdir(), 'assay-programs-'));
    tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'secret-token');
  });
  after(async () => {
    await api?.[Symbol.asyncDispose]();
    await metadata?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });
  const gce = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    endOf(
      [programs['assay-cloud-gce'], '--endpoint', api.url.href, '--metadata', metadata.url.href, ...args],
      env,
    );
  const aws = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    endOf(
      [
        programs['assay-cloud-aws'],
        ...['--ec2', api.url.href, '--sts', api.url.href, '--metadata', metadata.url.href],
        ...args,
      ],
      env,
    );
  const keys = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret-key' };

  it('write what the server reads, and nothing else', async () => {
    const headers = { 'metadata-flavor': 'Google' };
    metadata.answers({ headers, body: 'example-1' }, { headers, body: recorded('gce-token.json') });
    api.answers({ body: recorded('gce-identity.json', { EK_RSA: pem }) });
    const found = { code: 0, stdout: `{"ek":"${ek}"}\n`, stderr: '' };
    assert.deepEqual(await gce([gceMachine]), found);
    assert.equal(api.calls[0]?.headers.authorization, 'Bearer ya29.example-access-token');
    api.answers({ body: recorded('aws-ek-pub.xml', { EK_AREA: key.publicArea.toString('base64') }) });
    assert.deepEqual(await aws([awsMachine], keys), found);
  });

  it('end with 3 where the cloud does not know the machine, and ask nobody about another project', async () => {
    const settings = {
      ASSAY_CLOUD_GCE_PROJECTS: 'example-1,example-2',
      ASSAY_CLOUD_GCE_TOKEN_FILE: tokenFile,
    };
    api.answers({ status: 404, body: recorded('gce-not-found.json') });
    const unknown = await gce([gceMachine], settings);
    assert.deepEqual([unknown.code, unknown.stdout, api.calls.length], [3, '', 1]);
    for (const machine of ['gce://attacker-1/europe-west3-a/node-1', awsMachine])
      assert.equal((await gce([machine], settings)).code, 3);
    assert.equal(api.calls.length, 1);
  });

  it('end with 1 and the reason where nobody can say, without the secret', async () => {
    api.answers({ status: 403, body: recorded('gce-forbidden.json') });
    const flags = ['--project', 'example-1', '--token-file', tokenFile, gceMachine];
    const denied = await gce(flags);
    assert.deepEqual([denied.code, denied.stdout], [1, '']);
    assert.match(denied.stderr, /^assay-cloud-gce: .*compute\.instances\.getShieldedInstanceIdentity/);
    api.answers({ status: 503, body: recorded('aws-error.xml', { ERROR_CODE: 'RequestLimitExceeded' }) });
    const throttled = await aws(['--within', '1', awsMachine], keys);
    assert.equal(throttled.code, 1);
    assert.match(throttled.stderr, /^assay-cloud-aws: .*RequestLimitExceeded/);
    const half = await aws([awsMachine], { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE' });
    assert.equal(half.code, 1);
    assert.match(half.stderr, /AWS_SECRET_ACCESS_KEY/);
    for (const { stderr } of [denied, throttled, half]) assert.doesNotMatch(stderr, /secret-/);
  });

  it('end with 2 where they are typed wrongly', async () => {
    for (const args of [
      [],
      [gceMachine, 'more'],
      ['--within', '0', gceMachine],
      ['--no-such-flag', gceMachine],
    ])
      assert.equal((await gce(args)).code, 2, args.join(' '));
    assert.equal((await aws(['--ec2', 'file:///etc/passwd', awsMachine])).code, 2);
  });
});
