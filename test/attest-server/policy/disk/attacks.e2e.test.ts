import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { disk } from '../../../../attest-server/policy/disk/disk.ts';
import { type DiskPart, parseDiskPart } from '../../../../attest-server/wire/disk.ts';
import { binaryFrame } from '../../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../../attest-server/wire/reasons.ts';
import { introduce, type Peer } from '../../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../../forged-tpm.ts';
import { startTestServer, type TestServer } from '../../running-server.ts';
import { madeQuote } from '../../verify/made-quote.ts';
import {
  deviceOtherwise,
  group,
  headerOtherwise,
  inspectedOf,
  mappingOf,
  proofWith,
  recordedPart,
  seenOtherwise,
} from './made-disk.ts';

const policy = [
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
  '  - name: workers\n    nodes: ["*"]\n    enrolment: [pin]\n    require: [disk]\n',
].join('\n');

/** Each attack begins with a node that is trusted, and ends so. */
describe('attacks on a disk, over a real connection', () => {
  let dir = '';
  let world: TestServer;
  let good: DiskPart;
  const agents = new Map<
    string,
    { readonly tpm: ForgedTpm; readonly peer: Peer & { readonly hello: string } }
  >();

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-disk-attacks-'));
    await writeFile(join(dir, 'policy.yaml'), policy);
    world = await startTestServer({ challengeEvery: 0.02, policy: join(dir, 'policy.yaml') });
    good = await recordedPart('01-luks2');
    for (const node of ['node-1', 'node-2']) {
      const tpm = forgedTpm();
      await world.pin(node, tpm.ekDigest);
      const peer = await introduce(world, tpm, node, { hello: { speaks: ['parts', 'codes', 'paths'] } });
      agents.set(node, { tpm, peer });
    }
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  /** The verdict on one answer with this part. */
  async function shows(part: DiskPart, node = 'node-1') {
    const { tpm, peer } = agents.get(node) ?? assert.fail();
    const challenge = await peer.challenge();
    assert.deepEqual(challenge.paths, ['/var/lib/docker', '/var/lib/containerd', '/var/lib/kubelet']);
    assert.ok(challenge.parts?.includes('disk'));
    const bytes = Buffer.from(JSON.stringify(part));
    peer.send(binaryFrame('part', bytes));
    const of = { node, hello: peer.hello, channel: peer.channel };
    peer.send(tpm.evidenceOfParts(challenge, of, { disk: bytes }, (data) => madeQuote(tpm.ak, data, {})));
    const { state, codes } = await peer.verdict();
    return { state, codes: codes.filter((code) => /^(luks|mount|path|key_residue)/.test(code)) };
  }

  /** State, code, metric, history and audit log. */
  async function finds(code: ReasonCode, part: DiskPart): Promise<void> {
    assert.deepEqual(await shows(good), { state: 'trusted', codes: [] });
    assert.deepEqual(await shows(part), { state: 'untrusted', codes: [code] });
    assert.equal((await world.status('node-1'))?.verdict?.reasons[0]?.code, code);
    assert.equal(await world.metric('assay_nodes_failing_check{check="disk"}'), 1);
    const entries = (await world.audit()).filter(
      ({ subject, action }) => subject === 'node-1' && action === 'verdict',
    );
    // What was told of a node that flaps has a row with others.
    assert.ok(entries.some((entry) => entry.code === code));
    assert.deepEqual(await shows(good), { state: 'trusted', codes: [] });
  }
  const mounted = (...lines: readonly string[]) => ({ ...good, mounts: [...good.mounts, ...lines] });
  const uuid = () => inspectedOf(good).headers[0]?.uuid ?? '';

  it('a mapping with a null cipher under a good header (row 50)', () =>
    finds(
      'luks_null_cipher',
      deviceOtherwise(
        good,
        'dm-0',
        mappingOf(
          'docker_crypt',
          `CRYPT-LUKS2-${uuid().replaceAll('-', '')}-d`,
          '0 9 crypt cipher_null-ecb 0 0 254:48 0',
        ),
      ),
    ));

  it('another disk at the path (row 52)', () =>
    finds('mount_not_encrypted', {
      ...good,
      mounts: good.mounts.map((line) => line.replace(' 253:0 ', ' 254:64 ')),
    }));

  it('another disk over what the kubelet keeps of its pods, as if it were a volume of theirs (row 331)', async () => {
    const kubelet = '/var/lib/kubelet';
    const pod = `${kubelet}/pods/0b9c2f3e-5d1a-4c7e-9a51-2f6d8c0e1b77`;
    const covered = {
      ...good,
      mounts: good.mounts.map((line) => line.replaceAll('/var/lib/docker', kubelet)),
      paths: good.paths.map(({ path }) => ({ path, real: path === kubelet ? kubelet : null })),
    };
    const over = (place: string) => ({
      ...covered,
      mounts: [...covered.mounts, `99 34 254:64 / ${place} rw - ext4 /dev/vde rw`],
    });
    assert.deepEqual(await shows(over(`${pod}/volumes/kubernetes.io~csi/pvc-1/mount`)), {
      state: 'trusted',
      codes: ['path_not_covered'],
    });
    for (const place of [
      'volumes/kubernetes.io~empty-dir/data',
      'volumes/kubernetes.io~csi/pvc-1',
      'volumes',
    ])
      await finds('path_not_covered', over(`${pod}/${place}`));
  });

  it('a header in reencryption (row 53)', () =>
    finds(
      'luks_reencrypt_state',
      headerOtherwise(good, (text) =>
        text.replace('"config":{', '"config":{"requirements":{"mandatory":["online-reencrypt-v2"]},'),
      ),
    ));

  it('a directory over the path (row 54)', () =>
    finds('path_not_covered', mounted('40 34 254:0 /srv/plain /var/lib/docker rw - ext4 /dev/vda rw')));

  it('a keyslot more (row 55)', () =>
    finds(
      'luks_extra_keyslot',
      headerOtherwise(good, (text) =>
        text.replace('"keyslots":{', '"keyslots":{"7":{"type":"luks2","key_size":64},'),
      ),
    ));

  it('a key in a keyring (row 56)', () =>
    finds(
      'key_residue',
      seenOtherwise(good, { residue: [{ where: 'keyring', name: '%user:cryptsetup:x' }] }),
    ));

  it('a source that looks like another line of the table (row 71)', () =>
    finds('mount_not_encrypted', {
      ...good,
      mounts: good.mounts.map((line) =>
        line
          .replace(' 253:0 ', ' 254:64 ')
          .replace('/dev/mapper/docker_crypt', '\\0409\\0401\\040253:0\\040/\\040/var/lib/docker'),
      ),
    }));

  it('a header that was swapped since it opened the volume (row 107)', () =>
    finds(
      'luks_header_changed',
      seenOtherwise(good, {
        headers: inspectedOf(good).headers.map((header) => ({
          ...header,
          uuid: header.uuid.replace(/^a/, 'b'),
        })),
      }),
    ));

  it('the volume of another node (row 55)', async () => {
    assert.equal((await shows(good)).state, 'trusted');
    assert.deepEqual((await shows(good, 'node-2')).codes, ['luks_key_shared']);
    assert.deepEqual(await shows(good), { state: 'untrusted', codes: ['luks_key_shared'] });
    assert.equal(await world.metric('assay_nodes_failing_check{check="disk"}'), 2);
    // Hiding it helps nobody; a volume of its own does.
    assert.equal((await shows(seenOtherwise(good, { headers: [] }), 'node-2')).state, 'untrusted');
    assert.equal((await shows(otherVolume(good), 'node-2')).state, 'trusted');
    assert.equal((await shows(good)).state, 'trusted');
  });

  it('another volume where the one belongs whose key is leased (row 409)', async () => {
    const about = { name: 'leased', state: 'active', group, node: 'node-1', by: 'server', at: 0 } as const;
    const { disk: captured, ...reference } = disk.capture!(proofWith(good), about);
    const volumes = captured?.volumes.map((volume) => ({ ...volume, path: '/var/lib/docker' }));
    await world.call('POST', '/v1/references/import', { ...reference, disk: { volumes } });
    await finds('luks_header_changed', otherVolume(good, 'd'));
    await world.call('POST', '/v1/references/leased/retire', { reason: 'over' });
    assert.deepEqual(await shows(otherVolume(good, 'd')), { state: 'trusted', codes: [] });
  });

  it('another volume key behind the enrolled UUID (row 51)', async () => {
    const about = { name: 'enrolled', state: 'active', group, node: 'node-1', by: 'me', at: 0 } as const;
    await world.call('POST', '/v1/references/import', disk.capture!(proofWith(good), about));
    await finds(
      'luks_header_changed',
      headerOtherwise(good, (text) => text.replace(/"digest":"[A-Za-z0-9]/, '"digest":"/')),
    );
    const reasons = (await world.status('node-1'))?.verdict?.aspects.disk;
    assert.deepEqual(reasons, { status: 'affirming', source: 'host', references: ['enrolled'] });
  });
});

/** With another UUID and another volume key. */
function otherVolume(part: DiskPart, begin = 'c'): DiskPart {
  const old = inspectedOf(part).headers[0]?.uuid ?? '';
  const uuid = old.replace(/^a/, begin);
  const text = JSON.stringify(part)
    .replaceAll(old, uuid)
    .replaceAll(old.replaceAll('-', ''), uuid.replaceAll('-', ''));
  return headerOtherwise(parseDiskPart(Buffer.from(text)), (metadata) =>
    metadata.replace(/"digest":"[A-Za-z0-9]{2}/, `"digest":"+${begin}`),
  );
}
