import assert from 'node:assert/strict';
import { copyFile, cp, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { type DebianMachine, debianMachine } from './debian-machine.ts';
import { type Guest, makeMachine, type VirtualMachine } from './guest.ts';

const bounds = { timeoutMs: 60_000, maxOutputBytes: 65_536 };
const packages = ['systemd-cryptsetup', 'cryptsetup-bin', 'e2fsprogs', 'fdisk', 'libatomic1', 'libstdc++6'];
const [volume, passphrase] = ['/dev/disk/by-partlabel/docker', 'recovery passphrase'];
const socket = '/run/cryptsetup-keys.d/docker.key';

/** A node as docs/disk-keys.md has it, but for who speaks behind `assay-agent`, and a runtime that says what it found. */
const install = `mount -o ro /dev/vdd /mnt
cp /mnt/node /mnt/key-stand-in.ts /usr/local/lib
printf '#!/bin/sh\\nexec /usr/local/lib/node /usr/local/lib/key-stand-in.ts "$@"\\n' >/usr/local/bin/assay-agent
chmod 755 /usr/local/bin/assay-agent
cd /mnt/host
install -D -m 0644 assay.sysusers.conf /etc/sysusers.d/assay.conf && systemd-sysusers
install -m 0644 assay-unlock@.service assay-unlock@.socket assay-cap.service assay-volume@.service /etc/systemd/system/
for service in docker containerd kubelet; do
  install -D -m 0644 assay-cap.require.conf /etc/systemd/system/$service.service.d/assay-cap.conf
done
install -D -m 0644 assay-cap.volumes.conf /etc/systemd/system/systemd-cryptsetup@.service.d/assay-cap.conf
cat >/etc/systemd/system/docker.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ls -A /run/cryptsetup-keys.d
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable assay-unlock@docker.socket assay-volume@docker assay-cap docker
printf 'label: gpt\\ntype=linux, name=docker\\n' | sfdisk -q /dev/vdc
udevadm settle
cd /root
head -c 32 /dev/urandom >key
printf '${passphrase}' >passphrase
cheap='-q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file key'
cryptsetup luksFormat --type luks2 $cheap ${volume}
cryptsetup luksAddKey $cheap ${volume} passphrase
echo 'docker PARTLABEL=docker ${socket} luks,_netdev,nofail' >/etc/crypttab
echo '/dev/mapper/docker /var/lib/docker ext4 _netdev,nofail,x-systemd.requires=assay-volume@docker.service 0 2' >>/etc/fstab
mkdir /etc/assay
`;

/** What the stand-in does at the next boot. */
const script = ({ key = false, afterSeconds = 0, doesCap = true }) =>
  `key=${key ? '\\"$(xxd -p -c 64 /root/key)\\"' : 'null'}
echo "{\\"key\\":$key,\\"afterSeconds\\":${afterSeconds},\\"doesCap\\":${doesCap}}" >/etc/assay/unlock.yaml`;

/** Each test goes on where the one before it ended. */
describe('the keys of disks, on a machine whose first process is systemd', function () {
  this.timeout(0);
  const resources = new AsyncDisposableStack();
  let debian: DebianMachine;
  let machine: VirtualMachine;
  let disks: readonly string[];
  let guest: Guest;
  before(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-keys-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    debian = await debianMachine('keys', packages);
    disks = await makeDisks(dir, debian.disk);
    machine = resources.use(await makeMachine());
    resources.defer(() => guest?.[Symbol.asyncDispose]());
    guest = await machine.boot(debian.files, { disks, isKept: true });
    await guest.shell(`set -e\n${install}${script({ key: true, afterSeconds: 45 })}`);
    await reboot();
  });
  after(() => resources.disposeAsync());

  const reboot = async () => {
    await guest[Symbol.asyncDispose]();
    guest = await machine.boot(debian.files, { disks, isKept: true });
  };
  const until = (condition: string) =>
    guest.shell(`timeout 300 sh -c 'until ${condition}; do sleep 1; done'`);
  const shown = async (text: RegExp) => {
    const patience = AbortSignal.timeout(300_000);
    while (!text.test(await guest.console.text())) await sleep(200, undefined, { signal: patience });
  };
  const property = async (unit: string, name: string) =>
    (await guest.shell(`systemctl show -P ${name} ${unit}`)).trim();
  /** Microseconds of the boot. */
  const time = async (unit: string, name: string) => {
    const value = Number(await property(unit, `${name}TimestampMonotonic`));
    assert.ok(value > 0, `${unit} has no ${name}`);
    return value;
  };
  const states = () =>
    guest.shell('systemctl is-active assay-cap assay-volume@docker var-lib-docker.mount docker || true');
  const running = 'active\n'.repeat(4);

  it('have a socket before any volume is opened, which nobody but root can reach', async () => {
    await shown(/assay-unlock: waits for the key/);
    assert.ok(
      (await time('assay-unlock@docker.socket', 'ActiveEnter')) <
        (await time('systemd-cryptsetup@docker', 'ExecMainStart')),
    );
    const rights = await guest.shell(`stat -c '%A %U %G' ${socket} $(dirname ${socket})`);
    assert.equal(rights, 'srw------- root root\ndrwx------ root root\n');
    const connect = `require('net').connect('${socket}').on('error', e => console.log(e.code)).on('connect', () => console.log('open'))`;
    const as = (user: string) =>
      guest.shell(
        `timeout 30 setpriv --reuid ${user} --clear-groups /usr/local/lib/node -e "${connect}" || true`,
      );
    assert.equal(await as('nobody'), 'EACCES\n');
    assert.equal(await as('assay-unlock'), 'EACCES\n');
  });

  it('are asked for by a program without rights, which has the header of that one volume', async () => {
    const program = `/proc/${await property('assay-unlock@docker', 'MainPID')}`;
    const status = await guest.shell(`cat ${program}/status`);
    assert.deepEqual(
      status.match(/^Cap.*$/gm)?.map((line) => line.split(/\s+/)[1]),
      Array(5).fill('0'.repeat(16)),
    );
    assert.doesNotMatch(status, /^Uid:\s+0\b/m);
    assert.match(await guest.shell(`grep core ${program}/limits`), /core file size\s+0\s+0/);
    assert.equal(await property('assay-unlock@docker', 'MemorySwapMax'), '0');
    assert.equal(await guest.shell(`readlink ${program}/fd/0`), '/dev/vdc1\n');
    assert.equal(await guest.shell(`sed -n 's/^flags:.*\\(.\\)$/\\1/p' ${program}/fdinfo/0`), '0\n');
    // What systemd opened for it is the only way there.
    const open = `nsenter -t \${1#/proc/} --mount --setuid $(id -u assay-unlock) --setgid $(id -g assay-unlock) head -c 1`;
    await assert.rejects(guest.shell(`set -- ${program}; ${open} /dev/vdc1`), /Permission denied/);
    assert.match(await guest.console.text(), /assay-unlock: header 4c554b53babe/);
  });

  it('keep nobody from logging in where crypttab has nofail', async () => {
    await shown(/debian login:/);
    assert.equal(await states(), 'inactive\n'.repeat(4));
  });

  it('open a volume, also 45 s late, which is capped, gets its file system and is mounted before the runtime', async () => {
    await until('systemctl is-active --quiet docker');
    const order = [
      await time('systemd-cryptsetup@docker', 'ExecMainStart'),
      await time('systemd-cryptsetup@docker', 'ExecMainExit'),
      await time('assay-cap', 'ExecMainStart'),
      await time('assay-cap', 'ActiveEnter'),
      await time('assay-volume@docker', 'ExecMainStart'),
      await time('assay-volume@docker', 'ExecMainExit'),
      await time('systemd-fsck@dev-mapper-docker', 'ExecMainStart'),
      await time('var-lib-docker.mount', 'ActiveEnter'),
      await time('docker', 'ExecMainStart'),
    ];
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
    const [asked = 0, opened = 0] = order;
    assert.ok(opened > asked + 45_000_000);
    assert.equal(await guest.shell('findmnt -no SOURCE,FSTYPE /var/lib/docker'), '/dev/mapper/docker ext4\n');
    await guest.shell('echo data >/var/lib/docker/file');
  });

  it('are asked for no more once the boot is capped, before the runtime starts', async () => {
    assert.equal(await guest.shell('journalctl -b -o cat _COMM=ls'), '');
    assert.equal(await guest.shell("systemctl is-active 'assay-unlock@*' || true"), '');
    assert.equal(await guest.shell(`ls -A $(dirname ${socket})`), '');
  });

  it('are replaced by the recovery passphrase, which systemd asks for on the console', async () => {
    await guest.shell(`sed -i s/nofail/timeout=120/ /etc/crypttab; ${script({ doesCap: false })}`);
    await reboot();
    await shown(/enter passphrase for disk docker on \/var\/lib\/docker/);
    assert.equal(await states(), 'inactive\n'.repeat(4));
    guest.console.type(`${passphrase}\n`);
    await until('systemctl is-failed --quiet assay-cap');
    assert.match(await guest.shell('dmsetup table docker'), /crypt/);
  });

  it('lead to no mount and no runtime where the cap is not made', async () => {
    await until('! systemctl list-jobs --no-legend | grep -q .');
    assert.equal(await states(), 'failed\n' + 'inactive\n'.repeat(3));
    assert.equal(await property('systemd-fsck@dev-mapper-docker', 'ExecMainStartTimestampMonotonic'), '0');
    // Once the fault is mended, the runtime asks for the cap anew.
    await guest.shell(script({}));
    await guest.shell('timeout 120 systemctl start docker');
    assert.equal(await states(), running);
    assert.equal(await guest.shell('cat /var/lib/docker/file'), 'data\n');
  });

  it('leave a machine where nobody answers, to which a person logs in and opens the volume', async () => {
    await guest.shell('sed -i s/timeout=120/timeout=10/ /etc/crypttab');
    await reboot();
    await shown(/debian login:/);
    await until('! systemctl list-jobs --no-legend | grep -q .');
    assert.equal(await states(), 'active\n' + 'inactive\n'.repeat(3));
    assert.equal(await guest.shell('ls -A /var/lib/docker'), '');
    await guest.shell(`cryptsetup open --key-file /root/passphrase ${volume} docker`);
    await guest.shell('timeout 120 systemctl start docker');
    assert.equal(await states(), running);
    assert.equal(await guest.shell('cat /var/lib/docker/file'), 'data\n');
  });
});

/** The root file system, a blank disk, and one with what is installed. */
async function makeDisks(dir: string, root: string): Promise<readonly string[]> {
  const [own, blank, content] = ['root.img', 'blank.img', 'content.img'].map((name) => join(dir, name));
  assert.ok(own && blank && content);
  await run('cp', ['--sparse=always', root, own], bounds);
  await writeFile(blank, '');
  await truncate(blank, 256 * 1024 * 1024);
  const folder = join(dir, 'content');
  await mkdir(folder);
  await cp(join(import.meta.dirname, '../../manifests/host'), join(folder, 'host'), { recursive: true });
  await copyFile(join(import.meta.dirname, 'key-stand-in.ts'), join(folder, 'key-stand-in.ts'));
  await copyFile(process.execPath, join(folder, 'node'));
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', folder, content, '300M'], bounds);
  return [own, blank, content];
}
