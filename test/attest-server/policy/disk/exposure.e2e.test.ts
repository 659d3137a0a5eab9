import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../../../attest-server/cli/offline/verify/verify.ts';
import { disk } from '../../../../attest-server/policy/disk/disk.ts';
import type { DiskPart } from '../../../../attest-server/wire/disk.ts';
import { binaryFrame } from '../../../../attest-server/wire/messages.ts';
import { introduce } from '../../attacker.ts';
import { forgedTpm } from '../../forged-tpm.ts';
import { startTestServer, type TestServer } from '../../running-server.ts';
import { madeEvent } from '../../store/made-records.ts';
import { madeQuote } from '../../verify/made-quote.ts';
import { group, headerOtherwise, proofWith, recordedPart, seenOtherwise } from './made-disk.ts';

const node = 'node-1';
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["*"]
    enrolment: [pin]
    require: [disk]
`;

/** Each test goes on where the one before it ended. */
describe('a leased volume that was open while its node was untrusted', () => {
  let tpm = forgedTpm();
  const resources = new AsyncDisposableStack();
  let world: TestServer;
  let good: DiskPart;
  before(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-exposure-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const file = join(dir, 'policy.yaml');
    await writeFile(file, policy);
    world = resources.use(await startTestServer({ challengeEvery: 0.02, policy: file }));
    await world.pin(node, tpm.ekDigest);
    good = await recordedPart('01-luks2');
    await vouchFor(good, 'disk-1');
  });
  after(() => resources.disposeAsync());

  /** As the server makes a reference of such a volume. */
  async function vouchFor(part: DiskPart, name: string): Promise<void> {
    const about = { name, state: 'active', group, node, by: 'server', at: 0 } as const;
    const { disk: captured, ...reference } = disk.capture!(proofWith(part), about);
    const volumes = captured?.volumes.map((volume) => ({ ...volume, path: '/var/lib/docker' }));
    await world.call('POST', '/v1/references/import', { ...reference, disk: { volumes } });
  }

  /** As `assay disk init` makes it. */
  async function keepKey(): Promise<void> {
    const key = { keyId: 'w1', bytes: Buffer.from('wrapped') };
    const volume = {
      node,
      ekDigest: tpm.ekDigest,
      uuid: randomUUID(),
      name: 'docker',
      path: '/var/lib/docker',
    };
    const kept = {
      ...volume,
      key,
      recovery: key,
      recoveryEscrow: Buffer.from('age'),
      recipients: [],
      createdAt: 0,
      createdBy: 'me',
    };
    assert(await world.store.leases.add(kept, madeEvent('volume.add', node)));
  }

  /** The verdict on one answer with this part, by the server, and by who has its evidence alone. */
  async function shows(part: DiskPart): Promise<string> {
    await using peer = await connected();
    const challenge = await peer.challenge();
    const bytes = Buffer.from(JSON.stringify(part));
    peer.send(binaryFrame('part', bytes));
    const of = { node, hello: peer.hello, channel: peer.channel };
    peer.send(tpm.evidenceOfParts(challenge, of, { disk: bytes }, (data) => madeQuote(tpm.ak, data, {})));
    const { state, codes } = await peer.verdict();
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { verdict } = verifyBundle(bundle, { now: Date.now() });
    const found = [state, ...codes.filter(isOfDisk)].join(' ');
    const offline = verdict.reasons.map(({ code }) => code).filter(isOfDisk);
    assert.equal([verdict.state, ...offline].join(' '), found);
    return found;
  }
  const isOfDisk = (code: string) => /^(key_residue|luks|volume)/.test(code);
  async function connected() {
    const peer = await introduce(world, tpm, node, { hello: { speaks: ['parts', 'codes', 'paths'] } });
    return { ...peer, [Symbol.asyncDispose]: () => peer.close() };
  }

  const broken = () => seenOtherwise(good, { residue: [{ where: 'keyring', name: '%user:cryptsetup:x' }] });

  it('is exposed with the verdict that finds it, and after it is trusted again (row 441)', async () => {
    assert.equal(await shows(good), 'trusted');
    assert.equal(await shows(broken()), 'untrusted key_residue volume_exposed');
    assert.equal(await shows(good), 'trusted volume_exposed');
    assert.equal(await world.metric('assay_nodes_failing_check{check="disk"}'), 0);
  });

  it('is exposed after a restart of the server', async () => {
    await world.restart();
    assert.equal(await shows(good), 'trusted volume_exposed');
  });

  it('is exposed where its node is enrolled again, also with another TPM (row 441)', async () => {
    await keepKey();
    for (const next of [tpm, forgedTpm()]) {
      await world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: 'a new board' });
      tpm = next;
      await world.pin(node, tpm.ekDigest);
      assert.equal(await shows(good), 'trusted volume_exposed');
    }
  });

  it('is exposed with another keyslot (row 441)', async () => {
    const rotated = headerOtherwise(good, (text) => text.replace(/("salt":")[^"]{4}/, '$1AAAA'));
    await vouchFor(rotated, 'disk-2');
    await world.call('POST', '/v1/references/disk-1/retire', { reason: 'rotated' });
    assert.equal(await shows(rotated), 'trusted volume_exposed');
  });

  it('is exposed no more with another volume key', async () => {
    const renewed = headerOtherwise(good, (text) => text.replace(/("digest":")[^"]{4}/, '$1AAAA'));
    await vouchFor(renewed, 'disk-3');
    await world.call('POST', '/v1/references/disk-2/retire', { reason: 'encrypted again' });
    assert.equal(await shows(renewed), 'trusted');
  });
});
