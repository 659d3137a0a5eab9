import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { captureDisk } from '../../../../attest-server/policy/disk/capture.ts';
import { volumeMarks } from '../../../../attest-server/policy/disk/memory.ts';
import type { DiskPart } from '../../../../attest-server/wire/disk.ts';
import {
  codesOf,
  group,
  inspectedOf,
  judged,
  madeDevice,
  mappingOf,
  proofWith,
  recordedPart,
  seenOtherwise,
} from './made-disk.ts';

const kubelet = '/var/lib/kubelet';
const pod = 'pods/0b9c2f3e-5d1a-4c7e-9a51-2f6d8c0e1b77';
const staticPod = `pods/${'0123456789abcdef'.repeat(2)}`;
const sha256 = 'ab'.repeat(32);
/** The disk of the machine without LUKS, a server in a network, memory, huge pages, and the folder of devices. */
const plain = (at: string) => `254:0 /x ${at} rw,relatime - ext4 /dev/vda rw`;
const nfs = (at: string) => `0:60 / ${at} rw,relatime - nfs4 10.0.0.1:/export rw,vers=4.2`;
const memory = (at: string) => `0:61 / ${at} rw,relatime - tmpfs tmpfs rw,size=1024k`;
const hugePages = (at: string) => `0:62 / ${at} rw,relatime - hugetlbfs nodev rw,pagesize=2M`;
const device = (at: string) => `0:6 /vdb ${at} rw,nosuid - devtmpfs dev rw`;

/** As pkg/volume of Kubernetes 1.33 places them; rbd and cephfs as 1.30 did. */
const volumes: readonly (readonly [
  what: string,
  kinds: string,
  places: readonly string[],
  as?: typeof plain,
])[] = [
  [
    'a CSI driver, staged and published',
    'csi',
    [
      `plugins/kubernetes.io/csi/ebs.csi.aws.com/${sha256}/globalmount`,
      `${pod}/volumes/kubernetes.io~csi/pvc-1/mount`,
    ],
  ],
  [
    'a CSI driver that stages in a folder of the volume',
    'csi',
    [
      `plugins/kubernetes.io/csi/rbd.csi.ceph.com/${sha256}/globalmount/0001-0024-fed5480a`,
      `${pod}/volumes/kubernetes.io~csi/pvc-1/mount`,
    ],
  ],
  ['a CSI driver of before 1.24', 'csi', ['plugins/kubernetes.io/csi/pv/pvc-1/globalmount']],
  ['a CSI driver of a network', 'csi', [`${pod}/volumes/kubernetes.io~csi/pvc-1/mount`], nfs],
  ['NFS', 'nfs', [`${pod}/volumes/kubernetes.io~nfs/data`], nfs],
  ['NFS of a static pod', 'nfs', [`${staticPod}/volumes/kubernetes.io~nfs/data`], nfs],
  [
    'iSCSI',
    'iscsi',
    [
      'plugins/kubernetes.io/iscsi/iface-default/10.0.0.2:3260-iqn.2001-04.com.example:storage-lun-0',
      `${pod}/volumes/kubernetes.io~iscsi/data`,
    ],
  ],
  [
    'Fibre Channel',
    'fc',
    ['plugins/kubernetes.io/fc/50060e801049cfd1-lun-0', `${pod}/volumes/kubernetes.io~fc/data`],
  ],
  [
    'RBD',
    'rbd',
    ['plugins/kubernetes.io/rbd/mounts/pool-image-one', `${pod}/volumes/kubernetes.io~rbd/data`],
  ],
  ['CephFS', 'cephfs', [`${pod}/volumes/kubernetes.io~cephfs/data`], nfs],
  [
    'a local disk',
    'local-volume',
    [
      'plugins/kubernetes.io/local-volume/mounts/local-pv-1',
      `${pod}/volumes/kubernetes.io~local-volume/local-pv-1`,
    ],
  ],
  ['Portworx', 'portworx-volume', [`${pod}/volumes/kubernetes.io~portworx-volume/data`]],
  [
    'a FlexVolume',
    'flexvolume',
    ['plugins/kubernetes.io/flexvolume/example.com/disk/mounts/data', `${pod}/volumes/example.com~disk/data`],
  ],
  ['a subPath', 'subPath', [`${pod}/volume-subpaths/pvc-1/app/0`, `${pod}/volume-subpaths/pvc-1/app/12`]],
  [
    'a block device of a CSI driver',
    'block',
    [
      'plugins/kubernetes.io/csi/volumeDevices/staging/pvc-1',
      `plugins/kubernetes.io/csi/volumeDevices/publish/pvc-1/${pod.slice(5)}`,
      `plugins/kubernetes.io/csi/volumeDevices/pvc-1/dev/${pod.slice(5)}`,
      `${pod}/volumeDevices/kubernetes.io~csi/pvc-1`,
    ],
    device,
  ],
  [
    'a block device in tree',
    'block',
    [
      `plugins/kubernetes.io/local-volume/volumeDevices/local-pv-1/${pod.slice(5)}`,
      `plugins/kubernetes.io/iscsi/volumeDevices/iface-default/10.0.0.2:3260-iqn.x-lun-0/${pod.slice(5)}`,
    ],
    device,
  ],
];

/** What a kubelet keeps in memory. */
const inMemory: readonly (readonly [what: string, place: string, as?: typeof plain])[] = [
  ['a Secret', `${pod}/volumes/kubernetes.io~secret/token`],
  ['a projected token', `${pod}/volumes/kubernetes.io~projected/kube-api-access-x7k2p`],
  ['an emptyDir of memory', `${pod}/volumes/kubernetes.io~empty-dir/cache`],
  ['huge pages', `${pod}/volumes/kubernetes.io~empty-dir/pages`, hugePages],
  ['secrets of a CSI driver', `${pod}/volumes/kubernetes.io~csi/secrets-store/mount`],
  ['a subPath of memory', `${pod}/volume-subpaths/cache/app/0`],
];

/** Attacks, and what nobody mounts: the kubelet's own data, or places that only look like a volume's. */
const uncovered = [
  'pods',
  pod,
  `${pod}/volumes`,
  `${pod}/volumes/kubernetes.io~csi`,
  `${pod}/volumes/kubernetes.io~csi/pvc-1`,
  `${pod}/volumes/kubernetes.io~csi/pvc-1/mount/deeper`,
  `${pod}/volumes/kubernetes.io~csi/pvc-1/mount//deleted`,
  `${pod}/volumes/kubernetes.io~nfs/a/b`,
  ...['empty-dir', 'secret', 'configmap', 'projected', 'downward-api', 'git-repo', 'host-path', 'nfs2'].map(
    (plugin) => `${pod}/volumes/kubernetes.io~${plugin}/data`,
  ),
  `pods/../volumes/kubernetes.io~nfs/data`,
  `pods/not-a-uid/volumes/kubernetes.io~nfs/data`,
  `x/${pod}/volumes/kubernetes.io~nfs/data`,
  `${pod}/volumes/nfs/data`,
  `${pod}/volume-subpaths/pvc-1/app/zero`,
  `${pod}/volume-subpaths/pvc-1/app`,
  `${pod}/containers/app/0`,
  'plugins',
  'plugins/kubernetes.io',
  'plugins/kubernetes.io/csi',
  `plugins/kubernetes.io/csi/ebs.csi.aws.com/${sha256}`,
  'plugins/ebs.csi.aws.com',
  'plugins_registry',
  'device-plugins',
];

describe('a volume of a pod', () => {
  let good: DiskPart;
  before(async () => {
    const docker = await recordedPart('01-luks2');
    const mounts = docker.mounts.map((line) => line.replaceAll('/var/lib/docker', kubelet));
    const paths = docker.paths.map(({ path }) => ({ path, real: path === kubelet ? kubelet : null }));
    good = { ...docker, mounts, paths };
  });
  const mounted = (...lines: readonly string[]): DiskPart => ({
    ...good,
    mounts: [...good.mounts, ...lines.map((line, index) => `${900 + index} 34 ${line}`)],
  });
  const withVolumes = (places: readonly string[], as: typeof plain) =>
    mounted(...places.map((place) => as(`${kubelet}/${place}`)));

  it('is nothing where there is none', () => {
    const { affirmed, findings } = judged(good);
    assert.deepEqual([affirmed, findings], [true, []]);
  });

  for (const [what, kind, places, as = plain] of volumes)
    it(`is reported and costs nothing: ${what}`, () => {
      const found = judged(withVolumes(places, as));
      assert.deepEqual([codesOf(found), found.affirmed], [['[path_not_covered]'], true]);
      assert.equal(found.findings[0]?.severity, 'info');
      assert.ok(found.findings[0]?.text.includes(`(${kind})`), found.findings[0]?.text);
    });

  for (const [what, place, as = memory] of inMemory)
    it(`is not told where it is memory: ${what}`, () => {
      for (const rules of [undefined, { volumes: 'encrypted' }])
        assert.deepEqual(codesOf(judged(withVolumes([place], as), { rules })), []);
    });

  for (const place of uncovered)
    it(`is none at ${place}, which stays uncovered (row 331)`, () => {
      const found = judged(withVolumes([place], plain));
      assert.deepEqual([codesOf(found), found.affirmed], [['path_not_covered'], false]);
    });

  it('is of every kind on twenty workers, each of which keeps its trust', () => {
    // Each worker has three places in volumes, and one in memory; together all.
    const held = volumes.flatMap(([, , places, as = plain]) =>
      places.map((place) => as(`${kubelet}/${place}`)),
    );
    const kept = inMemory.map(([, place, as = memory]) => as(`${kubelet}/${place}`));
    const workers = Array.from({ length: 20 }, (_, worker) =>
      mounted(
        ...held.filter((_, place) => (place - worker) % 20 < 3),
        ...kept.slice(worker % 6, (worker % 6) + 1),
      ),
    );
    const shown = new Set(
      workers.flatMap(({ mounts }) => mounts.map((line) => line.split(' ').slice(2).join(' '))),
    );
    for (const line of [...held, ...kept]) assert(shown.has(line), line);
    assert.equal(workers.filter((worker) => judged(worker).affirmed).length, 20);
  });

  it('says the same of many as of one', () => {
    const said = (count: number) =>
      judged(
        withVolumes(
          Array.from({ length: count }, (_, index) => `${pod}/volumes/kubernetes.io~nfs/${index}`),
          nfs,
        ),
      ).findings.map(({ evidence: _, ...finding }) => finding);
    assert.deepEqual(said(500), said(1));
  });

  it('is what a server in the network adds to it, and no device inside of it', () => {
    const at = `${kubelet}/${pod}/volumes/kubernetes.io~nfs/data`;
    const below = (line: string) => ({
      ...good,
      mounts: [...good.mounts, `900 34 ${nfs(at)}`, `901 900 ${line}`],
    });
    assert.deepEqual(codesOf(judged(below(nfs(`${at}/home`)))), ['[path_not_covered]']);
    assert.deepEqual(codesOf(judged(below(plain(`${at}/home`)))), ['path_not_covered', '[path_not_covered]']);
  });

  it('must be encrypted where the policy says so, which a network never does', () => {
    const rules = { volumes: 'encrypted' };
    for (const [what, , places, as = plain] of volumes)
      assert.deepEqual(
        new Set(codesOf(judged(withVolumes(places, as), { rules }))),
        new Set(['path_not_covered']),
        what,
      );
    const at = `${pod}/volumes/kubernetes.io~local-volume/data`;
    const encrypted = withVolumes([at], (place) => `253:0 /x ${place} rw - ext4 /dev/mapper/docker_crypt rw`);
    assert.deepEqual(codesOf(judged(encrypted, { rules })), []);
  });

  describe('with a LUKS header of its own', () => {
    const uuid = '11111111-2222-4333-8444-555555555555';
    let part: DiskPart;
    before(() => {
      const at = `${kubelet}/${pod}/volumes/kubernetes.io~csi/pvc-1/mount`;
      const [first] = inspectedOf(good).headers;
      assert.ok(first !== undefined);
      const metadata = first.metadata?.replace(/"digest":"[A-Za-z0-9]/, '"digest":"/') ?? null;
      const with_ = mounted(`253:9 / ${at} rw - ext4 /dev/mapper/pvc-1 rw`);
      const name = `CRYPT-LUKS1-${uuid.replaceAll('-', '')}-pvc-1`;
      const table = '0 491520 crypt aes-cbc-essiv:sha256 :32:logon:x 0 254:80 4096';
      part = seenOtherwise(
        {
          ...with_,
          devices: [
            ...with_.devices,
            madeDevice('253:9', 'dm-9', { slaves: ['254:80'], ...mappingOf('pvc-1', name, table) }),
            madeDevice('254:80', 'vdf', {}),
          ],
        },
        { headers: [...inspectedOf(good).headers, { ...first, device: '254:80', uuid, metadata }] },
      );
    });

    it('is judged by no rule on the node’s own volumes', () => {
      const { affirmed, findings } = judged(part);
      assert.deepEqual([affirmed, findings], [true, []]);
    });

    it('is not the node’s: who has it next shares no volume with this one, and no reference has it', () => {
      assert.deepEqual(volumeMarks(part), volumeMarks(good));
      const about = { name: 'r', state: 'active', group, node: 'n', by: 'me', at: 0 } as const;
      const volumesOf = (one: DiskPart) => captureDisk(proofWith(one), about).disk?.volumes;
      assert.deepEqual(volumesOf(part), volumesOf(good));
    });
  });
});
