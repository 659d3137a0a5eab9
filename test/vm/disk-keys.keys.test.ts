import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { asTyped, guestNode, type KeyMachine, keyMachine, keySocket, volumeDevice } from './key-machine.ts';
import { sectionOf } from './typed-page.ts';

const standIn = '/usr/local/lib/key-stand-in.ts';
const [, installUnits = '', , enableUnits = ''] = sectionOf('disk-keys', 'Set up a node').typed('node#');
const passphrase = 'recovery passphrase';
/** The volume, and the lines that lead to it. */
const format = `set -e
cd /root
head -c 32 /dev/urandom >key
printf '${passphrase}' >passphrase
cheap='-q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file key'
cryptsetup luksFormat --type luks2 $cheap ${volumeDevice}
cryptsetup luksAddKey $cheap ${volumeDevice} passphrase
echo 'docker PARTLABEL=docker ${keySocket} luks,_netdev,nofail' >/etc/crypttab
echo '/dev/mapper/docker /var/lib/docker ext4 _netdev,nofail,x-systemd.device-timeout=0,x-systemd.requires=assay-volume@docker.service 0 2' >>/etc/fstab
`;

/** What the stand-in does at the next boot. */
const script = ({ key = false, afterSeconds = 0, doesCap = true }) =>
  `key=${key ? '\\"$(xxd -p -c 64 /root/key)\\"' : 'null'}
echo "{\\"key\\":$key,\\"afterSeconds\\":${afterSeconds},\\"doesCap\\":${doesCap}}" >/etc/assay/unlock.yaml`;

/** Each test goes on where the one before it ended. */
describe('the keys of disks, on a machine whose first process is systemd', function () {
  this.timeout(0);
  let machine: KeyMachine;
  before(async () => {
    const programs = await mkdtemp(join(tmpdir(), 'assay-vm-stand-in-'));
    try {
      await makePackage(programs);
      machine = await keyMachine(programs);
    } finally {
      await rm(programs, { recursive: true });
    }
    const source = await readFile(join(import.meta.dirname, 'key-stand-in.ts'), 'utf8');
    await machine.guest.shell(`cat >${standIn} <<'END'\n${source}END\n${asTyped(installUnits)}`);
    await machine.guest.shell(`${format}${script({ key: true, afterSeconds: 45 })}`);
    await machine.guest.shell(asTyped(enableUnits));
    await machine.reboot();
  });
  after(() => machine?.[Symbol.asyncDispose]());

  const running = 'active\n'.repeat(4);

  it('have a socket before any volume is opened, which nobody but root can reach', async () => {
    await machine.shown(/assay-unlock: waits for the key/);
    assert.ok(
      (await machine.time('assay-unlock@docker.socket', 'ActiveEnter')) <
        (await machine.time('systemd-cryptsetup@docker', 'ExecMainStart')),
    );
    const rights = await machine.guest.shell(`stat -c '%A %U %G' ${keySocket} $(dirname ${keySocket})`);
    assert.equal(rights, 'srw------- root root\ndrwx------ root root\n');
    const connect = `require('net').connect('${keySocket}').on('error', e => console.log(e.code)).on('connect', () => console.log('open'))`;
    const as = (user: string) =>
      machine.guest.shell(
        `timeout 30 setpriv --reuid ${user} --clear-groups ${guestNode} -e "${connect}" || true`,
      );
    assert.equal(await as('nobody'), 'EACCES\n');
    assert.equal(await as('assay-unlock'), 'EACCES\n');
  });

  it('are asked for by a program without rights, which has the header of that one volume', async () => {
    const program = `/proc/${await machine.property('assay-unlock@docker', 'MainPID')}`;
    const status = await machine.guest.shell(`cat ${program}/status`);
    assert.deepEqual(
      status.match(/^Cap.*$/gm)?.map((line) => line.split(/\s+/)[1]),
      Array(5).fill('0'.repeat(16)),
    );
    assert.doesNotMatch(status, /^Uid:\s+0\b/m);
    assert.match(await machine.guest.shell(`grep core ${program}/limits`), /core file size\s+0\s+0/);
    assert.equal(await machine.property('assay-unlock@docker', 'MemorySwapMax'), '0');
    assert.equal(await machine.guest.shell(`readlink ${program}/fd/0`), '/dev/vdc1\n');
    assert.equal(await machine.guest.shell(`sed -n 's/^flags:.*\\(.\\)$/\\1/p' ${program}/fdinfo/0`), '0\n');
    // What systemd opened for it is the only way there.
    const open = `nsenter -t \${1#/proc/} --mount --setuid $(id -u assay-unlock) --setgid $(id -g assay-unlock) head -c 1`;
    await assert.rejects(machine.guest.shell(`set -- ${program}; ${open} /dev/vdc1`), /Permission denied/);
    assert.match(await machine.guest.console.text(), /assay-unlock: header 4c554b53babe/);
  });

  it('keep nobody from logging in where crypttab has nofail', async () => {
    await machine.shown(/debian login:/);
    assert.equal(await machine.states(), 'inactive\n'.repeat(4));
  });

  it('open a volume, also 45 s late, which is capped, gets its file system and is mounted before the runtime', async () => {
    await machine.guest.shell('touch /run/answer');
    await machine.until('systemctl is-active --quiet docker');
    const order = [
      await machine.time('systemd-cryptsetup@docker', 'ExecMainStart'),
      await machine.time('systemd-cryptsetup@docker', 'ExecMainExit'),
      await machine.time('assay-cap', 'ExecMainStart'),
      await machine.time('assay-cap', 'ActiveEnter'),
      await machine.time('assay-volume@docker', 'ExecMainStart'),
      await machine.time('assay-volume@docker', 'ExecMainExit'),
      await machine.time('systemd-fsck@dev-mapper-docker', 'ExecMainStart'),
      await machine.time('var-lib-docker.mount', 'ActiveEnter'),
      await machine.time('docker', 'ExecMainStart'),
    ];
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
    const [asked = 0, opened = 0] = order;
    assert.ok(opened > asked + 45_000_000);
    assert.equal(
      await machine.guest.shell('findmnt -no SOURCE,FSTYPE /var/lib/docker'),
      '/dev/mapper/docker ext4\n',
    );
    await machine.guest.shell('echo data >/var/lib/docker/file');
  });

  it('are asked for no more once the boot is capped, before the runtime starts', async () => {
    assert.match(await machine.guest.shell('journalctl -b -o cat -u docker'), /^keys:$/m);
    assert.equal(await machine.guest.shell("systemctl is-active 'assay-unlock@*' || true"), '');
    assert.equal(await machine.guest.shell(`ls -A $(dirname ${keySocket})`), '');
  });

  it('are replaced by the recovery passphrase, which systemd asks for on the console', async () => {
    await machine.guest.shell(`sed -i s/nofail/timeout=120/ /etc/crypttab; ${script({ doesCap: false })}`);
    await machine.reboot();
    await machine.shown(/enter passphrase for disk docker on \/var\/lib\/docker/);
    assert.equal(await machine.states(), 'inactive\n'.repeat(4));
    machine.guest.console.type(`${passphrase}\n`);
    await machine.until('systemctl is-failed --quiet assay-cap');
    assert.match(await machine.guest.shell('dmsetup table docker'), /crypt/);
  });

  it('lead to no mount and no runtime where the cap is not made', async () => {
    await machine.until('! systemctl list-jobs --no-legend | grep -q .');
    assert.equal(await machine.states(), `failed\n${'inactive\n'.repeat(3)}`);
    assert.equal(
      await machine.property('systemd-fsck@dev-mapper-docker', 'ExecMainStartTimestampMonotonic'),
      '0',
    );
    // Once the fault is mended, the runtime asks for the cap anew.
    await machine.guest.shell(script({}));
    await machine.guest.shell('timeout 120 systemctl start docker');
    assert.equal(await machine.states(), running);
    assert.equal(await machine.guest.shell('cat /var/lib/docker/file'), 'data\n');
  });

  it('leave a machine where nobody answers, to which a person logs in and opens the volume', async () => {
    await machine.guest.shell('sed -i s/timeout=120/timeout=10/ /etc/crypttab');
    await machine.reboot();
    await machine.shown(/debian login:/);
    await machine.until('! systemctl list-jobs --no-legend | grep -q .');
    assert.equal(await machine.states(), `active\n${'inactive\n'.repeat(3)}`);
    assert.equal(await machine.guest.shell('ls -A /var/lib/docker'), '');
    await machine.guest.shell(`cryptsetup open --key-file /root/passphrase ${volumeDevice} docker`);
    await machine.guest.shell('timeout 120 systemctl start docker');
    assert.equal(await machine.states(), running);
    assert.equal(await machine.guest.shell('cat /var/lib/docker/file'), 'data\n');
  });
});

/** A package whose `assay-agent` is the stand-in, which lies elsewhere: Node.js runs no TypeScript where npm installs. */
async function makePackage(folder: string): Promise<void> {
  await mkdir(join(folder, 'bin'));
  const start = `#!/bin/sh\nexec ${guestNode} ${standIn} "$@"\n`;
  await writeFile(join(folder, 'bin/assay-agent'), start, { mode: 0o755 });
  await cp(join(import.meta.dirname, '../../manifests/host'), join(folder, 'manifests/host'), {
    recursive: true,
  });
}
