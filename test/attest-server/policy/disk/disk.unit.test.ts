import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { reference as referenceSchema } from '../../../../attest-server/formats/reference.ts';
import { disk } from '../../../../attest-server/policy/disk/disk.ts';
import type { DiskPart } from '../../../../attest-server/wire/disk.ts';
import { limits } from '../../../../attest-server/wire/limits.ts';
import {
  codesOf,
  deviceOtherwise,
  group,
  headerOtherwise,
  inspectedOf,
  judged,
  judgedNode,
  madeDevice,
  mappingOf,
  proofWith,
  recordedPart,
  seenOtherwise,
} from './made-disk.ts';

const crypt = (on: string, cipher = 'aes-xts-plain64', key = ':64:logon:cryptsetup:x') =>
  `0 491520 crypt ${cipher} ${key} 0 ${on} 32768`;
const luks = (uuid: string, name: string) => `CRYPT-LUKS2-${uuid.replaceAll('-', '')}-${name}`;
const mount = (
  id: number,
  parent: number,
  device: string,
  root: string,
  at: string,
  type = 'ext4',
  of = 'x',
) => `${id} ${parent} ${device} ${root} ${at} rw,relatime - ${type} ${of} rw`;

describe('what lies below /var/lib/docker', () => {
  let good: DiskPart;
  let uuid: string;
  before(async () => {
    good = await recordedPart('01-luks2');
    uuid = inspectedOf(good).headers[0]?.uuid ?? '';
  });
  const with_ = (part: DiskPart, ...mounts: string[]) => ({ ...part, mounts: [...part.mounts, ...mounts] });
  const add = (part: DiskPart, ...devices: DiskPart['devices']) => ({
    ...part,
    devices: [
      ...part.devices.filter(({ device }) => !devices.some((one) => one.device === device)),
      ...devices,
    ],
  });
  /** Mounted at the path in place of the LUKS2 mapping. */
  const on = (device: string, ...devices: DiskPart['devices']) =>
    add(
      { ...good, mounts: good.mounts.map((line) => line.replace(/ 253:0 \/ \/var/, ` ${device} / /var`)) },
      ...devices,
    );
  const header = (device: string, other = uuid) => {
    const [first] = inspectedOf(good).headers;
    assert.ok(first !== undefined);
    return { ...first, device, uuid: other };
  };

  it('is affirmed by the node’s word where all of it is LUKS2', () => {
    const { affirmed, source, findings } = judged(good);
    assert.deepEqual([affirmed, source, findings], [true, 'host', []]);
  });

  it('encrypts nothing where the live mapping has a null cipher under a good header (row 50)', () => {
    for (const table of [
      crypt('254:48', 'cipher_null-ecb', '0'),
      crypt('254:48', 'capi:ecb(cipher_null)-plain', '-'),
      crypt('254:48', 'aes-xts-plain64', '-'),
    ]) {
      const found = judged(deviceOtherwise(good, 'dm-0', mappingOf('docker_crypt', luks(uuid, 'd'), table)));
      assert.deepEqual([codesOf(found), found.affirmed], [['luks_null_cipher'], false], table);
    }
  });

  it('is told where the header was swapped for one with a null cipher, whatever is live (row 50)', () => {
    const part = headerOtherwise(good, (text) =>
      text.replaceAll('"encryption":"aes-xts-plain64"', '"encryption":"cipher_null-ecb"'),
    );
    assert.deepEqual(codesOf(judged(part)), ['luks_null_cipher']);
  });

  describe('beside a reference', () => {
    let reference: Reference;
    before(() => {
      reference = disk.capture!(proofWith(good), {
        name: 'r',
        state: 'active',
        group,
        node: 'n',
        by: 'me',
        at: 0,
      });
    });

    it('is captured without what opens it, and known again', () => {
      assert.deepEqual(referenceSchema.parse(JSON.parse(JSON.stringify(reference))), reference);
      const found = judged(good, { references: [reference] });
      assert.deepEqual([found.affirmed, found.references], [true, ['r']]);
    });

    it('is another volume, or another volume key (row 51)', () => {
      const other = uuid.replace(/^a/, 'b');
      const cases: readonly (readonly [string, DiskPart])[] = [
        [
          'uuid',
          deviceOtherwise(
            seenOtherwise(good, { headers: [header('254:48', other)] }),
            'dm-0',
            mappingOf('d', luks(other, 'd'), crypt('254:48')),
          ),
        ],
        ['digest', headerOtherwise(good, (text) => text.replace(/"digest":"[A-Za-z0-9]/, '"digest":"/'))],
        ['keyslot', headerOtherwise(good, (text) => text.replace('"iterations":1000', '"iterations":1001'))],
        ['bytes', headerOtherwise(good, () => '{')],
      ];
      for (const [what, part] of cases)
        assert.ok(codesOf(judged(part, { references: [reference] })).includes('luks_header_changed'), what);
    });

    it('is another volume where the one belongs whose key is leased, and elsewhere nothing is demanded (row 409)', () => {
      const leased = (path: string): Reference => ({
        ...reference,
        disk: { volumes: reference.disk!.volumes.map((volume) => ({ ...volume, path })) },
      });
      const by = (part: DiskPart, ...references: readonly Reference[]) => {
        const found = judged(part, { references });
        return [codesOf(found), found.affirmed, found.references];
      };
      const [docker, kubelet] = [leased('/var/lib/docker'), leased('/var/lib/kubelet')];
      assert.deepEqual(by(good, docker), [[], true, ['r']]);
      const otherUuid = uuid.replace(/^a/, 'b');
      const other = deviceOtherwise(
        seenOtherwise(good, { headers: [header('254:48', otherUuid)] }),
        'dm-0',
        mappingOf('d', luks(otherUuid, 'd'), crypt('254:48')),
      );
      assert.deepEqual(by(other, docker), [['luks_header_changed'], false, []]);
      assert.deepEqual(by(other, kubelet), [[], true, []]);
      // What somebody captured there does not make it the volume whose key is leased.
      const captured = {
        ...reference,
        name: 'captured',
        disk: { volumes: reference.disk!.volumes.map((volume) => ({ ...volume, uuid: otherUuid })) },
      };
      assert.deepEqual(by(other, captured), [[], true, ['captured']]);
      assert.deepEqual(by(other, captured, docker), [['luks_header_changed'], false, []]);
      assert.deepEqual(by(other, captured, { ...docker, state: 'retired' }), [[], true, ['captured']]);
    });

    it('has a keyslot or a token that nobody enrolled (row 55)', () => {
      for (const change of [
        (text: string) => text.replace('"keyslots":{', '"keyslots":{"7":{"type":"luks2","key_size":64},'),
        (text: string) =>
          text.replace(/"tokens":\s*\{/, '"tokens":{"0":{"type":"systemd-tpm2","keyslots":[]}'),
      ]) {
        const found = judged(headerOtherwise(good, change), { references: [reference] });
        assert.deepEqual(codesOf(found), ['luks_extra_keyslot']);
        assert.equal(found.findings[0]?.reference, 'r');
      }
    });

    it('counts for its own node, until it expires, and for a node without one nothing is demanded', () => {
      const other = { ...reference, captured: { by: 'me', node: 'm', at: '2026-01-01T00:00:00Z' } };
      assert.equal(judged(good, { references: [other] }).affirmed, true);
      const two = headerOtherwise(good, (text) =>
        text.replace('"keyslots":{', '"keyslots":{"7":{"type":"luks2"},'),
      );
      const expires = '1970-01-01T00:00:01Z';
      const by = (at: number) =>
        codesOf(judged(two, { rules: { keyslots: 9 }, references: [{ ...reference, expires }], at }));
      assert.deepEqual([by(999), by(1000)], [['luks_extra_keyslot'], []]);
    });

    it('is demanded where the policy names it, and a revoked one is refused everywhere', () => {
      assert.deepEqual(codesOf(judged(good, { rules: { references: ['other'] }, references: [reference] })), [
        'no_reference',
      ]);
      assert.deepEqual(
        codesOf(judged(good, { references: [{ ...reference, state: 'revoked' }], node: 'm' })),
        ['revoked_reference'],
      );
    });

    it('is none of a node that does not show its headers, or reencrypts', () => {
      const about = { name: 'r', state: 'active', group, node: 'n', by: 'me', at: 0 } as const;
      for (const part of [
        null,
        { ...good, inspected: { cause: 'no inspect' } },
        seenOtherwise(good, { headers: [] }),
        headerOtherwise(good, (text) =>
          text.replace('"config":{', '"config":{"requirements":{"mandatory":["online-reencrypt-v2"]},'),
        ),
      ])
        assert.throws(() => disk.capture!(proofWith(part), about), { name: 'CaptureError' });
    });
  });

  it('is another disk with the same UUID of its file system (row 52)', () => {
    assert.deepEqual(codesOf(judged(on('254:64'))), ['mount_not_encrypted']);
  });

  it('is being reencrypted while it is open, through the mappings that cryptsetup makes for that (row 53)', () => {
    for (const helper of ['CRYPT-SUBDEV-x-hot', 'CRYPT-TEMP-hot']) {
      const part = add(
        headerOtherwise(good, (text) =>
          text.replace('"keyslots":{', '"keyslots":{"1":{"type":"reencrypt"},'),
        ),
        madeDevice('253:0', 'dm-0', {
          slaves: ['253:1'],
          ...mappingOf('d', luks(uuid, 'd'), '0 9 linear 253:1 0'),
        }),
        madeDevice('253:1', 'dm-1', { slaves: ['254:48'], ...mappingOf('hot', helper, crypt('254:48')) }),
      );
      assert.ok(codesOf(judged(part, { rules: { keyslots: 2 } })).includes('luks_reencrypt_state'), helper);
    }
  });

  it('is being reencrypted or decrypted, by each sign of it (row 53)', () => {
    const signs: readonly ((text: string) => string)[] = [
      (text) => text.replace('"config":{', '"config":{"requirements":{"mandatory":["online-reencrypt-v2"]},'),
      (text) => text.replace('"keyslots":{', '"keyslots":{"1":{"type":"reencrypt"},'),
      (text) => text.replace('"type":"crypt"', '"type":"crypt","flags":["in-reencryption"]'),
      (text) => text.replace('"segments":{', '"segments":{"1":{"type":"linear","offset":"0"},'),
    ];
    for (const [index, sign] of signs.entries())
      assert.ok(
        codesOf(judged(headerOtherwise(good, sign), { rules: { keyslots: 2 } })).includes(
          'luks_reencrypt_state',
        ),
        `sign ${index}`,
      );
    // The keyslots of the new key and of the reencryption itself come with it.
    const begun = headerOtherwise(good, (text) =>
      text.replace(
        '"keyslots":{',
        '"keyslots":{"1":{"type":"reencrypt"},"2":{"type":"luks2","key_size":64},',
      ),
    );
    assert.deepEqual(codesOf(judged(begun)), ['luks_reencrypt_state']);
  });

  it('has a directory, an overlay, or an unencrypted loop device over it or below it (row 54)', () => {
    const loop = madeDevice('7:0', 'loop0', { loop: { backingFile: '/srv/plain.img' } });
    const overlay = (upper: string) =>
      `40 34 0:40 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/var/lib/docker/a:/var/lib/docker/b,upperdir=${upper},workdir=/var/lib/docker/w`;
    const cases: readonly (readonly [string, DiskPart])[] = [
      ['a directory over it', with_(good, mount(40, 34, '254:0', '/srv/plain', '/var/lib/docker'))],
      ['a directory below it', with_(good, mount(40, 34, '254:0', '/srv/plain', '/var/lib/docker/volumes'))],
      ['a loop device', add(with_(good, mount(40, 34, '7:0', '/', '/var/lib/docker')), loop)],
      ['an overlay whose upper layer is elsewhere', with_(good, overlay('/srv/up'))],
      ['a tmpfs below it', with_(good, mount(40, 34, '0:41', '/', '/var/lib/docker/overlay2', 'tmpfs'))],
      [
        'a network file system below it',
        with_(good, mount(40, 34, '0:41', '/', '/var/lib/docker/v', 'nfs4')),
      ],
      [
        'a file system of a program',
        with_(good, mount(40, 34, '253:0', '/', '/var/lib/docker/v', 'fuseblk')),
      ],
    ];
    for (const [what, part] of cases) assert.deepEqual(codesOf(judged(part)), ['path_not_covered'], what);
    assert.equal(judged(with_(good, overlay('/var/lib/docker/up'))).affirmed, true);
  });

  it('has more keyslots than the policy allows a volume that nobody enrolled (row 55)', () => {
    const two = headerOtherwise(good, (text) =>
      text.replace('"keyslots":{', '"keyslots":{"1":{"type":"luks2","key_size":64},'),
    );
    assert.deepEqual(codesOf(judged(two)), ['luks_extra_keyslot']);
    assert.deepEqual(codesOf(judged(two, { rules: { keyslots: 2 } })), []);
  });

  it('was copied to a volume of another node, or of the same one (row 55)', () => {
    const shared = [{ mark: 'key:00', nodes: ['node-2'] }];
    const found = judged(good, { shared });
    assert.deepEqual([codesOf(found), found.findings[0]?.actual], [['luks_key_shared'], 'node-2']);
    const both = add(
      with_(
        seenOtherwise(good, { headers: [header('254:48'), header('254:64', uuid.replace(/^a/, 'b'))] }),
        mount(40, 34, '253:1', '/', '/var/lib/docker/x'),
      ),
      madeDevice('253:1', 'dm-1', {
        slaves: ['254:64'],
        ...mappingOf('copy', luks(uuid.replace(/^a/, 'b'), 'copy'), crypt('254:64')),
      }),
    );
    assert.deepEqual(codesOf(judged(both)), ['luks_key_shared']);
  });

  it('was copied to a disk that nobody opened; the legs of a RAID are no copies (row 55)', () => {
    const copy = seenOtherwise(good, { headers: [header('254:48'), header('254:64')] });
    assert.deepEqual(codesOf(judged(copy)), ['luks_key_shared']);
    const raid = add(
      seenOtherwise(good, { headers: [header('9:0'), header('254:48'), header('254:64')] }),
      madeDevice('253:0', 'dm-0', { slaves: ['9:0'], ...mappingOf('d', luks(uuid, 'd'), crypt('9:0')) }),
      madeDevice('9:0', 'md0', { slaves: ['254:48', '254:64'], raid: { level: 'raid1' } }),
    );
    assert.deepEqual(codesOf(judged(raid)), []);
  });

  it('left its key in a keyring or a file, or memory goes to an unencrypted swap (row 56)', () => {
    const left = seenOtherwise(good, { residue: [{ where: 'keyring', name: 'cryptsetup:x' }] });
    assert.deepEqual(codesOf(judged(left)), ['key_residue']);
    const swap = (path: string, device: string | null) => seenOtherwise(good, { swaps: [{ path, device }] });
    assert.deepEqual(codesOf(judged(swap('/dev/vde', '254:64'))), ['key_residue']);
    assert.deepEqual(codesOf(judged(swap('/swapfile', '254:0'))), ['key_residue']);
    assert.deepEqual(codesOf(judged(swap('/dev/vde', '254:64'), { rules: { swap: 'any' } })), []);
    assert.deepEqual(codesOf(judged(swap('/var/lib/docker/swap', '253:0'))), []);
    assert.deepEqual(codesOf(judged(swap('/x', null))), ['facts_unavailable']);
    assert.deepEqual(codesOf(judged(add(swap('/dev/zram0', '251:0'), madeDevice('251:0', 'zram0')))), []);
  });

  it('is not found by names in the mount table (row 71)', () => {
    const cases: readonly (readonly [string, DiskPart, readonly string[]])[] = [
      // A source that looks like the end of the line, and a mount point that begins like the path.
      [
        'a source',
        {
          ...on('254:64'),
          mounts: on('254:64').mounts.map((line) =>
            line.replace(
              '/dev/mapper/docker_crypt',
              '/dev/mapper/docker_crypt\\040253:0\\040/\\040/var/lib/docker',
            ),
          ),
        },
        ['mount_not_encrypted'],
      ],
      [
        'a longer name',
        {
          ...good,
          mounts: good.mounts.map((line) => line.replace('/ /var/lib/docker', '/ /var/lib/docker\\040')),
        },
        ['mount_not_encrypted'],
      ],
      [
        'an escaped name',
        with_(good, mount(40, 34, '254:0', '/srv', '/var/lib/docker/\\163ub')),
        ['path_not_covered'],
      ],
      ['a line in a line', with_(good, 'a\nb'), ['facts_unavailable']],
      ['no byte', with_(good, `${mount(40, 34, '254:0', '/', '/x')}\u0130`), ['facts_unavailable']],
      ['cut short', with_(good, '40 34 254:0'), ['facts_unavailable']],
    ];
    for (const [what, part, codes] of cases) assert.deepEqual(codesOf(judged(part)), codes, what);
  });

  it('has another header than the one that opened it (row 107)', () => {
    const swapped = seenOtherwise(good, { headers: [header('254:48', uuid.replace(/^a/, 'b'))] });
    assert.deepEqual(codesOf(judged(swapped)), ['luks_header_changed']);
    const otherCipher = deviceOtherwise(
      good,
      'dm-0',
      mappingOf('d', luks(uuid, 'd'), crypt('254:48', 'serpent-xts-plain64')),
    );
    assert.deepEqual(codesOf(judged(otherCipher, { rules: { ciphers: ['*-xts-plain64'] } })), [
      'luks_header_changed',
    ]);
    const otherKey = deviceOtherwise(
      good,
      'dm-0',
      mappingOf('d', luks(uuid, 'd'), crypt('254:48', 'aes-xts-plain64', ':32:logon:x')),
    );
    assert.deepEqual(codesOf(judged(otherKey)), ['luks_header_changed']);
  });

  it('is encrypted through each leg of each layer', () => {
    const cases: readonly (readonly [string, DiskPart, readonly string[]])[] = [
      [
        'LUKS on LVM',
        add(
          seenOtherwise(
            on(
              '253:1',
              madeDevice('253:1', 'dm-1', {
                slaves: ['253:0'],
                ...mappingOf('d', luks(uuid, 'd'), crypt('253:0')),
              }),
            ),
            { headers: [header('253:0')] },
          ),
          madeDevice('253:0', 'dm-0', {
            slaves: ['254:48'],
            ...mappingOf('vg-lv', 'LVM-abc', '0 100 linear 254:48 2048'),
          }),
        ),
        [],
      ],
      [
        'LVM of LUKS and a bare disk',
        on(
          '253:1',
          madeDevice('253:1', 'dm-1', {
            slaves: ['253:0', '254:64'],
            ...mappingOf('vg-lv', 'LVM-abc', '0 9 linear 253:0 0', '9 9 linear 254:64 0'),
          }),
        ),
        ['mount_not_encrypted'],
      ],
      [
        'RAID of LUKS legs',
        on(
          '9:0',
          madeDevice('9:0', 'md0', { slaves: ['253:0', '253:1'], raid: { level: 'raid1' } }),
          madeDevice('253:1', 'dm-1', {
            slaves: ['254:64'],
            ...mappingOf('leg', luks(uuid, 'l'), crypt('254:64')),
          }),
        ),
        ['facts_unavailable'],
      ],
      [
        'RAID of a LUKS leg and a bare one',
        on('9:0', madeDevice('9:0', 'md0', { slaves: ['253:0', '254:64'], raid: { level: 'raid1' } })),
        ['mount_not_encrypted'],
      ],
      [
        'LUKS on RAID',
        add(
          seenOtherwise(good, { headers: [header('9:0')] }),
          madeDevice('253:0', 'dm-0', { slaves: ['9:0'], ...mappingOf('d', luks(uuid, 'd'), crypt('9:0')) }),
          madeDevice('9:0', 'md0', { slaves: ['254:48', '254:64'], raid: { level: 'raid1' } }),
        ),
        [],
      ],
      [
        'LUKS with integrity',
        add(
          headerOtherwise(good, (text) => text.replaceAll('"key_size":64', '"key_size":96')),
          madeDevice('253:0', 'dm-0', {
            slaves: ['253:1'],
            ...mappingOf(
              'd',
              luks(uuid, 'd'),
              crypt('253:1', 'capi:authenc(hmac(sha256),xts(aes))-plain64', ':96:logon:x'),
            ),
          }),
          madeDevice('253:1', 'dm-1', {
            slaves: ['254:48'],
            ...mappingOf('d_dif', 'CRYPT-SUBDEV-x-d_dif', '0 9 integrity 254:48 0 48 J'),
          }),
        ),
        [],
      ],
      [
        'integrity alone',
        on(
          '253:1',
          madeDevice('253:1', 'dm-1', {
            slaves: ['254:64'],
            ...mappingOf('i', 'CRYPT-INTEGRITY-i', '0 9 integrity 254:64 0 4 J'),
          }),
        ),
        ['mount_not_encrypted'],
      ],
      [
        'a partition of a LUKS volume',
        on('259:0', madeDevice('259:0', 'dm-0p1', { partitionOf: '253:0' })),
        [],
      ],
      [
        'a file on the LUKS volume',
        add(
          with_(good, mount(40, 34, '7:0', '/', '/var/lib/docker/x')),
          madeDevice('7:0', 'loop0', { loop: { backingFile: '/var/lib/docker/disk.img' } }),
        ),
        [],
      ],
      [
        'a deleted file',
        add(
          with_(good, mount(40, 34, '7:0', '/', '/var/lib/docker/x')),
          madeDevice('7:0', 'loop0', { loop: { backingFile: '/var/lib/docker/disk.img (deleted)' } }),
        ),
        ['path_not_covered'],
      ],
      ['btrfs of LUKS', on('0:40', madeDevice('0:40', 'btrfs x', { slaves: ['253:0'] })), []],
      [
        'btrfs of LUKS and a bare disk',
        on('0:40', madeDevice('0:40', 'btrfs x', { slaves: ['253:0', '254:64'] })),
        ['mount_not_encrypted'],
      ],
      [
        'ZFS',
        {
          ...good,
          mounts: good.mounts.map((line) =>
            line.replace('253:0 / /var/lib/docker rw,relatime - ext4', '0:40 / /var/lib/docker rw - zfs'),
          ),
        },
        ['mount_not_encrypted'],
      ],
      [
        'a journal elsewhere',
        {
          ...good,
          mounts: good.mounts.map((line) =>
            line.replace('docker_crypt rw', 'docker_crypt rw,logdev=/dev/vde'),
          ),
        },
        ['mount_not_encrypted'],
      ],
      [
        'a LUKS name over a linear mapping',
        on(
          '253:1',
          madeDevice('253:1', 'dm-1', {
            slaves: ['254:64'],
            ...mappingOf('d', luks(uuid, 'd'), '0 9 linear 254:64 0'),
          }),
        ),
        ['mount_not_encrypted'],
      ],
      [
        'encrypted in a part',
        on(
          '253:1',
          madeDevice('253:1', 'dm-1', {
            slaves: ['254:64'],
            ...mappingOf('d', luks(uuid, 'd'), crypt('254:64'), '9 9 linear 254:64 0'),
          }),
        ),
        ['mount_not_encrypted'],
      ],
      [
        'on itself',
        on(
          '253:1',
          madeDevice('253:1', 'dm-1', {
            slaves: ['253:1'],
            ...mappingOf('d', 'LVM-x', '0 9 linear 253:1 0'),
          }),
        ),
        ['mount_not_encrypted'],
      ],
      [
        'small keys',
        deviceOtherwise(
          headerOtherwise(good, (text) =>
            text.replaceAll('"key_size":64', '"key_size":16').replaceAll('aes-xts', 'aes-cbc'),
          ),
          'dm-0',
          mappingOf('d', luks(uuid, 'd'), crypt('254:48', 'aes-cbc-plain64', ':16:logon:x')),
        ),
        ['luks_cipher'],
      ],
    ];
    for (const [what, part, codes] of cases) {
      const found = judged(part);
      // Whatever else is told of it: what it is called for is.
      const told =
        codes.length === 0 ? codesOf(found) : codesOf(found).filter((code) => codes.includes(code));
      assert.deepEqual([...new Set(told)], codes, `${what}: ${JSON.stringify(found.findings)}`);
      assert.equal(found.affirmed, codes.length === 0, what);
    }
  });

  it('is not proven where something that a rule needs is missing', () => {
    const cases: readonly (readonly [string, DiskPart | Buffer | null])[] = [
      ['no part', null],
      ['no JSON', Buffer.from('{')],
      ['no inspect', { ...good, inspected: { cause: 'it is 3 h old' } }],
      [
        'no table',
        deviceOtherwise(good, 'dm-0', { mapping: { name: 'd', uuid: luks(uuid, 'd'), table: null } }),
      ],
      ['no header', seenOtherwise(good, { headers: [] })],
      [
        'a header that could not be read',
        seenOtherwise(good, { headers: [], unreadable: [{ device: '254:48', cause: 'EIO' }] }),
      ],
      ['a damaged header', headerOtherwise(good, (text) => text.slice(0, 100))],
      [
        'nested without end',
        headerOtherwise(
          good,
          () =>
            `{"keyslots":{"0":{"type":"x","a":${'['.repeat(30_000)}${']'.repeat(30_000)}}},"segments":{},"digests":{}}`,
        ),
      ],
      [
        'a device of which nothing is said',
        { ...good, devices: good.devices.filter(({ name }) => name !== 'dm-0') },
      ],
      ['no such path', { ...good, paths: good.paths.map(({ path }) => ({ path, real: null })) }],
      ['a path that was not asked about', { ...good, paths: [] }],
      ['a table without root', { ...good, mounts: good.mounts.slice(-1) }],
    ];
    for (const [what, part] of cases) {
      const found = judged(part);
      assert.ok(
        codesOf(found).length > 0 && codesOf(found).every((code) => code === 'facts_unavailable'),
        `${what}: ${codesOf(found)}`,
      );
      assert.equal(found.affirmed, false, what);
    }
  });

  it('is not affirmed where the policy names a path that does not exist', () => {
    const rules = { paths: ['docker', '/data'] };
    const part = { ...good, paths: [...good.paths, { path: '/data', real: null }] };
    assert.deepEqual(codesOf(judged(part, { rules })), ['path_not_covered']);
    assert.deepEqual(disk.paths?.(disk.rules(rules)), ['/var/lib/docker', '/data']);
  });

  it('takes nothing back while the node shows less, and keeps its marks', () => {
    for (const part of [null, Buffer.from('{'), { ...good, inspected: { cause: 'none' } }]) {
      const { affirmed, takesBack = { only: [] }, next } = judged(part);
      assert.deepEqual([affirmed, takesBack, next], [false, { only: [] }, undefined]);
    }
    assert.deepEqual(judged(on('254:64')).takesBack, { allBut: [] });
  });

  it('is a comparison the second time', () => {
    const judge = disk.prepare(disk.rules(undefined), { group, references: [], remembers: true });
    const first = judge.judge(proofWith(good), judgedNode(), 0);
    const second = judge.judge(proofWith(good), judgedNode({ memory: first.next }), 1);
    assert.equal(judge.judge(proofWith(good), judgedNode({ memory: second.next }), 2), second);
    const shared = [{ mark: 'uuid:0', nodes: ['m'] }];
    assert.deepEqual(codesOf(judge.judge(proofWith(good), judgedNode({ memory: second.next, shared }), 3)), [
      'luks_key_shared',
    ]);
  });

  it('is judged in bounded time, whatever shape it has', () => {
    const devices = Array.from({ length: 900 }, (_, index) =>
      madeDevice(`253:${index}`, `dm-${index}`, {
        slaves: Array.from({ length: 12 }, (_, leg) => `253:${Math.min(899, index + leg)}`),
      }),
    );
    const mounts = Array.from({ length: 900 }, (_, index) =>
      mount(100 + index, 34, '253:0', '/', `/var/lib/docker/${index}`),
    );
    const part = { ...good, devices, mounts: [...good.mounts, ...mounts] };
    assert.ok(JSON.stringify(part).length < limits.parts.disk);
    const started = performance.now();
    assert.equal(judged(part).affirmed, false);
    assert.ok(performance.now() - started < 1_000);
  });

  it('is judged in bounded time where names of mounts have thousands of components', () => {
    const deep = '/a'.repeat(7_000);
    const below = Array.from({ length: 16 }, (_, index) =>
      mount(100 + index, 34, '253:0', '/', `/var/lib/docker${deep}/${index}`),
    );
    const part = with_(good, ...below);
    assert.ok(JSON.stringify(part).length < limits.parts.disk);
    const started = performance.now();
    assert.equal(judged(part).affirmed, true);
    assert.ok(performance.now() - started < 1_000);
  });

  it('shows the layers that were seen', () => {
    const [finding] = judged(with_(good, mount(40, 34, '254:0', '/srv', '/var/lib/docker'))).findings;
    assert.deepEqual(finding?.detail, [
      '/var/lib/docker  ext4 on vda (254:0), its directory /srv',
      '└─ vda (254:0)',
    ]);
  });
});
