import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { wrappingView } from '../../../attest-server/api/volume-api.ts';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import { writeKeySettings } from '../../agent/unlock/volume-for.ts';
import { DoomedServer } from '../../attacks/one-server/server.ts';
import { madeNode } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type Cut, killedAt } from './killed-at.ts';
import { type LeasedVolume, leaseVolume } from './made-volumes.ts';

/** Two whole steps of 256 and a part of one. */
const count = 600;
const sql = 'update "volumes" set "key_id"';

/** Each test goes on where the one before it ended. */
describe('a server that wraps the keys of disks by a new wrapping key', function () {
  this.timeout(60_000);
  let dir: string;
  let file: string;
  let stateDir: string;
  let configFile: string;
  let leased: (LeasedVolume & Readonly<Record<'node' | 'ekDigest', string>>)[];
  const [earlier, newest] = [randomBytes(32), randomBytes(32)].map((key) => key.toString('base64'));
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-rewrapping-'));
    const { policy, wrappingKeyFile } = await writeKeySettings(dir);
    [file, stateDir, configFile] = [wrappingKeyFile, join(dir, 'state'), join(dir, 'server.json')];
    const keys = { wrappingKeyFile };
    const server = { stateDir, policy, host: '127.0.0.1', agentPort: 0, apiPort: 0, metricsPort: 0, keys };
    await writeFile(configFile, JSON.stringify(server));
    await writeKeys(earlier);
    const wrapping = openWrappingKeys({ file, beside: [] }) ?? assert.fail();
    await using store = await openMadeStore(join(stateDir, 'assay.db'));
    leased = [];
    for (let index = 0; index < count; index++) {
      const enrolled = madeNode(`node-${index}`);
      await store.enrolment.enrol(enrolled, { ...event, subject: enrolled.name });
      const { name: node, ekDigest } = enrolled;
      leased.push({ node, ekDigest, ...(await leaseVolume(store, wrapping, { node, ekDigest })) });
    }
    await writeKeys(newest, earlier);
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const event = { at: 0, actor: 'server', action: 'enrol', code: null, detail: {} } as const;
  async function writeKeys(...lines: readonly (string | undefined)[]): Promise<void> {
    await rm(file, { force: true });
    await writeFile(file, lines.join('\n'), { mode: 0o400 });
  }

  /** How many volumes the newest wrapping key wraps, and of how many the audit log says so. Each key is read by both. */
  async function wrappedAnew(): Promise<readonly [number, number]> {
    const wrapping = openWrappingKeys({ file, beside: [] }) ?? assert.fail();
    await using store = await openMadeStore(join(stateDir, 'assay.db'));
    for (const { uuid, node, ekDigest, key } of leased) {
      const stored = (await store.leases.volume(uuid)) ?? assert.fail();
      const context = { purpose: 'volume', node, ekDigest, volume: uuid } as const;
      assert.ok(wrapping.unwrap(stored.key, context).equals(key));
    }
    const entries = await store.audit.entries({ limit: 100_000 });
    const told = entries
      .filter(({ action }) => action === 'key.rewrap')
      .map(({ detail }) => Number(detail.volumes));
    return [
      (await store.leases.wrappedBy()).get(wrapping.current) ?? 0,
      told.reduce((sum, volumes) => sum + volumes, 0),
    ];
  }

  for (const [how, step, when, done] of [
    ['before the first volume', 1, 'before', 0],
    ['after the first volume', 1, 'after', 0],
    ['amid a step', 100, 'after', 0],
    ['before a step is committed', 257, 'before', 0],
    ['once a step is committed', 257, 'after', 256],
    ['before the next step is committed', 257, 'before', 256],
    ['amid the last step', 257 + 44, 'after', 512],
    ['before the last step is committed', 89, 'before', 512],
    ['once all is committed', 89, 'after', 600],
  ] as const)
    it(`has each key readable where it is killed ${how}, and goes on (row 447)`, async () => {
      const cut: Cut = { sql, step, when };
      const server = await DoomedServer.start({ stateDir, configFile }, 30_000, killedAt(cut));
      await server?.ended;
      assert.deepEqual(await wrappedAnew(), [done, done]);
    });

  it('says of the earlier one that no volume needs it, and since when (row 447)', async () => {
    const server = await DoomedServer.start({ stateDir, configFile }, null);
    assert.ok(server !== null);
    const { body } = await server.call('POST', '/v1/wrapping-keys/rewrap', {});
    await server.kill();
    const { rewrapped, keys } = wrappingView.parse(body);
    assert.deepEqual([rewrapped, keys.map(({ volumes }) => volumes)], [0, [count, 0]]);
    assert.equal(typeof keys[1]?.unneededSince, 'string');
  });
});
