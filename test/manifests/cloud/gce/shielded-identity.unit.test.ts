import assert from 'node:assert/strict';
import { hash, type KeyObject } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { parseGceMachine } from '../../../../manifests/cloud/gce/machine.ts';
import { readShieldedIdentity } from '../../../../manifests/cloud/gce/shielded-identity.ts';
import { CloudFault } from '../../../../manifests/cloud/lookup.ts';
import { ekTemplate, softwareKey } from '../../../attest-server/verify/software-key.ts';
import { openVendorApi, type Reply, recorded, type VendorApi } from '../vendor-api.ts';

const machine = { project: 'example-1', zone: 'europe-west3-a', name: 'node-1' };
const token = 'ya29.secret-token';
const [rsa, ecc, p384] = [
  softwareKey('rsa2048', ekTemplate),
  softwareKey('p256', ekTemplate),
  softwareKey('p384'),
];
const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString();
const digest = ({ publicArea }: { publicArea: Buffer }) => hash('sha256', publicArea, 'hex');
const identity = recorded('gce-identity.json', {
  EK_RSA: pem(rsa.publicKey),
  EK_ECC: pem(ecc.publicKey),
});

describe('the shielded identity of Compute Engine', () => {
  let api: VendorApi;
  before(async () => {
    api = await openVendorApi();
  });
  after(() => api[Symbol.asyncDispose]());

  const look = (replies: readonly Reply[], withinMs = 5_000) => {
    api.answers(...replies);
    return readShieldedIdentity(api.url, machine, token, AbortSignal.timeout(withinMs));
  };
  const fault = async (replies: readonly Reply[], withinMs?: number): Promise<CloudFault> => {
    const error: unknown = await look(replies, withinMs).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof CloudFault, String(error));
    assert.equal(error.message.includes(token), false);
    return error;
  };

  it('names the RSA key, by the digest of its whole public area', async () => {
    assert.deepEqual(await look([{ body: identity }]), { ek: digest(rsa) });
    const [call] = api.calls;
    assert.equal(
      call?.path,
      '/compute/v1/projects/example-1/zones/europe-west3-a/instances/node-1/getShieldedInstanceIdentity',
    );
    assert.deepEqual([call?.method, call?.headers.authorization], ['GET', `Bearer ${token}`]);
  });

  it('names the ECC key of a vTPM that has no RSA, and none where there is no vTPM', async () => {
    const body = JSON.stringify({ ...JSON.parse(identity), encryptionKey: undefined });
    assert.deepEqual(await look([{ body }]), { ek: digest(ecc) });
    assert.ok('notKnown' in (await look([{ body: '{"kind":"compute#shieldedInstanceIdentity"}' }])));
  });

  it('knows no machine that Compute Engine does not', async () => {
    assert.ok('notKnown' in (await look([{ status: 404, body: recorded('gce-not-found.json') }])));
  });

  for (const [what, status, body] of [
    ['an access token that has ended', 401, recorded('gce-unauthenticated.json')],
    ['a service account without the right', 403, recorded('gce-forbidden.json')],
    ['a request that it does not understand', 400, ''],
    ['what is not JSON', 200, '<html>'],
    ['another kind of answer', 200, '{"kind":"compute#instance"}'],
    ['a key that is none', 200, recorded('gce-identity.json', { EK_RSA: 'none' })],
    ['a key of no template', 200, recorded('gce-identity.json', { EK_RSA: pem(p384.publicKey) })],
    ['an answer of more than 64 KiB', 200, `${' '.repeat(65_536)}${identity}`],
  ] as const)
    it(`gives no key by ${what}, and asks once`, async () => {
      assert.equal((await fault([{ status, body }])).passes, false);
      assert.equal(api.calls.length, 1);
    });

  it('asks again where it is told to come later', async () => {
    for (const later of [
      { status: 403, body: recorded('gce-rate-limit.json') },
      { status: 429, headers: { 'retry-after': '0' } },
      { status: 503 },
    ]) {
      assert.deepEqual(await look([later, { body: identity }]), { ek: digest(rsa) });
      assert.equal(api.calls.length, 2);
    }
  });

  it('gives up when the time is over, and waits for no longer than that', async () => {
    const started = performance.now();
    assert.ok((await fault([{ status: 429, headers: { 'retry-after': '60' } }], 300)).passes);
    assert.ok(performance.now() - started < 3_000);
    assert.equal(api.calls.length, 1);
  });

  it('follows no redirect, and sends nothing without TLS to another machine', async () => {
    await using other = await openVendorApi();
    other.answers({ body: identity });
    await fault([{ status: 302, headers: { location: other.url.href } }]);
    assert.equal(other.calls.length, 0);
    await assert.rejects(
      readShieldedIdentity(new URL('http://compute.example/'), machine, token, AbortSignal.timeout(1_000)),
      /without TLS/,
    );
  });

  it('is asked about what a providerID of Compute Engine can name', () => {
    assert.deepEqual(parseGceMachine('gce://example-1/europe-west3-a/node-1'), machine);
    assert.equal(parseGceMachine('gce://example.com:one/zone-a/node-1')?.project, 'example.com:one');
    for (const other of [
      '',
      'aws:///eu-central-1a/i-01234567890abcdef',
      'gce://example-1/europe-west3-a',
      'gce://example-1/europe-west3-a/node-1/x',
      'gce://example-1/../node-1',
      'gce://example-1/zone/node-1?x',
      'gce://example-1/zone/node%2f1',
      'gce://EXAMPLE/zone/node-1',
    ])
      assert.equal(parseGceMachine(other), null, other);
  });
});
