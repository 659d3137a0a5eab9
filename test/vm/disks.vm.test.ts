import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { parseBundle } from '../../attest-server/formats/bundle.ts';
import { parseDiskPart } from '../../attest-server/wire/disk.ts';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { bootNode, type NodeInGuest } from './node-in-guest.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["worker-*"]
    require: [identity, disk]
    disk: {paths: [/var/lib/docker]}
`;
const inspect = 'node /opt/assay/agent/main.js inspect disk';
const format = (device: string, options = '') =>
  `printf key >/tmp/key; cryptsetup luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 ${options} -q ${device} /tmp/key`;
const mounted = (device: string) =>
  `cryptsetup open --key-file /tmp/key ${device} docker && mkfs.ext4 -q /dev/mapper/docker && mount /dev/mapper/docker /var/lib/docker`;
const unmounted = 'umount /var/lib/docker && cryptsetup close docker';

/** Each test goes on where the one before it ended. */
describe('a virtual machine whose kernel encrypts disks', function () {
  this.timeout(240_000);
  let node: NodeInGuest;
  before(async function () {
    this.timeout(0);
    node = await bootNode(policy);
  });
  after(() => node?.[Symbol.asyncDispose]());

  /** The verdict on evidence of from now on, once what stands against the disk are these codes. */
  function finds(...codes: readonly string[]): Promise<Verdict> {
    return node.judged(codes.join() || 'without findings', ({ reasons }) => {
      const against = reasons.filter(({ aspect, severity }) => aspect === 'disk' && severity === 'fail');
      return against.map(({ code }) => code).join() === codes.join();
    });
  }

  it('is trusted with LUKS2 below /var/lib/docker, by an agent without rights, its broker and its helpers', async () => {
    await node.guest.shell(`${format('/dev/vdc')} && ${mounted('/dev/vdc')}`);
    await node.enrol();
    const { state, aspects } = await finds();
    assert.deepEqual([state, aspects.disk], ['trusted', { status: 'affirming', source: 'host' }]);
    const rights = await node.guest.shell("grep -h '^\\(Uid\\|CapEff\\)' /proc/$(cat /run/agent.pid)/status");
    assert.match(rights, /^Uid:\s+65532\s+65532\s+65532\s+65532\nCapEff:\s+0{16}\n/);
  });

  it('is untrusted once somebody adds a keyslot to the volume that was enrolled', async () => {
    await node.world.call('POST', '/v1/references', { node: node.name, name: 'disk', kind: 'disk' });
    await node.guest.shell(
      `printf other >/tmp/other; cryptsetup luksAddKey --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /tmp/key /dev/vdc /tmp/other && ${inspect}`,
    );
    const { state } = await finds('luks_extra_keyslot');
    assert.equal(state, 'untrusted');
    await node.guest.shell(`cryptsetup luksKillSlot -q --key-file /tmp/key /dev/vdc 1 && ${inspect}`);
    await finds();
  });

  it('is untrusted while a directory of the root file system is bound over the path (row 54)', async () => {
    await node.guest.shell('mkdir -p /srv/plain && mount --bind /srv/plain /var/lib/docker');
    const { reasons } = await finds('path_not_covered');
    assert.ok(reasons.some(({ detail = [] }) => detail.some((line) => line.includes('vdb'))));
    await node.guest.shell('umount /var/lib/docker');
    await finds();
  });

  it('is trusted with LUKS on a logical volume', async () => {
    await node.world.call('POST', '/v1/references/disk/revoke', { reason: 'another volume' });
    await node.guest.shell(
      `${unmounted} && pvcreate -q /dev/vdd && vgcreate -q vg /dev/vdd && lvcreate -q -y -Wn -Zn -n docker -L 64M vg && dmsetup mknodes && ${format('/dev/mapper/vg-docker')} && ${mounted('/dev/mapper/vg-docker')} && ${inspect}`,
    );
    const { state } = await finds();
    assert.equal(state, 'trusted');
    const { parts } = parseBundle(
      JSON.stringify(await node.world.call('GET', `/v1/nodes/${node.name}/bundle`)),
    );
    const { devices } = parseDiskPart(Buffer.from(parts?.disk?.bytes ?? '', 'base64'));
    assert.deepEqual(devices.flatMap(({ mapping }) => mapping?.uuid.slice(0, 4) ?? []).toSorted(), [
      'CRYP',
      'LVM-',
    ]);
  });

  it('is untrusted with a mapping that encrypts nothing, though its header is one of LUKS2 (row 50)', async () => {
    await node.guest.shell(
      `${unmounted} && : >/tmp/key && cryptsetup luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --cipher cipher_null-ecb -q /dev/vde /tmp/key && ${mounted('/dev/vde')} && ${inspect}`,
    );
    const { state } = await finds('luks_null_cipher');
    assert.equal(state, 'untrusted');
  });
});
