import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { parseBundle } from '../../attest-server/protocol/bundle.ts';
import { parseDiskPart } from '../../attest-server/protocol/disk.ts';
import type { Verdict } from '../../attest-server/protocol/verdict.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { debianKernel } from './debian-kernel.ts';
import { type Guest, makeMachine } from './guest.ts';
import { nodeInitrd, writeNodeImage } from './node-image.ts';

const node = 'worker-1';
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["worker-*"]
    require: [identity, disk]
    disk: {paths: [/var/lib/docker]}
`;
const agent = {
  node,
  servers: ['10.0.2.100:9000'],
  caFile: '/etc/assay/ca.crt',
  stateDir: '/var/lib/assay-agent',
  tpmBroker: '/run/assay/tpm.sock',
  netfilter: '/run/assay/netfilter.sock',
};
/** Its programs as the units of manifests/host start them: the one that speaks to the network has no right at all. */
const start = `
chown -R 65532:65532 /var/lib/assay-agent
chown 0:65532 /run/assay; chmod 0750 /run/assay
program="node /opt/assay/agent/main.js"
umask 007
/usr/bin/setpriv --regid 65532 --init-groups --reuid 0 $program tpm-broker --socket /run/assay/tpm.sock >/run/broker.log 2>&1 &
/usr/bin/setpriv --regid 65532 --init-groups --reuid 0 $program netfilter --socket /run/assay/netfilter.sock >/run/netfilter.log 2>&1 &
$program inspect
/usr/bin/setpriv --reuid 65532 --regid 65532 --clear-groups --inh-caps=-all --bounding-set=-all $program run --config /etc/assay/agent.yaml >/run/agent.log 2>&1 &
echo $! >/run/agent.pid
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
  let dir = '';
  let world: TestServer;
  let guest: Guest;
  const resources = new AsyncDisposableStack();
  before(async function () {
    this.timeout(0);
    dir = await mkdtemp(join(tmpdir(), 'assay-vm-node-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const file = join(dir, 'policy.yaml');
    await writeFile(file, policy);
    world = resources.use(
      await startTestServer({ policy: file, names: ['10.0.2.100', '127.0.0.1'], challengeEvery: 10 }),
    );
    const kernel = resources.use(await debianKernel());
    const image = await writeNodeImage(join(dir, 'root'), kernel, {
      'etc/assay/agent.yaml': JSON.stringify(agent),
      'etc/assay/ca.crt': world.ca,
    });
    const disks = ['c', 'd', 'e'].map((name) => join(dir, name));
    for (const disk of disks) {
      await writeFile(disk, '');
      await truncate(disk, 96 * 1024 * 1024);
    }
    const machine = resources.use(await makeMachine());
    guest = resources.use(
      await machine.boot(
        {
          'EFI/BOOT/BOOTX64.EFI': kernel.loader,
          'loader/loader.conf': 'timeout 0\n',
          'loader/entries/linux.conf':
            'title Linux\nlinux /vmlinuz\ninitrd /initrd.img\noptions console=ttyS0 no_timer_check panic=-1\n',
          vmlinuz: kernel.image,
          'initrd.img': await nodeInitrd(kernel),
        },
        { memory: 2048, disks: [image, ...disks], port: world.server.agentPort },
      ),
    );
  });
  after(() => resources.disposeAsync());

  /** The verdict on evidence of from now on, once what stands against the disk are these codes. */
  async function finds(...codes: readonly string[]): Promise<Verdict> {
    const from = Date.now();
    const found = await world
      .until(async () => {
        const status = await world.status(node);
        // It was challenged at most some seconds before it was judged.
        if (status === null || (status.verifiedAt ?? 0) < from + 5_000) return null;
        const { verdict } = status;
        const against = verdict?.reasons.filter(
          ({ aspect, severity }) => aspect === 'disk' && severity === 'fail',
        );
        return against?.map(({ code }) => code).join() === codes.join() ? verdict : null;
      }, 120_000)
      .catch(() => null);
    if (found !== null) return found;
    const said = await guest.shell('tail -n 20 /run/agent.log /run/broker.log /run/netfilter.log');
    const last = world.verdicts.at(-1)?.verdict.reasons;
    return assert.fail(
      `not ${codes.join() || 'without findings'}: ${JSON.stringify(last, null, 1)}\n${said}`,
    );
  }

  it('is trusted with LUKS2 below /var/lib/docker, by an agent without rights, its broker and its helpers', async () => {
    await guest.shell(`${format('/dev/vdc')} && ${mounted('/dev/vdc')}`);
    await guest.shell(start);
    const waiting = z.object({ items: z.array(z.object({ ek: z.string() })) });
    const ek = await world.until(async () => {
      const { items } = waiting.parse(await world.call('GET', '/v1/enrolments'));
      return items[0]?.ek;
    }, 120_000);
    await world.call('POST', `/v1/enrolments/${node}/approve`, { ek });
    const { state, aspects } = await finds();
    assert.deepEqual([state, aspects.disk], ['trusted', { status: 'affirming', source: 'host' }]);
    const rights = await guest.shell("grep -h '^\\(Uid\\|CapEff\\)' /proc/$(cat /run/agent.pid)/status");
    assert.match(rights, /^Uid:\s+65532\s+65532\s+65532\s+65532\nCapEff:\s+0{16}\n/);
  });

  it('is untrusted once somebody adds a keyslot to the volume that was enrolled', async () => {
    await world.call('POST', '/v1/references', { node, name: 'disk', kind: 'disk' });
    await guest.shell(
      `printf other >/tmp/other; cryptsetup luksAddKey --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /tmp/key /dev/vdc /tmp/other && ${inspect}`,
    );
    const { state } = await finds('luks_extra_keyslot');
    assert.equal(state, 'untrusted');
    await guest.shell(`cryptsetup luksKillSlot -q --key-file /tmp/key /dev/vdc 1 && ${inspect}`);
    await finds();
  });

  it('is untrusted while a directory of the root file system is bound over the path (row 54)', async () => {
    await guest.shell('mkdir -p /srv/plain && mount --bind /srv/plain /var/lib/docker');
    const { reasons } = await finds('path_not_covered');
    assert.ok(reasons.some(({ detail = [] }) => detail.some((line) => line.includes('vdb'))));
    await guest.shell('umount /var/lib/docker');
    await finds();
  });

  it('is trusted with LUKS on a logical volume', async () => {
    await world.call('POST', '/v1/references/disk/revoke', { reason: 'another volume' });
    await guest.shell(
      `${unmounted} && exec 4>&- && pvcreate -q /dev/vdd && vgcreate -q vg /dev/vdd && lvcreate -q -y -Wn -Zn -n docker -L 64M vg && dmsetup mknodes && ${format('/dev/mapper/vg-docker')} && ${mounted('/dev/mapper/vg-docker')} && ${inspect}`,
    );
    const { state } = await finds();
    assert.equal(state, 'trusted');
    const { parts } = parseBundle(JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`)));
    const { devices } = parseDiskPart(Buffer.from(parts?.disk?.bytes ?? '', 'base64'));
    assert.deepEqual(devices.flatMap(({ mapping }) => mapping?.uuid.slice(0, 4) ?? []).toSorted(), [
      'CRYP',
      'LVM-',
    ]);
  });

  it('is untrusted with a mapping that encrypts nothing, though its header is one of LUKS2 (row 50)', async () => {
    await guest.shell(
      `${unmounted} && : >/tmp/key && cryptsetup luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --cipher cipher_null-ecb -q /dev/vde /tmp/key && ${mounted('/dev/vde')} && ${inspect}`,
    );
    const { state } = await finds('luks_null_cipher');
    assert.equal(state, 'untrusted');
  });
});
