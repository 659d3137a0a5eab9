import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { endpointOf, parseAwsMachine } from '../../../../manifests/cloud/aws/machine.ts';
import { readTpmEkPub } from '../../../../manifests/cloud/aws/tpm-ek-pub.ts';
import { CloudFault } from '../../../../manifests/cloud/lookup.ts';
import { ekTemplate, softwareKey } from '../../../attest-server/verify/software-key.ts';
import { openVendorApi, type Reply, recorded, type VendorApi } from '../vendor-api.ts';

const machine = { region: 'eu-central-1', instance: 'i-01234567890abcdef' };
const credentials = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'secret-access-key',
  sessionToken: 'session-token',
};
const { publicArea } = softwareKey('rsa2048', ekTemplate);
const ek = hash('sha256', publicArea, 'hex');
const answered = (area: Buffer) => recorded('aws-ek-pub.xml', { EK_AREA: area.toString('base64') });
const good = answered(publicArea);
const error = (code: string) => recorded('aws-error.xml', { ERROR_CODE: code });

describe('the endorsement key of a NitroTPM', () => {
  let api: VendorApi;
  before(async () => {
    api = await openVendorApi();
  });
  after(() => api[Symbol.asyncDispose]());

  const look = (replies: readonly Reply[], withinMs = 5_000) => {
    api.answers(...replies);
    return readTpmEkPub(api.url, machine, credentials, AbortSignal.timeout(withinMs));
  };
  const fault = async (replies: readonly Reply[], withinMs?: number): Promise<CloudFault> => {
    const thrown: unknown = await look(replies, withinMs).then(
      () => null,
      (reason: unknown) => reason,
    );
    assert.ok(thrown instanceof CloudFault, String(thrown));
    assert.doesNotMatch(thrown.message, /secret-access-key|session-token/);
    return thrown;
  };

  it('is named by the digest of its public area, of a request that is signed', async () => {
    assert.deepEqual(await look([{ body: good }]), { ek });
    const [call] = api.calls;
    assert.deepEqual([call?.method, call?.path], ['POST', '/']);
    assert.equal(
      call?.body,
      'Action=GetInstanceTpmEkPub&InstanceId=i-01234567890abcdef&KeyFormat=tpmt&KeyType=rsa-2048&Version=2016-11-15',
    );
    assert.match(
      String(call?.headers.authorization),
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-central-1\/ec2\/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=[0-9a-f]{64}$/,
    );
    assert.equal(call?.headers['x-amz-security-token'], 'session-token');
  });

  it('is the same where its size stands before it, and where the text has lines', async () => {
    const sized = Buffer.concat([Buffer.from([publicArea.length >> 8, publicArea.length & 255]), publicArea]);
    assert.deepEqual(await look([{ body: answered(sized) }]), { ek });
    const lines = publicArea.toString('base64').replace(/.{76}/g, '$&\n');
    assert.deepEqual(await look([{ body: recorded('aws-ek-pub.xml', { EK_AREA: lines }) }]), { ek });
  });

  for (const code of ['InvalidInstanceID.NotFound', 'InvalidInstanceID.Malformed'])
    it(`is not known by ${code}, as is an instance of another account`, async () => {
      assert.ok('notKnown' in (await look([{ status: 400, body: error(code) }])));
    });

  for (const [what, status, body] of [
    ['a role without the right', 403, error('UnauthorizedOperation')],
    ['credentials that are none', 401, error('AuthFailure')],
    ['credentials that have ended', 400, error('RequestExpired')],
    ['an operation that it does not do', 400, error('UnsupportedOperation')],
    ['an error without a code', 400, '<html>'],
    ['no key', 200, good.replace(/<keyValue>.*<\/keyValue>/, '')],
    ['two keys', 200, `${good}${good}`],
    ['a key in another format', 200, good.replace('>tpmt<', '>der<')],
    ['the key of another instance', 200, good.replace('i-01234567890abcdef', 'i-01234567890abcdee')],
    ['a key of no template', 200, answered(softwareKey('rsa2048').publicArea)],
    ['a few bytes', 200, answered(Buffer.from([0]))],
    ['an answer of more than 64 KiB', 200, `${good}${' '.repeat(65_536)}`],
  ] as const)
    it(`is not told by ${what}, and it asks once`, async () => {
      assert.equal((await fault([{ status, body }])).passes, false);
      assert.equal(api.calls.length, 1);
    });

  it('is asked for again where EC2 wants to be asked later', async () => {
    for (const later of [
      { status: 503, body: error('RequestLimitExceeded') },
      { status: 400, body: error('ThrottlingException') },
      { status: 500, body: error('InternalError') },
    ]) {
      assert.deepEqual(await look([later, { body: good }]), { ek });
      assert.equal(api.calls.length, 2);
    }
    assert.ok((await fault([{ status: 503, body: error('RequestLimitExceeded') }], 300)).passes);
  });

  it('follows no redirect', async () => {
    await using other = await openVendorApi();
    other.answers({ body: good });
    await fault([{ status: 307, headers: { location: other.url.href } }]);
    assert.equal(other.calls.length, 0);
  });

  it('is asked for in the region of the zone', () => {
    for (const [zone, region] of [
      ['eu-central-1a', 'eu-central-1'],
      ['us-gov-west-1b', 'us-gov-west-1'],
      ['us-west-2-lax-1a', 'us-west-2'],
      ['us-east-1-wl1-bos-wlz-1', 'us-east-1'],
    ] as const)
      assert.deepEqual(parseAwsMachine(`aws:///${zone}/i-0123456789abcdef0`), {
        region,
        instance: 'i-0123456789abcdef0',
      });
    assert.equal(endpointOf('ec2', 'eu-central-1').href, 'https://ec2.eu-central-1.amazonaws.com/');
    assert.equal(endpointOf('sts', 'cn-north-1').href, 'https://sts.cn-north-1.amazonaws.com.cn/');
    for (const other of [
      '',
      'gce://example-1/europe-west3-a/node-1',
      'aws:///eu-central-1a/fargate-10.0.0.1',
      'aws:///eu-central-1a/i-01234567890abcdefg',
      'aws:///evil.example/i-0123456789abcdef0',
      'aws:///a/i-0123456789abcdef0',
      'aws://other/eu-central-1a/i-0123456789abcdef0',
    ])
      assert.equal(parseAwsMachine(other), null, other);
  });
});
