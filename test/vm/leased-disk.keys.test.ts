import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import type { TestServer } from '../attest-server/running-server.ts';
import { bootParts, traceBoots } from './boot-parts.ts';
import { asTyped, guestNode, type KeyMachine, keySocket, volumeDevice } from './key-machine.ts';
import { type LeasingSite, leasingSite, type MadeVolume, node, server, vouching } from './leasing-site.ts';
import { sectionOf } from './typed-page.ts';

const running = 'active\n'.repeat(4);
const setUpServer = sectionOf('disk-keys', 'Set up the server');
const withData = sectionOf('disk-keys', 'A node that already holds data');
const replace = sectionOf('disk-keys', 'Replace a key');

/** What a runtime leaves: files of other users, links, white-outs of overlayfs and extended attributes, and how they are seen. */
const leaveData = `set -e
mkdir -p /var/lib/docker/overlay2
cd /var/lib/docker
echo data >file
ln file overlay2/hard
ln -s ../file overlay2/soft
mknod overlay2/white-out c 0 0
chown -h 1234:5678 overlay2/soft overlay2
chmod 2710 overlay2
perl -e 'my ($f, $n, $v) = ("overlay2", "trusted.overlay.opaque", "y"); syscall(188, $f, $n, $v, 1, 0) == 0 or die $!'
`;
const seeData = `cd /var/lib/docker; find . -mindepth 1 ! -name lost+found -printf '%p %y %m %U:%G %n %l\\n' | sort
perl -e 'my ($f, $n, $v) = ("overlay2", "trusted.overlay.opaque", " "); print syscall(191, $f, $n, $v, 1), $v'`;

/** Each test goes on where the one before it ended. */
describe('a volume whose key is leased, on a machine whose first process is systemd', function () {
  this.timeout(0);
  let site: LeasingSite;
  let world: TestServer;
  let machine: KeyMachine;
  let made: MadeVolume;
  before(async () => {
    site = await leasingSite();
    ({ world, machine } = site);
    await machine.guest.shell(leaveData);
  });
  after(() => site?.[Symbol.asyncDispose]());

  const volume = () => site.volume(made.uuid);
  const isLogged = (code: string) => machine.until(`journalctl -b -o cat -u "assay*" | grep -q ${code}`);
  /** Bytes of the key that root reads from the socket, as systemd-cryptsetup does. */
  const readKey = () =>
    machine.guest.shell(`systemctl start assay-unlock@docker.socket
timeout 200 ${guestNode} -e "let n = 0; require('net').connect({path: '${keySocket}', allowHalfOpen: true}).end().on('data', b => n += b.length).on('close', () => console.log(n))"`);

  it('is made for a node that holds data, which move out of the way', async () => {
    await machine.guest.shell(asTyped(withData.typed('node#')[0] ?? ''));
    made = await site.makeVolume();
  });

  it('is formatted on the node, once, though format is killed and power is cut meanwhile', async () => {
    const { format, lines, enable } = made;
    const aside = `systemd-run --quiet --collect --unit format -p StandardOutput=journal+console ${format}`;
    await machine.guest.shell(aside);
    await world.until(async () => (await volume())?.releasedAt, 120_000);
    await machine.guest.shell(
      'systemctl kill -s KILL format; until ! systemctl is-active -q format; do sleep 1; done',
    );
    assert.equal((await volume())?.formattedAt, null);
    await machine.guest.shell(aside);
    await machine.shown(/assay-format: the server has the header .* writing to the disk/);
    await machine.cutPower();
    assert.notEqual((await volume())?.headerDigest, null);
    assert.equal((await volume())?.formattedAt, null);
    assert.match(await machine.guest.shell(format), /is formatted on/);
    await assert.rejects(machine.guest.shell(format), /is formatted: nothing was written/);
    await machine.guest.shell(`${lines}\n${enable}`);
  });

  it('is open and mounted after a boot that proved itself to the one of two servers that answers', async () => {
    await machine.guest.shell(`sed -i 's/${server}/10.0.2.101:9000, ${server}/' /etc/assay/unlock.yaml`);
    await machine.reboot();
    await machine.until('systemctl is-active --quiet var-lib-docker.mount');
    await machine.shown(
      /waits for the key of volume \S+: connect_failed: 10\.0\.2\.101[\s\S]*worker-1 got the key of volume/,
    );
    await world.until(async () => (await volume())?.cappedAt);
    for (const line of (withData.typed('node#')[1] ?? '').split('\n')) {
      const printed = await machine.guest.shell(asTyped(line));
      if (line.startsWith('findmnt')) assert.equal(printed, '/dev/mapper/docker\n');
    }
    assert.equal(await machine.states(), running);
    assert.equal(await machine.guest.shell(seeData), dataSeen);
  });

  it('makes the node trusted, with its disk', async () => {
    await site.requireDisk();
    assert.deepEqual((await world.status(node))?.verdict?.aspects.disk?.references, [`disk-${made.uuid}`]);
    assert.equal((await world.status(node))?.state, 'trusted');
  });

  it('gets no key any more in that boot, though root asks at the socket (row 88)', async () => {
    assert.match(await machine.guest.shell('tpm2_pcrread sha256:15'), /15: 0x(?!0{64})/);
    assert.equal(await readKey(), '0\n');
    await isLogged('lease_consumed');
  });

  it('is opened by the recovery passphrase after a boot that nobody vouches for', async () => {
    await machine.reboot(' changed');
    await machine.shown(/enter passphrase for disk docker/);
    machine.guest.console.type(`${await site.passphrase()}\n`);
    await machine.until('systemctl is-active --quiet docker');
    assert.equal(await machine.guest.shell(seeData), dataSeen);
  });

  it('asks for the passphrase where its keyslot is damaged, and is opened by the key once that is written back', async () => {
    await machine.guest.shell(`set -e
${saveHeader}
dd if=/dev/zero of=${volumeDevice} bs=4096 seek=8 count=1 conv=notrunc,fsync status=none`);
    await machine.reboot();
    await machine.shown(/worker-1 got the key of volume[\s\S]*enter passphrase for disk docker/);
    machine.guest.console.type(`${await site.passphrase()}\n`);
    await machine.until('systemctl is-active --quiet docker');
    await machine.guest.shell(
      'journalctl -b -o cat -u systemd-cryptsetup@docker | grep -q "Key data incorrect"',
    );
    await machine.guest.shell(restoreHeader);
  });

  it('gets its next key at a boot, and at the one after that where power is cut meanwhile (row 435)', async () => {
    const before = await volume();
    const [rotate = ''] = replace.typed('you$');
    await site.typeHere(`${rotate} --yes`);
    await machine.reboot();
    await machine.shown(/assay-rotate: the server has the header with the next key: writing to the disk/);
    await machine.cutPower();
    await machine.until('systemctl is-active --quiet docker');
    await world.until(async () => (await volume())?.rotation === null);
    assert.notEqual((await volume())?.headerDigest, before?.headerDigest);
    assert.equal(await machine.states(), running);
    assert.equal(await machine.guest.shell(seeData), dataSeen);
    assert.match(
      await site.typeHere(setUpServer.typed('you$').find((line) => line.startsWith('assay ')) ?? ''),
      /^0 volumes/,
    );
    await site.typeHere(vouching('assay get nodes worker-1 --wait trusted'));
    await machine.guest.shell(saveHeader);
  });

  it('waits while the server is away, and opens no disk with a null cipher in its place (row 107)', async () => {
    await machine.guest.shell(`set -e
truncate -s 64M /root/other
echo other | cryptsetup luksFormat -q --type luks2 --uuid ${made.uuid} --cipher cipher_null-ecb --key-size 256 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /root/other
${swap}
sync`);
    await machine.guest.shell(
      `dd if=/root/other of=${volumeDevice} bs=1M count=16 conv=notrunc,fsync status=none`,
    );
    await world.restart(async () => {
      await machine.reboot();
      await machine.shown(/waits for the key of volume \S+: \w+: [^\n]*10\.0\.2\.100/);
    });
    await machine.shown(/the device has another header than the one that is known/);
    await machine.shown(/enter passphrase for disk docker/);
  });

  it('is asked for once more after a try that was killed before the key was used (row 87)', async () => {
    const stuck = `/run/assay-unlock/${made.uuid}.opened.json.new`;
    const released = (await volume())?.releasedAt ?? 0;
    await machine.guest.shell(`set -e
${restoreHeader}
mkfifo ${stuck}
chown assay-unlock:assay-unlock ${stuck}
systemctl restart --no-block systemd-cryptsetup@docker`);
    await world.until(async () => ((await volume())?.releasedAt ?? 0) > released, 300_000);
    await machine.until(
      'grep -q wait_for_partner /proc/$(systemctl show -P MainPID assay-unlock@docker)/task/[0-9]*/wchan',
    );
    await machine.guest.shell(`systemctl kill -s KILL assay-unlock@docker; rm ${stuck}`);
    assert.equal(await machine.states(), 'inactive\n'.repeat(4));
    await machine.guest.shell('systemctl restart --no-block systemd-cryptsetup@docker');
    await machine.shown(/worker-1 got the key of volume/);
  });

  it('is closed, and the boot capped, where its header is another one once it is open (row 426)', async () => {
    await machine.until('systemctl is-failed --quiet assay-cap');
    await machine.shown(/is not what it must be, and is closed: its header is another one/);
    await machine.until('! systemctl list-jobs --no-legend | grep -qv assay-inspect');
    assert.equal(await machine.guest.shell('ls /dev/mapper'), 'control\n');
    assert.equal(await machine.states(), `failed\n${'inactive\n'.repeat(3)}`);
    assert.equal(await readKey(), '0\n');
    await isLogged('lease_consumed');
  });

  it('is mounted again with the header that it had, and opened by a local key as well', async () => {
    await machine.guest.shell(`set -e
${restoreHeader}
systemctl disable swap-header
${traceBoots}
sed -i 's/10.0.2.101:9000, //' /etc/assay/unlock.yaml`);
    await machine.reboot();
    await machine.until('systemctl is-active --quiet docker');
    assert.equal(await machine.guest.shell(seeData), dataSeen);
    const leased = await bootParts(machine, ['assay-unlock@docker', 'assay-cap']);
    await machine.guest.shell(`set -e
umask 077
printf %s '${await site.passphrase()}' >/root/local.key
sed -i 's|${keySocket}|/root/local.key|' /etc/crypttab`);
    await machine.reboot();
    await machine.until('systemctl is-active --quiet docker');
    assert.equal(await machine.guest.shell(seeData), dataSeen);
    const local = await bootParts(machine, ['assay-cap']);
    console.log('seconds from the attempt to open the volume until it is mounted:');
    console.table({ 'with a lease': leased, 'with a local key': local });
  });
});

const saveHeader = `dd if=${volumeDevice} of=/root/header bs=1M count=16 status=none`;
const restoreHeader = `dd if=/root/header of=${volumeDevice} bs=1M conv=notrunc,fsync status=none`;

/** Changes the header once the volume is open, before the cap is made. */
const swap = `cat >/etc/systemd/system/swap-header.service <<'END'
[Unit]
DefaultDependencies=no
After=systemd-cryptsetup@docker.service
Before=assay-cap.service
[Service]
Type=oneshot
ExecStart=cryptsetup config --label other ${volumeDevice}
[Install]
WantedBy=assay-cap.service
END
systemctl daemon-reload
systemctl enable swap-header`;

const dataSeen = `./file f 644 0:0 2 
./overlay2 d 2710 1234:5678 2 
./overlay2/hard f 644 0:0 2 
./overlay2/soft l 777 1234:5678 1 ../file
./overlay2/white-out c 644 0:0 1 
1y`;
