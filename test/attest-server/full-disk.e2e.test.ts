import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { pino } from 'pino';
import { nodeView } from '../../attest-server/api/node-api.ts';
import { problem } from '../../attest-server/api/problem.ts';
import { startServer } from '../../attest-server/server.ts';
import { startFault } from '../../attest-server/start-fault.ts';
import { programs } from '../programs.ts';
import { enrolledNode, introduce } from './attacker.ts';
import { runAssay } from './cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from './forged-tpm.ts';
import { startTestServer, type TestServer } from './running-server.ts';
import { localConfig } from './server-here.ts';
import { type SmallDisk, smallDisk } from './small-disk.ts';

const full = 'assay_server_fault{cause="disk_full"}';
const faults = 'assay_server_faults_total{cause="disk_full"}';

/** An agent that answers, and comes back whenever its connection ends; it notes what it is told. */
function returning(world: TestServer, tpm: ForgedTpm, node: string) {
  const told: string[] = [];
  const stop = new AbortController();
  const converse = async () => {
    const peer = await introduce(world, tpm, node);
    const hangUp = () => peer.socket.terminate();
    stop.signal.addEventListener('abort', hangUp);
    try {
      for (;;) {
        const message = await peer.peek();
        if (message === null) return;
        if (message.type === 'challenge') {
          const occasion = { node, hello: peer.hello, channel: peer.channel };
          peer.send(tpm.evidence(await peer.challenge(), occasion));
          continue;
        }
        await peer.receive();
        if (message.type === 'verdict') told.push(String(message.state));
        if (message.type === 'error') told.push(String(message.code));
      }
    } finally {
      stop.signal.removeEventListener('abort', hangUp);
    }
  };
  const ended = (async () => {
    while (!stop.signal.aborted) {
      // The server may just start anew.
      await converse().catch(() => undefined);
      await sleep(200, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  })();
  return {
    told,
    async end() {
      stop.abort();
      await ended;
    },
  };
}

describe('a server whose disk is full', function () {
  this.timeout(60_000);
  let disk: SmallDisk;
  let world: TestServer;
  const tpms = new Map(['node-1', 'node-2', 'silent', 'leaving'].map((node) => [node, forgedTpm()]));
  const agents: ReturnType<typeof returning>[] = [];
  const tpmOf = (node: string) => tpms.get(node) ?? assert.fail(node);

  before(async function () {
    const made = await smallDisk(2);
    if (made === null) {
      console.log('      skipped: only root may mount a file system of 2 MiB');
      this.skip();
    }
    disk = made;
    world = await startTestServer({
      policy: 'observe',
      challengeEvery: 1,
      unknownAfter: 3,
      within: disk.path,
    });
    for (const [node, tpm] of tpms) await enrolledNode(world, tpm, node);
    for (const node of ['node-1', 'node-2', 'leaving']) agents.push(returning(world, tpmOf(node), node));
  });
  after(async () => {
    for (const agent of agents) await agent.end();
    try {
      await world?.[Symbol.asyncDispose]();
    } finally {
      await disk?.[Symbol.asyncDispose]();
    }
  });

  const shown = async (node: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
  const stateOf = async (node: string) => (await shown(node)).state;
  const ready = async () => {
    const answer = await fetch(`http://127.0.0.1:${world.server.metricsPort}/readyz`);
    return { status: answer.status, text: await answer.text() };
  };
  const adminToken = () => readFileSync(join(world.stateDir, 'admin.token'), 'utf8').trim();
  const assay = async (...args: readonly string[]) => {
    const { code, out, err } = await runAssay(args, { env: world.env(), now: Date.now });
    return { code, text: out + err };
  };

  it('judges as ever on a disk of 2 MiB', async () => {
    const told = agents[0]?.told ?? [];
    await world.until(() => told.length >= 6, 20_000);
    assert.deepEqual([...new Set(told)], ['trusted']);
    assert.equal((await ready()).status, 200);
    assert.deepEqual([await world.metric(full), await world.metric(faults)], [0, 0]);
    // One that is silent on its own, before anything fails.
    await world.until(async () => (await stateOf('silent')) === 'unknown', 10_000);
    assert.equal((await shown('silent')).reason, 'evidence_overdue');
  });

  it('lets nobody stay trusted, says why of each node that answers, and tells its agent so (row 75)', async () => {
    const rows = await world.store.verdicts.history('node-1', { limit: 99 });
    disk.fill();
    // As long as the database has pages that nobody uses, it needs no room: somebody uses them up.
    await world.until(async () => {
      await world.joinToken('node-8');
      return (await ready()).status === 503;
    }, 15_000);
    for (const node of ['node-1', 'node-2', 'leaving'])
      await world.until(async () => (await stateOf(node)) === 'unknown', 15_000);
    const { reason, reasons } = await shown('node-1');
    assert.equal(reason, 'server_fault');
    const [first] = reasons;
    assert.deepEqual([first?.source, first?.class, first?.severity], ['server', 'service', 'fail']);
    assert.match(first?.text ?? '', /disk .* is full/);
    assert.match(first?.next ?? '', new RegExp(`^ {2}df -h ${world.stateDir}$`, 'm'));
    assert.equal((await shown('silent')).reason, 'evidence_overdue');
    assert(agents[0]?.told.includes('server_fault'));
    // It is shown, and not stored.
    assert.equal((await world.status('node-1'))?.state, 'trusted');
    assert.equal((await world.store.verdicts.history('node-1', { limit: 99 })).length, rows.length);
  });

  it('is not ready, says why, and moves its metric (row 75)', async () => {
    const { status, text } = await ready();
    assert.equal(status, 503);
    assert.match(text, /disk .* is full/);
    assert.equal(await world.metric(full), 1);
    assert((await world.metric(faults)) > 0);
    assert((await world.metric('assay_attestations_total{result="fault",reason="none"}')) > 0);
    assert.equal(await world.metric('assay_nodes{state="trusted"}'), 0);
  });

  it('is said by the command line, with what helps', async () => {
    const why = await assay('why', 'node-1');
    assert.equal(why.code, 11);
    assert.match(why.text, /server_fault.*disk .* is full/s);
    assert.match(why.text, /df -h/);
    const capture = await assay('reference', 'capture', 'node-1', '--name', 'good');
    assert.equal(capture.code, 1);
    assert.match(capture.text, /server_fault/);
    assert.match(capture.text, /disk .* is full/);
    assert.match(capture.text, new RegExp(`^ {2,}df -h ${world.stateDir}$`, 'm'));
    const answer = await world.ask('POST', '/v1/backups', adminToken(), {});
    assert.equal(answer.status, 507);
    assert.equal(problem.parse(JSON.parse(answer.text)).code, 'server_fault');
    assert.match((await assay('get', 'nodes')).text, /node-1 .*server_fault/);
  });

  it('revokes nodes and tokens, and makes them, in the room that is kept for that', async () => {
    assert.equal((await assay('enrol', 'revoke', 'leaving', '--reason', 'it is stolen', '--yes')).code, 0);
    assert.equal(await world.store.enrolment.node('leaving'), null);
    assert.equal((await assay('token', 'create', '--name', 'night', '--role', 'reader')).code, 0);
    assert.equal((await assay('token', 'revoke', 'night', '--yes')).code, 0);
    assert.equal((await assay('join-token', 'create', '--node', 'node-9', '--ttl', '1h')).code, 0);
    const actions = (await world.audit()).map(({ action }) => action);
    for (const action of ['enrol.revoke', 'token.create', 'token.revoke', 'join-token.create'])
      assert(
        actions.some((each) => each === action),
        action,
      );
    assert.equal(await world.metric('assay_audit_write_failures_total'), 0);
  });

  it('says so once that room is used up too, and can be read as ever', async () => {
    disk.fill();
    const made: number[] = [];
    while (made.length < 1_000 && made.at(-1) !== 507) {
      const body = { name: `used-${made.length}`, role: 'reader', ttlSeconds: null };
      made.push((await world.ask('POST', '/v1/tokens', adminToken(), body)).status);
    }
    assert.equal(made.at(-1), 507);
    const revoked = await assay('token', 'revoke', 'used-0', '--yes');
    assert.equal(revoked.code, 1);
    assert.match(revoked.text, /disk .* is full.*df -h/s);
    for (const path of [
      '/v1/nodes',
      '/v1/references',
      '/v1/audit',
      '/v1/audit/checkpoints',
      '/v1/enrolments',
    ])
      assert.equal((await world.ask('GET', path, adminToken())).status, 200, path);
    assert.equal((await ready()).status, 503);
    // As much as was kept before: somebody removed a little.
    truncateSync(join(disk.path, 'others'), statSync(join(disk.path, 'others')).size - 256 * 1024);
    await world.until(
      async () => (await world.ask('DELETE', '/v1/tokens/used-0', adminToken())).status === 200,
      10_000,
    );
    assert.equal((await ready()).status, 503);
  });

  it('starts anew on the full disk, and shows what it knows', async () => {
    await world.restart();
    assert.equal((await ready()).status, 503);
    await world.until(async () => (await shown('node-2')).reason === 'server_fault', 10_000);
    assert.equal(await stateOf('node-2'), 'unknown');
  });

  it('heals by itself once there is room: all are trusted again, and the audit log says what was', async () => {
    disk.empty();
    for (const node of ['node-1', 'node-2'])
      await world.until(async () => (await stateOf(node)) === 'trusted', 15_000);
    assert.equal((await ready()).status, 200);
    assert.equal(await world.metric(full), 0);
    const entry = await world.until(async () =>
      (await world.audit()).find(({ action }) => action === 'server.fault'),
    );
    assert.deepEqual([entry.code, entry.detail.cause, entry.detail.lost], ['server_fault', 'disk_full', 0]);
    assert(existsSync(join(world.stateDir, 'reserve')));
    const verified = await assay('audit', 'verify');
    assert.equal(verified.code, 0, verified.text);
    assert.equal((await assay('backup')).code, 0);
  });

  it('has damaged nothing', () => {
    const database = new DatabaseSync(join(world.stateDir, 'assay.db'), { readOnly: true });
    const found = database.prepare('pragma integrity_check').all();
    database.close();
    assert.deepEqual(
      found.map((row) => Object.values(row)),
      [['ok']],
    );
  });
});

/** Each test goes on where the one before it ended. */
describe('the start of a server on a full disk', function () {
  this.timeout(60_000);
  let disk: SmallDisk;
  before(async function () {
    disk = (await smallDisk(2)) ?? this.skip();
  });
  after(() => disk?.[Symbol.asyncDispose]());
  const stateDir = () => join(disk.path, 'state');
  const reserve = () => join(stateDir(), 'reserve');
  const config = () => localConfig(stateDir());

  /** Runs the program until it ends or listens; then it is killed. */
  async function killed() {
    const names = ['ASSAY_AGENT_PORT', 'ASSAY_API_PORT', 'ASSAY_METRICS_PORT'];
    const env = {
      ASSAY_STATE_DIR: stateDir(),
      ASSAY_HOST: '127.0.0.1',
      ...Object.fromEntries(names.map((name) => [name, '0'])),
    };
    const child = start(process.execPath, [programs['assay-server']], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr?.on('data', (data: Buffer) => {
      said += data.toString('utf8');
      if (said.includes('the server listens')) child.kill('SIGKILL');
    });
    const [code] = await once(child, 'close');
    return { code, said, listened: said.includes('the server listens') };
  }

  /** Starts a server in this process, and ends it in order once it listens; what it logged. */
  async function ended(): Promise<string> {
    const said: string[] = [];
    const logger = pino({}, { write: (line: string) => said.push(line) });
    const server = await startServer(config(), { logger });
    await server.close();
    return said.join('');
  }

  it('ends with the disk and the path where nothing can be written, and starts once there is room', async () => {
    disk.fill();
    const { code, said, listened } = await killed();
    assert.deepEqual([code, listened], [1, false]);
    assert.match(said, new RegExp(`^assay-server: the disk is full: .*${disk.path}/state`, 'm'));
    disk.empty();
    await ended();
    assert(existsSync(reserve()));
  });

  it('has what was taken of that room by one that was killed while it took it', async () => {
    // Room for it is looked for twice, and half of that is given back: in between it is too large, and before too small.
    for (const share of [1.5, 0.75]) {
      writeFileSync(reserve(), Buffer.alloc(share * 256 * 1024), { mode: 0o600 });
      disk.fill();
      await ended();
      disk.empty();
    }
    assert.doesNotMatch(await ended(), /server_fault/);
  });

  it('has the room that was kept, once, also after it was killed; without it it says why it does not start', async () => {
    disk.fill();
    const first = await killed();
    assert.equal(first.listened, true);
    assert.match(first.said, /"code":"server_fault","cause":"disk_full"/);
    await ended();
    disk.fill();
    await assert.rejects(ended(), (error) => {
      const { text, exitCode } = startFault(error, config());
      assert.match(text, new RegExp(`^the disk is full: .*${disk.path}/state`));
      return exitCode === 1;
    });
    disk.empty();
    assert.doesNotMatch(await ended(), /server_fault/);
  });
});
