import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { type InspectedFile, parseInspectedFile } from '../../agent/inspect/inspected-file.ts';
import { inDiskGuest } from './disk-guest.ts';

/** Five open volumes on loop devices, as the program sees them on a kernel with dm-crypt. */
const script = `
echo 'assay:x:64999:' > /etc/group
printf pass > /tmp/key
costs="--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
for i in 1 2 3 4 5; do truncate -s 32M /$i; losetup /dev/loop$i /$i; done
cryptsetup -q luksFormat --type luks2 $costs /dev/loop1 /tmp/key
cryptsetup open --key-file /tmp/key /dev/loop1 'docker crypt'
cryptsetup -q luksFormat --type luks2 $costs --header /run/header.img /dev/loop2 /tmp/key
cryptsetup open --key-file /tmp/key --header /run/header.img /dev/loop2 detached
cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 /dev/loop3 /tmp/key
cryptsetup open --key-file /tmp/key /dev/loop3 first
head -c 64 /dev/urandom > /run/volume.key
cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file /run/volume.key /dev/loop4 plain
dmsetup create nothing --table '0 65536 crypt cipher_null-ecb - 0 /dev/loop5 0'
echo 'detached /dev/loop2 none header=/run/header.img' > /etc/crypttab
agent="node /app/assay-agent.js --log-level silent inspect disk"
$agent; echo "== status $?"
echo "== key"; xxd -p -c 256 /run/volume.key
echo "== names"; for d in /sys/class/block/dm-*; do echo "$(cat $d/dev) $(cat $d/dm/name)"; done
echo "== seen"; cat /run/assay/inspect/disk.json; echo
dmsetup suspend detached
$agent
echo "== suspended"; cat /run/assay/inspect/disk.json; echo
dmsetup resume detached
`;

describe('inspect in a virtual machine with dm-crypt', () => {
  let sections: ReadonlyMap<string, string>;
  let seen: InspectedFile;
  let byName: ReadonlyMap<string, string>;
  before(async function () {
    this.timeout(0);
    sections = await inDiskGuest(script);
    seen = inSection('seen');
    const names = (sections.get('names') ?? '').trim().split('\n');
    byName = new Map(names.map((line) => [line.slice(line.indexOf(' ') + 1), line.split(' ')[0] ?? '']));
  });

  const inSection = (name: string) =>
    parseInspectedFile(Buffer.from((sections.get(name) ?? '').split('\n')[0] ?? ''));
  const target = (name: string) => seen.tables[byName.get(name) ?? '']?.join();

  it('shows the table of each live mapping, and of a key its length alone', () => {
    assert.ok(sections.has('status 0'));
    assert.equal(seen.tablesUnread, null);
    assert.match(
      target('docker\\x20crypt') ?? '',
      /^0 \d+ crypt aes-xts-plain64 :64:logon:cryptsetup:[0-9a-f-]{36}-d0 0 7:1 32768/,
    );
    assert.match(target('first') ?? '', /^0 \d+ crypt aes-xts-plain64 :64: 0 7:3 4096/);
    assert.match(target('plain') ?? '', /^0 \d+ crypt aes-xts-plain64 :64: 0 7:4 0/);
    assert.match(target('nothing') ?? '', /^0 65536 crypt cipher_null-ecb \S? ?0 7:5 0/);
    const key = sections.get('key')?.trim() ?? '';
    assert.equal(key.length, 128);
    assert.ok(!(sections.get('seen') ?? '').includes(key));
  });

  it('shows the headers of open volumes, the detached one too, and none of what has none', () => {
    assert.deepEqual(
      seen.inspected.headers
        .map(({ device, version, detachedAt }) => [device, version, detachedAt])
        .toSorted(([a], [b]) => String(a).localeCompare(String(b))),
      [
        ['7:1', 2, null],
        ['7:2', 2, '/run/header.img'],
        ['7:3', 1, null],
      ],
    );
    assert.deepEqual(seen.inspected.unreadable, []);
  });

  it('names the key file in /run, and takes no key of an open volume for one left behind', () => {
    assert.deepEqual(seen.inspected.residue, [{ where: 'file', name: '/run/volume.key' }]);
  });

  it('names a mapping that is suspended, and does not wait for it', () => {
    const { inspected } = inSection('suspended');
    assert.deepEqual(
      inspected.unreadable.map(({ device }) => device),
      [byName.get('detached')],
    );
    assert.equal(inspected.headers.length, 3);
  });
});
