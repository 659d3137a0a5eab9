import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { volumeEscrow, volumeMade } from '../../../attest-server/api/volume-api.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { type UnlockingMachine, unlockingMachine } from '../../../swtpm-fixtures/unlocking-machine.ts';
import { ekDigestOf, startAgent } from '../../attest-server/real-agent.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { formsOf, foundInMemory, stopped, stopsAtItsEnd } from './process-memory.ts';

const node = 'node-1';
const log = recordedLog('debian13-sdboot-uki');
const listening = z.object({ agents: z.number(), api: z.number() });
const state = z.object({ state: z.string() });

/** Each test goes on where the one before it ended. */
describe('the key and the recovery passphrase of a disk, once they were used', function () {
  this.timeout(120_000);
  const resources = new AsyncDisposableStack();
  let stateDir: string;
  let temporary: string;
  let wrappingKey: string;
  let identity: string;
  let machine: FixtureMachine;
  let disk: UnlockingMachine;
  let server: ReturnType<typeof start>;
  let api: (method: string, path: string, body?: object) => Promise<unknown>;
  let uuid: string;
  let said = '';
  let secrets: Readonly<Record<string, Buffer>> = {};

  before(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-leaks-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    [stateDir, temporary] = [join(dir, 'state'), await mkdtemp(join(dir, 'tmp-'))];
    wrappingKey = randomBytes(32).toString('base64');
    identity = await generateIdentity();
    const [policy, wrappingKeyFile] = [join(dir, 'policy.yaml'), join(dir, 'wrapping-key')];
    await writeFile(wrappingKeyFile, wrappingKey, { mode: 0o400 });
    const keys = `{recoveryRecipients: [${await identityToRecipient(identity)}], allowUnmeasuredRoot: true}`;
    await writeFile(
      policy,
      [
        'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
        '  - {name: default, nodes: ["*"], mode: enforce, require: [identity, boot], enrolment: [pin],',
        `     keys: ${keys}}\n`,
      ].join('\n'),
    );
    const config = { stateDir, policy, host: '127.0.0.1', agentPort: 0, apiPort: 0, metricsPort: 0 };
    const file = join(dir, 'server.yaml');
    await writeFile(file, JSON.stringify({ ...config, keys: { wrappingKeyFile }, logLevel: 'trace' }));
    server = start(process.execPath, [programs['assay-server'], '--config', file], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { TMPDIR: temporary },
    });
    const ended = once(server, 'close');
    resources.defer(async () => {
      server.kill('SIGKILL');
      await ended;
    });
    hear(server);
    const listens = () => said.split('\n').find((line) => line.includes('"the server listens"'));
    const ports = listening.parse(JSON.parse(await until(listens)));
    const caFile = join(stateDir, 'tls/ca.crt');
    const [ca, token] = await Promise.all([
      readFile(caFile, 'utf8'),
      readFile(join(stateDir, 'admin.token'), 'utf8'),
    ]);
    api = async (method, path, body) => {
      const headers = { authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json' };
      const call = request({ host: '127.0.0.1', port: ports.api, ca, method, path, headers, agent: false });
      call.end(body && JSON.stringify(body));
      const [answer] = await once(call, 'response');
      const text = Buffer.concat(await answer.toArray()).toString('utf8');
      assert(answer.statusCode < 300, text);
      return JSON.parse(text);
    };
    machine = await startMachine({ log });
    resources.defer(() => machine.dispose());
    await api('POST', '/v1/pins', { pins: [{ node, ek: await ekDigestOf(machine) }] });
    const agents = { port: ports.agents, caFile };
    {
      await using _agent = await startAgent(machine, node, agents);
      // Refused until it has proven itself.
      await until(() => api('POST', '/v1/references', { node, name: 'boot-1' }).catch(() => null));
      await until(async () => state.parse(await api('GET', `/v1/nodes/${node}`)).state === 'trusted');
    }
    const made = await api('POST', '/v1/volumes', { node, name: 'docker', path: '/var/lib/docker' });
    uuid = volumeMade.parse(made).uuid;
    disk = await unlockingMachine(machine, node, agents, programs['assay-agent']);
    resources.use(disk);
  });
  after(() => resources.disposeAsync());

  function hear({ stdout, stderr }: ReturnType<typeof start>): void {
    for (const stream of [stdout, stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
  }

  it('are not in the memory of assay-agent format, nor in that of unlock', async () => {
    const { config, device } = disk;
    const env = {
      ASSAY_UNLOCK_SERVERS: `127.0.0.1:${config.servers[0]?.port}`,
      ASSAY_UNLOCK_NODE: node,
      ASSAY_UNLOCK_CA_FILE: config.caFile,
      ASSAY_UNLOCK_TCTI: config.tcti,
      ASSAY_UNLOCK_SYSROOT: config.sysroot,
      ASSAY_UNLOCK_LOG_LEVEL: 'trace',
      TMPDIR: temporary,
      ...stopsAtItsEnd,
    };
    const format = start(
      'sh',
      [
        ...['-c', 'ulimit -c 0; exec "$@"', 'sh', process.execPath, programs['assay-agent'], 'format'],
        ...['--volume', uuid, '--device', device],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env },
    );
    const formatted = once(format, 'close');
    // One that is stopped would stay for good.
    resources.defer(() => void format.kill('SIGKILL'));
    hear(format);
    const pid = format.pid ?? assert.fail();
    await stopped(pid);
    assert.match(said, /is formatted on/);
    await machine.powerCycle(log);
    await using unlock = disk.unlock(uuid, {
      environment: { ...stopsAtItsEnd, ASSAY_UNLOCK_LOG_LEVEL: 'trace', TMPDIR: temporary },
    });
    const key = await unlock.read();
    await stopped(unlock.pid);
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const { recovery } = volumeEscrow.parse(await api('GET', `/v1/volumes/${uuid}/escrow`));
    const passphrase = Buffer.from(await decrypter.decrypt(armor.decode(recovery)));
    // Freed memory loses its first bytes.
    secrets = {
      key,
      passphrase,
      'half a key': key.subarray(16),
      'half a passphrase': passphrase.subarray(24),
    };
    // What must be there: else nothing was searched.
    const there = { node: Buffer.from(node) };
    assert.deepEqual(await foundInMemory(pid, { ...secrets, ...there }), ['node'], 'format');
    assert.deepEqual(await foundInMemory(unlock.pid, { ...secrets, ...there }), ['node'], 'unlock');
    for (const stoppedOne of [pid, unlock.pid]) process.kill(stoppedOne, 'SIGCONT');
    await formatted;
    said += (await unlock.ended).said;
  });

  it('are not in the memory of the server', async () => {
    const there = { wrapping: Buffer.from(wrappingKey, 'base64') };
    const pid = server.pid ?? assert.fail();
    assert.deepEqual(await foundInMemory(pid, { ...secrets, ...there }), ['wrapping']);
  });

  it('are in no database, backup, folder of state or for temporary files, nor on the disk', async () => {
    await api('POST', '/v1/backups', {});
    const { config, device } = disk;
    const folders = [stateDir, temporary, config.stateDir, config.runtimeDir, config.capDir, '/dev/shm'];
    const files = [device];
    for (const folder of folders)
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []))
        if (entry.isFile()) files.push(join(entry.parentPath, entry.name));
    for (const suffix of ['assay.db', 'assay.db-wal', '.opened.json'])
      assert(
        files.some((file) => file.endsWith(suffix)),
        suffix,
      );
    assert(
      files.some((file) => file.startsWith(join(stateDir, 'backups'))),
      'a backup',
    );
    for (const file of files) {
      const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
        // Of another program, which removed it.
        if (error.code === 'ENOENT') return Buffer.alloc(0);
        throw error;
      });
      for (const [name, secret] of Object.entries(secrets))
        for (const form of formsOf(secret)) assert.equal(bytes.includes(form), false, `${name} in ${file}`);
    }
  });

  it('were neither logged nor printed', () => {
    assert.match(said, /got the key of volume/);
    for (const secret of Object.values(secrets))
      for (const form of formsOf(secret)) assert.equal(said.includes(form.toString('latin1')), false);
  });
});

/** What `found` gives, once it gives something. */
async function until<T>(found: () => T | Promise<T>): Promise<NonNullable<T>> {
  for (const end = performance.now() + 30_000; ; await sleep(50)) {
    const value = await found();
    if (value) return value;
    assert(performance.now() < end, `not in time: ${found}`);
  }
}
