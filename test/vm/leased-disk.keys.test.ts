import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { volumeEscrow, volumeMade } from '../../attest-server/api/volume-api.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { type KeyMachine, keyMachine, keySocket, volumeDevice } from './key-machine.ts';

const node = 'worker-1';
const repository = join(import.meta.dirname, '../..');
const waiting = z.object({ items: z.array(z.object({ ek: z.string() })) });
const running = 'active\n'.repeat(4);
const network = `cat >/etc/systemd/network/10-server.network <<'END'
[Match]
Type=ether
[Network]
Address=10.0.2.15/24
END
systemctl enable --now systemd-networkd
`;

/** Each test goes on where the one before it ended. */
describe('a volume whose key is leased, on a machine whose first process is systemd', function () {
  this.timeout(0);
  const resources = new AsyncDisposableStack();
  let identity: string;
  let world: TestServer;
  let machine: KeyMachine;
  let uuid: string;
  before(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-lease-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    identity = await generateIdentity();
    const [policy, wrappingKeyFile] = [join(dir, 'policy.yaml'), join(dir, 'wrapping-key')];
    await writeFile(wrappingKeyFile, randomBytes(32).toString('base64'), { mode: 0o400 });
    await writeFile(
      policy,
      `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["worker-*"]
    mode: enforce
    require: [identity, boot]
    keys: {recoveryRecipients: [${await identityToRecipient(identity)}], allowUnmeasuredRoot: true}
`,
    );
    world = resources.use(
      await startTestServer({
        policy,
        wrappingKeyFile,
        names: ['10.0.2.100', '127.0.0.1'],
        challengeEvery: 10,
      }),
    );
    const programs = join(dir, 'programs');
    await run(
      process.execPath,
      [join(repository, 'swtpm-fixtures/set-up/build.ts'), '--no-check', '--out', programs],
      {
        timeoutMs: 300_000,
        maxOutputBytes: 1 << 20,
      },
    );
    machine = resources.use(await keyMachine(programs, 'agent/main.js', world.server.agentPort));
    const common = { node, servers: ['10.0.2.100:9000'], caFile: '/etc/assay/ca.crt' };
    await machine.guest.shell(`set -e
cat >/etc/assay/ca.crt <<'END'
${world.ca}END
echo '${JSON.stringify(common)}' >/etc/assay/agent.yaml
echo '${JSON.stringify({ ...common, timeout: 60 })}' >/etc/assay/unlock.yaml
${network}
cp /mnt/host/assay-agent.service /etc/systemd/system
systemctl daemon-reload
systemctl enable --now assay-agent`);
    const ek = await world.until(
      async () => waiting.parse(await world.call('GET', '/v1/enrolments')).items[0]?.ek,
      300_000,
    );
    await world.call('POST', `/v1/enrolments/${node}/approve`, { ek });
    // A slow machine may not have read all for its first answer: then there is nothing to capture yet.
    const capture = () => world.call('POST', '/v1/references', { node, name: 'boot-1' });
    await world.until(() => capture().catch(() => null), 300_000);
    await world.until(async () => (await world.status(node))?.state === 'trusted', 300_000);
  });
  after(() => resources.disposeAsync());

  const volume = async () => (await world.store.leases.volumes()).find((one) => one.uuid === uuid);
  /** Bytes of the key that root reads from the socket, as systemd-cryptsetup does. */
  const readKey = () =>
    machine.guest.shell(`systemctl start assay-unlock@docker.socket
timeout 200 /usr/local/lib/node -e "let n = 0; require('net').connect({path: '${keySocket}', allowHalfOpen: true}).end().on('data', b => n += b.length).on('close', () => console.log(n))"`);

  it('is formatted on the node, once, by the lines of assay disk init', async () => {
    const made = volumeMade.parse(
      await world.call('POST', '/v1/volumes', { node, name: 'docker', path: '/var/lib/docker' }),
    );
    uuid = made.uuid;
    const format = `cd /etc/assay && assay-agent format --config unlock.yaml --volume ${uuid} --device ${volumeDevice}`;
    assert.match(await machine.guest.shell(format), /is formatted on/);
    await assert.rejects(machine.guest.shell(format), /is formatted: nothing was written/);
    assert.notEqual((await volume())?.headerDigest, null);
    await machine.guest.shell(`echo '${made.crypttab}' >/etc/crypttab
echo '${made.fstab}' >>/etc/fstab
echo ASSAY_UNLOCK_VOLUME=${uuid} >/etc/default/assay-unlock-docker`);
  });

  it('is open and mounted after a boot that proved itself, before the runtime starts', async () => {
    await machine.reboot();
    await machine.until('systemctl is-active --quiet docker');
    assert.match(await machine.guest.console.text(), /worker-1 got the key of volume/);
    assert.equal(await machine.states(), running);
    assert.equal(
      await machine.guest.shell('findmnt -no SOURCE,FSTYPE /var/lib/docker'),
      '/dev/mapper/docker ext4\n',
    );
    await machine.guest.shell('echo data >/var/lib/docker/file');
    assert.notEqual((await volume())?.cappedAt, null);
  });

  it('gets no key any more in that boot, though root asks at the socket', async () => {
    assert.match(await machine.guest.shell('tpm2_pcrread sha256:15'), /15: 0x(?!0{64})/);
    assert.equal(await readKey(), '0\n');
    assert.match(await machine.guest.shell('journalctl -b -u assay-unlock@docker'), /lease_consumed/);
  });

  it('is opened by the recovery passphrase after a boot that nobody vouches for', async () => {
    await machine.reboot(' changed');
    await machine.shown(/enter passphrase for disk docker/);
    const escrow = volumeEscrow.parse(await world.call('GET', `/v1/volumes/${uuid}/escrow`));
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const passphrase = await decrypter.decrypt(armor.decode(escrow.recovery), 'text');
    machine.guest.console.type(`${passphrase}\n`);
    await machine.until('systemctl is-active --quiet docker');
    assert.equal(await machine.guest.shell('cat /var/lib/docker/file'), 'data\n');
  });
});
