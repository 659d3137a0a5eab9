import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { inspectDisk } from '../../../agent/inspect/disk.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { inspectedPath, volumeOf } from '../../../swtpm-fixtures/disk.ts';
import { lastingPort } from '../../../swtpm-fixtures/lasting-port.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { type UnlockingMachine, unlockingMachine } from '../../../swtpm-fixtures/unlocking-machine.ts';
import { DoomedServer } from '../../attacks/one-server/server.ts';
import { runAssay } from '../../attest-server/cli/cli-fixture.ts';
import { startAgent } from '../../attest-server/real-agent.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootAnew, leasedKey, rotateHere } from './replacing.ts';
import { policyWithKeys, until, volumeFor, writeKeySettings } from './volume-for.ts';

const log = recordedLog('debian13-sdboot-uki');

interface Site {
  readonly node: string;
  readonly machine: FixtureMachine;
  readonly disk: UnlockingMachine;
  readonly uuid: string;
}

/** Each test goes on where the one before it ended. */
describe('a database that is restored from before the rotation of a key', function () {
  this.timeout(120_000);
  const resources = new AsyncDisposableStack();
  let dir: string;
  let files: { readonly stateDir: string; readonly configFile: string };
  let agents: { readonly port: number; readonly caFile: string };
  let env: Readonly<Record<string, string>>;
  let server: DoomedServer | null = null;
  let rotated: Site;
  let other: Site;
  let earlier: Buffer;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-restored-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const identity = await generateIdentity();
    await writeFile(join(dir, 'recovery.txt'), `${identity}\n`, { mode: 0o600 });
    const settings = await writeKeySettings(dir);
    const policy = policyWithKeys(await identityToRecipient(identity))
      .replace('[identity, boot]', '[identity, boot, disk]')
      .replace('keys: {', 'disk: {paths: [/var/lib/docker]},\n     keys: {');
    await writeFile(settings.policy, policy);
    const [stateDir, agentPort, apiPort] = [join(dir, 'state'), await lastingPort(), await lastingPort()];
    files = { stateDir, configFile: join(dir, 'server.json') };
    const keys = { wrappingKeyFile: settings.wrappingKeyFile };
    const config = {
      stateDir,
      policy: settings.policy,
      host: '127.0.0.1',
      agentPort,
      apiPort,
      metricsPort: 0,
    };
    await writeFile(files.configFile, JSON.stringify({ ...config, keys }));
    agents = { port: agentPort, caFile: join(stateDir, 'tls/ca.crt') };
    env = {
      ASSAY_SERVER: `https://127.0.0.1:${apiPort}`,
      ASSAY_TOKEN_FILE: join(stateDir, 'admin.token'),
      ASSAY_CA_FILE: agents.caFile,
    };
    resources.defer(() => server?.kill());
    await startServer();
    rotated = await siteOf('node-1');
    other = await siteOf('node-2');
  });
  after(() => resources.disposeAsync());

  /** @param meanwhile done while it is down */
  async function startServer(meanwhile?: () => Promise<void>): Promise<void> {
    await server?.kill();
    await meanwhile?.();
    server = await DoomedServer.start(files, null);
  }

  async function call(method: string, path: string, body?: object): Promise<unknown> {
    const answer = await (server ?? assert.fail()).call(method, path, body);
    assert.ok(answer.status < 300, JSON.stringify(answer.body));
    return answer.body;
  }

  /** A node whose disk is formatted, and was opened with its key once. */
  async function siteOf(node: string): Promise<Site> {
    const machine = await startMachine({ log });
    resources.defer(() => machine.dispose());
    const uuid = await volumeFor(machine, node, agents, call);
    const disk = resources.use(await unlockingMachine(machine, node, agents, programs['assay-agent']));
    await disk.format(uuid);
    const site = { node, machine, disk, uuid };
    await boot(site);
    assert.equal(await answer(site), 'trusted');
    return site;
  }

  /** Boots; gives what systemd-cryptsetup would open the disk with, and has the host show that it is open. */
  async function boot({ machine, disk, uuid }: Site): Promise<Buffer> {
    await bootAnew(machine, disk, log);
    const key = await leasedKey(disk, uuid);
    await mounted(machine, disk, uuid);
    return key;
  }

  /** As the kernel and `assay-agent inspect` show the disk that is open. */
  async function mounted({ sysroot }: FixtureMachine, disk: UnlockingMachine, uuid: string): Promise<void> {
    const { mapping } = volumeOf(uuid);
    const dm = join(sysroot, 'sys/devices/virtual/block/dm-0/dm/uuid');
    await writeFile(dm, `CRYPT-LUKS2-${uuid.replaceAll('-', '')}-${mapping}\n`);
    const device = join(sysroot, 'dev/vdd');
    await rm(device, { force: true });
    await mkdir(join(sysroot, 'dev'), { recursive: true });
    await symlink(disk.device, device);
    // The tables are those of the kernel that runs here, which has no such mapping.
    const tables = {
      '253:0': [`0 98304 crypt aes-xts-plain64 :64:logon:cryptsetup:${uuid}-d0 0 254:48 32768`],
    };
    const { inspected } = await inspectDisk(sysroot, new Date());
    const seen = { version: 1, inspected, tables, tablesUnread: null };
    await writeFile(join(sysroot, inspectedPath), JSON.stringify(seen));
  }

  /** The state by the next answer of its agent. */
  async function answer({ machine, node }: Site): Promise<string> {
    const shown = async () => nodeView.parse(await call('GET', `/v1/nodes/${node}`));
    const { verifiedAt } = await shown();
    await using _agent = await startAgent(machine, node, agents);
    const state = await until(async () => {
      const now = await shown();
      return now.verifiedAt === verifiedAt || now.state === 'pending' ? null : now.state;
    });
    return state;
  }

  async function assay(...line: readonly string[]): Promise<string> {
    const { code, out, err } = await runAssay(line, { env, cwd: dir, now: () => Date.now() });
    assert.ok(code === 0 || line[0] === 'why', `${line.join(' ')}: ${err}`);
    return out;
  }

  const nextBoots = async () =>
    (await assay('disk', 'list')).split('\n').flatMap((line) => {
      const [, node, next] = /^(node-\d) .*\s{2}(\S.*?)\s*$/.exec(line) ?? [];
      return node === undefined ? [] : [`${node} ${next}`];
    });

  it('says of that node alone that it gets no key, before it boots, and how to go on', async () => {
    const database = ['', '-wal'].map((end) => `assay.db${end}`);
    const copy = async (from: string, to: string) => {
      await rm(join(to, 'assay.db-shm'), { force: true });
      for (const file of database) await cp(join(from, file), join(to, file));
    };
    const backup = join(dir, 'backup');
    await startServer(() => copy(files.stateDir, backup));
    await call('POST', `/v1/volumes/${rotated.uuid}/rotate`, {});
    earlier = await boot(rotated);
    assert.match(await rotateHere(rotated.disk, rotated.uuid), /has its next key/);
    await mounted(rotated.machine, rotated.disk, rotated.uuid);
    for (const site of [rotated, other]) assert.equal(await answer(site), 'trusted');
    assert.deepEqual(
      await nextBoots(),
      ['node-1 unknown', 'node-2 unknown'],
      'no boot of theirs is inspected',
    );
    await startServer(() => copy(backup, files.stateDir));
    for (const site of [rotated, other])
      assert.equal(await answer(site), site === rotated ? 'untrusted' : 'trusted');
    assert.deepEqual(await nextBoots(), ['node-1 NO KEY', 'node-2 unknown']);
    const why = (await assay('why', rotated.node)).replace(/\s+/g, ' ');
    assert.match(why, /luks_header_changed/);
    assert.match(why, /would get no key at its next boot/);
    assert.match(why, /its key opens nothing there/);
    assert.match(why, /recovery passphrase at hand.* write back the header .*Recover a disk/);
    assert.doesNotMatch(await assay('why', other.node), /luks_header_changed|get no key at its/);
  });

  it('gives that node no key with its disk as it is', async () => {
    const { machine, disk, uuid } = rotated;
    await bootAnew(machine, disk, log);
    await using program = disk.unlock(uuid);
    assert.equal((await program.read()).length, 0);
    assert.match((await program.ended).said, /another header than the one that is known/);
    assert.equal(await disk.opens(earlier), false);
  });

  it('opens it by its lease again once the header that it has is written back', async () => {
    const { node, disk } = rotated;
    await assay('disk', 'escrow', node, 'docker', '-f', 'docker.age', '--header', 'docker-header.age');
    const passphrase = await assay('disk', 'recover', 'docker.age', '--identity', 'recovery.txt');
    assert.equal(await disk.opens(Buffer.from(passphrase.trimEnd())), true);
    await assay('disk', 'recover', 'docker-header.age', '--identity', 'recovery.txt', '-f', 'header.img');
    const restore = ['luksHeaderRestore', '--batch-mode', disk.device, '--header-backup-file'];
    await run('cryptsetup', [...restore, join(dir, 'header.img')], {
      timeoutMs: 20_000,
      maxOutputBytes: 4096,
    });
    const key = await boot(rotated);
    assert.deepEqual([key, await disk.opens(key)], [earlier, true]);
    assert.equal(await answer(rotated), 'trusted');
    assert.deepEqual(await nextBoots(), ['node-1 unknown', 'node-2 unknown']);
  });
});
