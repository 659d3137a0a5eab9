import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { bootParts, traceBoots } from './boot-parts.ts';
import { asTyped, guestNode, type KeyMachine, keyMachine, keySocket, volumeDevice } from './key-machine.ts';
import { sectionOf } from './typed-page.ts';

const node = 'worker-1';
const repository = join(import.meta.dirname, '../..');
const waiting = z.object({ items: z.array(z.object({ ek: z.string() })) });
const running = 'active\n'.repeat(4);
const server = '10.0.2.100:9000';
const network = `cat >/etc/systemd/network/10-server.network <<'END'
[Match]
Type=ether
[Network]
Address=10.0.2.15/24
END
systemctl enable --now systemd-networkd
`;
const setUpServer = sectionOf('disk-keys', 'Set up the server');
const setUpNode = sectionOf('disk-keys', 'Set up a node');
const withData = sectionOf('disk-keys', 'A node that already holds data');
const replace = sectionOf('disk-keys', 'Replace a key');
const recover = sectionOf('disk-keys', 'Recover a disk');

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
  const resources = new AsyncDisposableStack();
  let dir: string;
  let world: TestServer;
  let machine: KeyMachine;
  let uuid: string;
  /** Into crypttab and fstab. */
  let lines: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-vm-lease-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const programs = join(dir, 'programs');
    await run(
      process.execPath,
      [join(repository, 'swtpm-fixtures/set-up/build.ts'), '--no-check', '--out', programs],
      { timeoutMs: 300_000, maxOutputBytes: 1 << 20 },
    );
    await prepareServer();
    machine = resources.use(await keyMachine(programs, world.server.agentPort));
    await machine.guest.shell(`${network}${leaveData}`);
    await enrol();
  });
  after(() => resources.disposeAsync());

  /** A line of a page that a person types elsewhere than on the node. */
  async function typeHere(
    line: string,
    env: Readonly<Record<string, string>> = world.env(),
  ): Promise<string> {
    const path = [join(dir, 'programs/bin'), dirname(process.execPath), process.env.PATH].join(':');
    const { stdout } = await run('sh', ['-ec', `cd ${dir}\n${line.replaceAll('/etc/assay/', `${dir}/`)}`], {
      timeoutMs: 600_000,
      maxOutputBytes: 1 << 20,
      env: { ...env, PATH: path },
    });
    return stdout.toString('utf8');
  }

  /** A line of docs/first-node.md by which a person vouches for a node. */
  function vouching(beginning: string): string {
    const lines = sectionOf('first-node', 'Vouch for it').typed('server#').join('\n').split('\n');
    return lines.find((line) => line.startsWith(beginning)) ?? assert.fail(beginning);
  }

  async function prepareServer(): Promise<void> {
    const [settings = '', policy = ''] = setUpServer.yaml;
    // The server runs as whoever runs this test.
    const typed = [...setUpServer.typed('server#'), ...setUpServer.typed('you$')];
    // What is typed to a server that runs comes later.
    for (const line of typed.filter((each) => !each.startsWith('assay ')))
      await typeHere(line.replace('chown assay:', 'chown $(id -un):'), {});
    const [recipient = ''] = /age1\w+/.exec(await readFile(join(dir, 'recovery.txt'), 'utf8')) ?? [];
    const file = join(dir, 'policy.yaml');
    await writeFile(
      file,
      `apiVersion: assay.dev/v1\nkind: Policy\n${policy.replace(/age1\w+/, recipient).replace('10.0.0.0/8', '127.0.0.0/8')}`,
    );
    const [, wrappingKey = ''] = /wrappingKeyFile: \/etc\/assay\/([\w-]+)/.exec(settings) ?? [];
    world = resources.use(
      await startTestServer({
        policy: file,
        wrappingKeyFile: join(dir, wrappingKey),
        names: ['10.0.2.100', '127.0.0.1'],
        challengeEvery: 10,
      }),
    );
  }

  /** By docs/first-node.md, with the helpers of docs/privileges.md that disks need. */
  async function enrol(): Promise<void> {
    const token = await typeHere(`assay join-token create --node ${node}`);
    const [agent = ''] = sectionOf('first-node', 'The node').yaml;
    await machine.guest.shell(`umask 077
cat >/etc/assay/worker-1.token <<'END'
${token}END
umask 022
cat >/etc/assay/agent.yaml <<'END'
${agent.replace('attest.example.org:8443', server)}END
`);
    for (const [page, heading] of [
      ['first-node', 'The node'],
      ['privileges', 'Inspect'],
      ['privileges', 'The agent without rights'],
    ] as const)
      await machine.guest.shell(asTyped(sectionOf(page, heading).typed('node#')[0] ?? ''));
    const ek = await world.until(
      async () => waiting.parse(await world.call('GET', '/v1/enrolments')).items[0]?.ek,
      300_000,
    );
    await typeHere(`assay enrol approve ${node} --ek ${ek}`);
    // A slow machine may not have read all for its first answer: then there is nothing to capture yet.
    const capture = vouching('assay reference capture worker-1 ');
    await world.until(() => typeHere(capture).catch(() => null), 300_000);
    await typeHere(vouching('assay get nodes worker-1 --wait trusted'));
  }

  const volume = async () => (await world.store.leases.volumes()).find((one) => one.uuid === uuid);
  const isLogged = (code: string) => machine.until(`journalctl -b -o cat -u "assay*" | grep -q ${code}`);
  /** Bytes of the key that root reads from the socket, as systemd-cryptsetup does. */
  const readKey = () =>
    machine.guest.shell(`systemctl start assay-unlock@docker.socket
timeout 200 ${guestNode} -e "let n = 0; require('net').connect({path: '${keySocket}', allowHalfOpen: true}).end().on('data', b => n += b.length).on('close', () => console.log(n))"`);

  it('is made for a node that holds data, which move out of the way', async () => {
    await machine.guest.shell(asTyped(withData.typed('node#')[0] ?? ''));
    const [install = '', units = ''] = setUpNode.typed('node#');
    await machine.guest.shell(asTyped(install));
    const [unlock = ''] = setUpNode.yaml;
    await machine.guest.shell(`cat >/etc/assay/unlock.yaml <<'END'
${unlock.replace('10.0.0.2:8443', server)}timeout: 60
END
`);
    await machine.guest.shell(asTyped(units));
    const [init = ''] = setUpNode.typed('you$');
    const out = await typeHere(init);
    [, uuid = ''] = /LUKS UUID (\S+)/.exec(out) ?? [];
    const [format = '', crypttab = '', fstab = '', ...enable] = [...out.matchAll(/^ {2}(.*)$/gm)].map(
      ([, line = '']) => line,
    );
    // What it prints is what the page has.
    const [, , ofPage = '', enabledByPage = ''] = setUpNode.typed('node#');
    assert.equal(format, ofPage.replace('UUID', uuid));
    assert.equal(enable.join('\n'), enabledByPage.replace('UUID', uuid));
    lines = `echo '${crypttab}' >/etc/crypttab\necho '${fstab}' >>/etc/fstab`;
  });

  it('is formatted on the node, once, though format is killed and power is cut meanwhile', async () => {
    const format = setUpNode.typed('node#')[2]?.replace('UUID', uuid) ?? '';
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
    await machine.guest.shell(
      `${lines}\n${asTyped(setUpNode.typed('node#')[3]?.replace('UUID', uuid) ?? '')}`,
    );
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
    const [, required = ''] = setUpNode.yaml;
    const [first = ''] = required.split(':');
    const before = await readFile(join(dir, 'policy.yaml'), 'utf8');
    await writeFile(join(dir, 'policy.yaml'), before.replace(new RegExp(`^${first}:.*\\n`, 'm'), required));
    await world.server.reload();
    await typeHere(setUpNode.typed('server#')[0]?.split('\n').at(-1) ?? '');
    await world.until(
      async () => (await world.status(node))?.verdict?.aspects.disk?.status === 'affirming',
      300_000,
    );
    assert.deepEqual((await world.status(node))?.verdict?.aspects.disk?.references, [`disk-${uuid}`]);
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
    machine.guest.console.type(`${await passphrase()}\n`);
    await machine.until('systemctl is-active --quiet docker');
    assert.equal(await machine.guest.shell(seeData), dataSeen);
  });

  /** Decrypted by the lines of the page. */
  async function passphrase(): Promise<string> {
    const [decrypt = ''] = recover.typed('you$');
    return (await typeHere(decrypt)).trim().split('\n').at(-1) ?? '';
  }

  it('asks for the passphrase where its keyslot is damaged, and is opened by the key once that is written back', async () => {
    await machine.guest.shell(`set -e
${saveHeader}
dd if=/dev/zero of=${volumeDevice} bs=4096 seek=8 count=1 conv=notrunc,fsync status=none`);
    await machine.reboot();
    await machine.shown(/worker-1 got the key of volume[\s\S]*enter passphrase for disk docker/);
    machine.guest.console.type(`${await passphrase()}\n`);
    await machine.until('systemctl is-active --quiet docker');
    await machine.guest.shell(
      'journalctl -b -o cat -u systemd-cryptsetup@docker | grep -q "Key data incorrect"',
    );
    await machine.guest.shell(restoreHeader);
  });

  it('gets its next key at a boot, and at the one after that where power is cut meanwhile (row 435)', async () => {
    const before = await volume();
    const [rotate = ''] = replace.typed('you$');
    await typeHere(`${rotate} --yes`);
    await machine.reboot();
    await machine.shown(/assay-rotate: the server has the header with the next key: writing to the disk/);
    await machine.cutPower();
    await machine.until('systemctl is-active --quiet docker');
    await world.until(async () => (await volume())?.rotation === null);
    assert.notEqual((await volume())?.headerDigest, before?.headerDigest);
    assert.equal(await machine.states(), running);
    assert.equal(await machine.guest.shell(seeData), dataSeen);
    assert.match(
      await typeHere(setUpServer.typed('you$').find((line) => line.startsWith('assay ')) ?? ''),
      /^0 volumes/,
    );
    await typeHere(vouching('assay get nodes worker-1 --wait trusted'));
    await machine.guest.shell(saveHeader);
  });

  it('waits while the server is away, and opens no disk with a null cipher in its place (row 107)', async () => {
    await machine.guest.shell(`set -e
truncate -s 64M /root/other
echo other | cryptsetup luksFormat -q --type luks2 --uuid ${uuid} --cipher cipher_null-ecb --key-size 256 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /root/other
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
    const stuck = `/run/assay-unlock/${uuid}.opened.json.new`;
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
printf %s '${await passphrase()}' >/root/local.key
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
