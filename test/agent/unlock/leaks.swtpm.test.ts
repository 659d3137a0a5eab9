import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { volumeEscrow } from '../../../attest-server/api/volume-api.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { type UnlockingMachine, unlockingMachine } from '../../../swtpm-fixtures/unlocking-machine.ts';
import { ask } from '../../attest-server/running-server.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import {
  formsOf,
  foundInMemory,
  keepsWhatItHandsOver,
  preloading,
  stopped,
  stopsAtItsEnd,
} from './process-memory.ts';
import { policyWithKeys, until, volumeFor } from './volume-for.ts';

const node = 'node-1';
const log = recordedLog('debian13-sdboot-uki');
const listening = z.object({ agents: z.number(), api: z.number() });

/** Each test goes on where the one before it ended. */
describe('the key and the recovery passphrase of a disk, once they were used', function () {
  this.timeout(120_000);
  const resources = new AsyncDisposableStack();
  let dir: string;
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
    dir = await mkdtemp(join(tmpdir(), 'assay-leaks-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    [stateDir, temporary] = [join(dir, 'state'), await mkdtemp(join(dir, 'tmp-'))];
    wrappingKey = randomBytes(32).toString('base64');
    identity = await generateIdentity();
    const [policy, wrappingKeyFile] = [join(dir, 'policy.yaml'), join(dir, 'wrapping-key')];
    await writeFile(wrappingKeyFile, wrappingKey, { mode: 0o400 });
    await writeFile(policy, policyWithKeys(await identityToRecipient(identity)));
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
      const { status, text } = await ask({ port: ports.api, ca, token: token.trim(), method, path, body });
      assert(status < 300, text);
      return JSON.parse(text);
    };
    machine = await startMachine({ log });
    resources.defer(() => machine.dispose());
    const agents = { port: ports.agents, caFile };
    uuid = await volumeFor(machine, node, agents, api);
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

  function unlocking(...scripts: readonly string[]) {
    const environment = { ASSAY_UNLOCK_LOG_LEVEL: 'trace', TMPDIR: temporary };
    return disk.unlock(uuid, { environment: { ...environment, ...preloading(stopsAtItsEnd, ...scripts) } });
  }

  it('are not in the memory of assay-agent format, nor in that of unlock (row 428)', async () => {
    const { config, device } = disk;
    const env = {
      ASSAY_UNLOCK_SERVERS: `127.0.0.1:${config.servers[0]?.port}`,
      ASSAY_UNLOCK_NODE: node,
      ASSAY_UNLOCK_CA_FILE: config.caFile,
      ASSAY_UNLOCK_TCTI: config.tcti,
      ASSAY_UNLOCK_SYSROOT: config.sysroot,
      ASSAY_UNLOCK_LOG_LEVEL: 'trace',
      TMPDIR: temporary,
      ...preloading(stopsAtItsEnd),
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
    await using unlock = unlocking();
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

  for (const form of ['latin1', 'hex', 'base64'] as const)
    it(`would be found if one copy stayed in memory as ${form}`, async () => {
      await using unlock = unlocking(keepsWhatItHandsOver(form));
      await unlock.read();
      await stopped(unlock.pid);
      const { key = assert.fail() } = secrets;
      assert.deepEqual(await foundInMemory(unlock.pid, { key }), ['key']);
    });

  it('are not in the memory of the server (row 428)', async () => {
    const there = { wrapping: Buffer.from(wrappingKey, 'base64') };
    const pid = server.pid ?? assert.fail();
    assert.deepEqual(await foundInMemory(pid, { ...secrets, ...there }), ['wrapping']);
  });

  it('are in no database, backup, folder of state or for temporary files, nor on the disk (row 428)', async () => {
    await api('POST', '/v1/backups', {});
    const { config, device } = disk;
    const folders = [dir, config.stateDir, config.runtimeDir, config.capDir, '/dev/shm'];
    const files = [device];
    for (const folder of folders)
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []))
        if (entry.isFile()) files.push(join(entry.parentPath, entry.name));
    // What must be there: else nothing was searched.
    const forms = Object.entries({ ...secrets, uuid: Buffer.from(uuid) }).map(
      ([name, secret]) => [name, formsOf(secret)] as const,
    );
    const found: string[] = [];
    for (const file of files) {
      const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
        // Of another program, which removed it.
        if (error.code === 'ENOENT') return Buffer.alloc(0);
        throw error;
      });
      for (const [name, all] of forms)
        if (all.some((form) => bytes.includes(form))) found.push(`${name} in ${file}`);
    }
    assert.deepEqual(
      found.filter((one) => !one.startsWith('uuid ')),
      [],
    );
    const ofServer = ['assay.db', 'assay.db-wal', 'backups'].map((name) => join(stateDir, name));
    for (const place of [...ofServer, device, config.runtimeDir])
      assert(
        found.some((one) => one.startsWith(`uuid in ${place}`)),
        place,
      );
  });

  it('were neither logged nor printed (row 428)', () => {
    assert.match(said, /got the key of volume/);
    for (const secret of Object.values(secrets))
      for (const form of formsOf(secret)) assert.equal(said.includes(form.toString('latin1')), false);
  });
});
