import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { headerBytes } from '../../../agent/unlock/format.ts';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import { parseLuksHeader } from '../../../attest-server/wire/luks-header.ts';
import { lastingPort } from '../../../swtpm-fixtures/lasting-port.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import {
  opensDisk,
  type UnlockingMachine,
  unlockingMachine,
} from '../../../swtpm-fixtures/unlocking-machine.ts';
import { DoomedServer } from '../../attacks/one-server/server.ts';
import { type Cut, killedAt } from '../../attest-server/keys/killed-at.ts';
import { openMadeStore } from '../../attest-server/store/made-store.ts';
import { programs } from '../../programs.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootAnew, leasedKey } from './replacing.ts';
import { volumeFor, writeKeySettings } from './volume-for.ts';

const node = 'node-1';
const log = recordedLog('debian13-sdboot-uki');

/** Each test goes on where the one before it ended. */
describe('a server that is killed while the key of a disk is replaced', function () {
  this.timeout(120_000);
  const resources = new AsyncDisposableStack();
  let dir: string;
  let files: { readonly stateDir: string; readonly configFile: string };
  let wrappingKeyFile: string;
  let server: DoomedServer | null = null;
  let machine: FixtureMachine;
  let disk: UnlockingMachine;
  let uuid: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-killed-server-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const settings = await writeKeySettings(dir);
    ({ wrappingKeyFile } = settings);
    files = { stateDir: join(dir, 'state'), configFile: join(dir, 'server.json') };
    const [stateDir, agentPort] = [files.stateDir, await lastingPort()];
    const config = { stateDir, policy: settings.policy, host: '127.0.0.1', apiPort: 0, metricsPort: 0 };
    await writeFile(files.configFile, JSON.stringify({ ...config, agentPort, keys: { wrappingKeyFile } }));
    resources.defer(() => server?.kill());
    await startServer();
    machine = await startMachine({ log });
    resources.defer(() => machine.dispose());
    const agents = { port: agentPort, caFile: join(stateDir, 'tls/ca.crt') };
    uuid = await volumeFor(machine, node, agents, call);
    disk = resources.use(await unlockingMachine(machine, node, agents, programs['assay-agent']));
    await disk.format(uuid);
  });
  after(() => resources.disposeAsync());

  async function startServer(cut?: Cut): Promise<DoomedServer> {
    await server?.kill();
    server = await DoomedServer.start(files, 60_000, cut && killedAt(cut));
    return server ?? assert.fail('it was killed before it listened');
  }

  async function call(method: string, path: string, body?: object): Promise<unknown> {
    const answer = await (server ?? assert.fail()).call(method, path, body);
    assert.ok(answer.status < 300, JSON.stringify(answer.body));
    return answer.body;
  }

  /** The key that opens the disk as it is, of those that the database has: of the header that the server expects there. */
  async function keyOnServer(): Promise<Buffer> {
    const wrapping = openWrappingKeys({ file: wrappingKeyFile, beside: [] }) ?? assert.fail();
    await using store = await openMadeStore(join(files.stateDir, 'assay.db'));
    const volume = (await store.leases.volume(uuid)) ?? assert.fail();
    const image = await readFile(disk.device);
    const bytes = image.subarray(0, headerBytes);
    const { header } = parseLuksHeader([{ at: 0, asked: bytes.length, bytes }], true);
    const wrapped = header?.digest === volume.headerDigest ? volume.key : volume.nextKey;
    assert.ok([volume.headerDigest, volume.rotation?.headerDigest].includes(header?.digest));
    assert.ok(wrapped !== null);
    const { ekDigest } = volume;
    const key = wrapping.unwrap(wrapped, { purpose: 'volume', node, ekDigest, volume: uuid });
    // cryptsetup may repair what it opens.
    const copy = join(dir, 'copy');
    await writeFile(copy, image);
    assert.ok(await opensDisk(copy, key), 'locked out');
    return key;
  }

  /** Boots, and gives what the disk is opened with: as systemd-cryptsetup would. */
  async function boot(): Promise<Buffer> {
    await bootAnew(machine, disk, log);
    return leasedKey(disk, uuid, { timeout: 60 });
  }

  const begin = () => call('POST', `/v1/volumes/${uuid}/rotate`, {});

  /** A rotation, up to where the server kills itself; then another one starts. */
  async function replaceUntilKilled(cut: Cut): Promise<void> {
    const doomed = await startServer(cut);
    let isKilled = false;
    const killed = doomed.ended.then(async () => {
      isKilled = true;
      await keyOnServer();
      await startServer();
    });
    // Nobody answers whom it was killed before.
    await Promise.race([begin(), killed]).catch(() => killed);
    if (!isKilled) await boot();
    if (!isKilled) await disk.rotate(uuid);
    await killed;
  }

  for (const [what, sql] of [
    ['the next key', 'update "volumes" set "rotating_since"'],
    ['the release of both keys', 'insert into "leases"'],
    ['the next header', 'update "volumes" set "next_header_digest"'],
    ['the end of the rotation', 'update "volumes" set "header_digest"'],
  ] as const)
    for (const when of ['before', 'after'] as const)
      it(`locks nobody out where ${what} is written, ${when} that is committed (row 448)`, async () => {
        const earlier = await keyOnServer();
        await replaceUntilKilled({ sql, step: 2, when });
        assert.deepEqual(await boot(), await keyOnServer());
        const { code, said } = await disk.rotate(uuid);
        assert.equal(code, 0, said);
        const now = await keyOnServer();
        const isBegun = !(what === 'the next key' && when === 'before');
        assert.equal(now.equals(earlier), !isBegun);
        assert.equal(await disk.opens(earlier), !isBegun);
      });
});
