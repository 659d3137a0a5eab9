import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, afterEach, before, describe, it } from 'mocha';
import { pino } from 'pino';
import type { AuditLogResult } from '../../../attest-server/cli/offline/audit/verify-log.ts';
import { serverConfig } from '../../../attest-server/config.ts';
import type { AuditEntry } from '../../../attest-server/formats/audit.ts';
import { startServer } from '../../../attest-server/server.ts';
import { parseCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { enrolledNode, introduce } from '../attacker.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { openMadeStore } from '../store/made-store.ts';

describe('the audit log of a running server', () => {
  let dir: string;
  let clientEnv: Readonly<Record<string, string>> = {};
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-e2e-audit-'));
  });
  afterEach(() => {
    clientEnv = {};
  });
  after(() => rmSync(dir, { recursive: true }));

  it('is exported and verified offline and live, across a rotation of the key', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    const file = join(dir, 'export');
    assert.equal((await assay(world, 'admin', 'audit', 'rotate-key')).code, 0);
    await enrolledNode(world, forgedTpm(), 'node-2');
    assert.equal((await assay(world, 'reader', 'audit', 'export', file)).code, 0);
    const size = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{"entry"')).length;
    for (const { code, out } of [
      await assay(world, 'reader', 'audit', 'verify', '-o', 'json'),
      await runAssay(['audit', 'verify', file, '-o', 'json']),
    ]) {
      const result = JSON.parse(out) as AuditLogResult;
      assert.deepEqual([code, result.ok, result.size, result.signed], [0, true, size, size]);
    }
    const { out } = await assay(world, 'reader', 'audit', 'export', '-');
    assert.equal(out, readFileSync(file, 'utf8'));
    assert.equal(await world.metric('assay_audit_checkpoint_size'), size);
    const rotation = (await world.audit()).find(({ action }) => action === 'audit_key.rotate');
    assert.equal(rotation?.actor, 'token:admin');
  });

  it('is listed by the server: who did what to whom, since when, and the newest', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    await enrolledNode(world, forgedTpm(), 'node-2');
    const list = async (line: string): Promise<{ items: AuditEntry[] }> =>
      JSON.parse((await assay(world, 'reader', ...`audit list ${line} -o json`.split(' '))).out);
    const all = await world.audit();
    const ofNode = all.filter(({ subject, actor }) => subject === 'node-2' || actor === 'agent:node-2');
    const { items } = await list('--node node-2');
    assert.ok(ofNode.length > 0);
    assert.deepEqual(
      items.map(({ seq }) => seq),
      ofNode.map(({ seq }) => seq),
    );
    assert.deepEqual(
      (await list('--limit 2')).items.map(({ seq }) => seq),
      all.slice(-2).map(({ seq }) => seq),
    );
    assert.ok((await list('--action enrol --since 1h')).items.every(({ action }) => action === 'enrol'));
    assert.deepEqual((await list('--until 1d')).items, []);
  });

  it('is verified live too: a change of the database is named', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    tamper(world, 'drop trigger audit_is_never_edited', "update audit set code = 'x' where seq = 2");
    const { code, out } = await assay(world, 'reader', 'audit', 'verify', '-o', 'json');
    assert.deepEqual([code, (JSON.parse(out) as AuditLogResult).fault?.seq], [10, 2]);
  });

  it('is verified live from where it was verified before, where one asks for that', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    const env = { XDG_STATE_HOME: join(dir, 'client') };
    const verify = async (...more: readonly string[]) => {
      const { code, out } = await assay(world, 'reader', 'audit', 'verify', '-o', 'json', ...more);
      const { resumedAfter, size, fault } = JSON.parse(out) as AuditLogResult;
      return { code, resumedAfter, size, seq: fault?.seq ?? null };
    };
    clientEnv = env;
    const { size } = await verify('--resume');
    assert.deepEqual(await verify('--resume'), { code: 0, resumedAfter: size, size, seq: null });
    await enrolledNode(world, forgedTpm(), 'node-2');
    const later = await verify('--resume');
    assert.deepEqual([later.code, later.resumedAfter], [0, size]);
    assert(later.size > size);
    tamper(world, 'drop trigger audit_is_never_edited', "update audit set code = 'x' where seq = 2");
    assert.deepEqual((await verify('--resume')).resumedAfter, later.size);
    assert.deepEqual(await verify(), { code: 10, resumedAfter: 0, size: 1, seq: 2 });
    // What was found once is not resumed past.
    assert.deepEqual((await verify('--resume')).seq, 2);
  });

  it('is exported behind what an interrupted export has, and not behind another log', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    const [file, whole] = [join(dir, 'interrupted'), join(dir, 'whole')];
    const run = (...more: readonly string[]) => assay(world, 'admin', 'audit', ...more);
    assert.equal((await run('export', file)).code, 0);
    const before = readFileSync(file, 'utf8');
    assert.equal((await run('rotate-key')).code, 0);
    await enrolledNode(world, forgedTpm(), 'node-2');
    assert.equal((await run('export', whole)).code, 0);
    for (const cut of [before, `${before}{"entry":{"seq":`]) {
      writeFileSync(file, cut);
      assert.equal((await run('export', file, '--resume')).code, 0);
      const entries = (path: string) =>
        readFileSync(path, 'utf8')
          .split('\n')
          .filter((line) => line.startsWith('{"entry"'));
      assert.deepEqual(entries(file), entries(whole));
      assert.equal((await runAssay(['audit', 'verify', file])).code, 0);
    }
    tamper(world, 'drop trigger audit_is_never_edited', "update audit set hash = 'x' where seq = 3");
    writeFileSync(file, `${readFileSync(whole, 'utf8').split('\n').slice(0, 3).join('\n')}\n`);
    assert.notEqual((await run('export', file, '--resume')).code, 0);
  });

  it('shows to whoever goes on from where he verified it that it was cut', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, forgedTpm(), 'node-1');
    clientEnv = { XDG_STATE_HOME: join(dir, 'another-client') };
    assert.equal((await assay(world, 'reader', 'audit', 'verify', '--resume')).code, 0);
    const { size } = await world.store.audit.head();
    tamper(world, 'drop trigger audit_is_never_shortened', 'delete from audit where seq > 2');
    const { code, out } = await assay(world, 'reader', 'audit', 'verify', '--resume', '-o', 'json');
    assert.deepEqual([code, (JSON.parse(out) as AuditLogResult).fault?.seq], [10, size]);
    // Nor does reading all of it make him forget what he has seen.
    for (const _time of ['first', 'second']) {
      const whole = await assay(world, 'reader', 'audit', 'verify', '-o', 'json');
      assert.equal(whole.code, 10);
      assert.match(
        (JSON.parse(whole.out) as AuditLogResult).fault?.text ?? '',
        /verified from this machine before/,
      );
    }
    assert.equal((await assay(world, 'reader', 'audit', 'verify', '--resume')).code, 10);
  });

  it('is signed for readers once a second, however often they ask, and then covers all that was there', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const token = readFileSync(join(world.stateDir, 'reader.token'), 'utf8').trim();
    const started = performance.now();
    const ask = async () => {
      await world.store.audit.append({
        at: 0,
        actor: 'x',
        action: 'refuse',
        subject: 'x',
        code: null,
        detail: {},
      });
      assert.equal((await world.ask('GET', '/v1/audit/checkpoints', token)).status, 200);
    };
    for (let round = 0; round < 3; round += 1) await Promise.all(Array.from({ length: 20 }, ask));
    const took = (performance.now() - started) / 1000;
    const notes = await world.store.audit.checkpoints({ limit: 1000 });
    assert(notes.length <= took + 3, `${notes.length} in ${took} s`);
    assert.equal(parseCheckpoint(notes.at(-1)?.note ?? '').size, (await world.store.audit.head()).size);
  });

  it('is changed and copied by an administrator only', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    for (const command of [['audit', 'rotate-key'], ['backup']])
      assert.equal((await assay(world, 'reader', ...command)).code, 1);
    assert.deepEqual(
      (await world.audit()).map(({ action, actor }) => [action, actor]),
      [
        ['audit_key.create', 'server'],
        ['policy.load', 'server'],
        ['refuse', 'token:reader'],
      ],
    );
  });

  it('comes back from a backup in another state folder, and the nodes with them', async () => {
    const tpm = forgedTpm();
    const state = join(dir, 'restored');
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, tpm, 'node-1');
    const { code, out } = await assay(world, 'admin', 'backup');
    assert.equal(code, 0);
    // As docs/backup.md says.
    mkdirSync(state, { mode: 0o700 });
    cpSync(out.trim(), join(state, 'assay.db'));
    for (const name of ['audit.key', 'tls', 'admin.token', 'reader.token'])
      cpSync(join(world.stateDir, name), join(state, name), { recursive: true });
    assert.equal((await runAssay(['audit', 'verify', join(state, 'assay.db')])).code, 0);
    await world.server.close();

    const verdicts: string[] = [];
    const flags = { stateDir: state, host: '127.0.0.1', agentPort: 0, apiPort: 0, metricsPort: 0 };
    const server = await startServer(serverConfig(null, {}, flags), {
      logger: pino({ level: 'silent' }),
      recorded: ({ node }) => verdicts.push(node),
    });
    const store = await openMadeStore(join(state, 'assay.db'));
    try {
      const restored = { ...world, stateDir: state, server, store };
      const peer = await introduce(restored, tpm, 'node-1');
      peer.send(
        tpm.evidence(await peer.challenge(), { node: 'node-1', hello: peer.hello, channel: peer.channel }),
      );
      await peer.verdict();
      await peer.close();
      assert.deepEqual(verdicts, ['node-1']);
      assert.deepEqual(await ready(server.metricsPort), { ok: true, reason: null });
    } finally {
      await store[Symbol.asyncDispose]();
      await server.close();
    }
  });

  it('tells in log, metric, entry, readiness and verification that an older database was put in its place, until a person resolves it (row 104)', async () => {
    await using world = await startTestServer({ policy: 'observe' });
    const { out } = await assay(world, 'admin', 'backup');
    await enrolledNode(world, forgedTpm(), 'node-1');
    const { agentPort } = world.server;
    await world.server.close();
    for (const end of ['', '-wal', '-shm']) rmSync(join(world.stateDir, `assay.db${end}`), { force: true });
    cpSync(out.trim(), join(world.stateDir, 'assay.db'));
    const lines: string[] = [];
    const flags = { stateDir: world.stateDir, host: '127.0.0.1', agentPort, apiPort: 0, metricsPort: 0 };
    const server = await startServer(serverConfig(null, {}, flags), {
      logger: pino({ level: 'error' }, { write: (line: string) => lines.push(line) }),
    });
    const store = await openMadeStore(join(world.stateDir, 'assay.db'));
    try {
      assert.equal(lines.filter((line) => line.includes('"code":"audit_rollback"')).length, 1);
      const metrics = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
      assert.match(metrics, /assay_refusals_total\{code="audit_rollback"\} 1/);
      // The count above may be there before anybody scrapes: this is what an alert can rely on.
      assert.match(metrics, /^assay_audit_rollback 1$/m);
      const entries = await store.audit.entries({ limit: 100 });
      assert.deepEqual(
        entries.slice(-2).map(({ action }) => action),
        ['audit_rollback', 'policy.load'],
      );
      const { ok, reason } = await ready(server.metricsPort);
      assert.equal(ok, true);
      assert.match(reason ?? '', /audit_rollback/);
      const restarted = { ...world, server };
      const seq = entries.findLast(({ action }) => action === 'audit_rollback')?.seq ?? assert.fail();
      const file = join(dir, 'rolled-back');
      assert.equal((await assay(restarted, 'reader', 'audit', 'export', file)).code, 0);
      const verified = async (...options: readonly string[]) => {
        const { code, out: said } = await assay(
          restarted,
          'reader',
          'audit',
          'verify',
          '-o',
          'json',
          ...options,
        );
        const result = JSON.parse(said) as AuditLogResult;
        return [code, result.ok, result.fault?.seq ?? null];
      };
      for (const options of [[], [file]]) assert.deepEqual(await verified(...options), [10, false, seq]);
      const why = ['audit', 'resolve', '--reason', 'restored after the disk broke'];
      assert.equal((await assay(restarted, 'reader', ...why)).code, 1);
      assert.equal((await assay(restarted, 'admin', ...why)).code, 0);
      assert.deepEqual(await verified(), [0, true, null]);
      assert.equal((await ready(server.metricsPort)).reason, null);
      // The text of a scrape is kept for a second.
      await world.until(async () =>
        /^assay_audit_rollback 0$/m.test(
          await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text(),
        ),
      );
      const resolved = (await store.audit.entries({ limit: 100 })).at(-1);
      assert.deepEqual(
        [resolved?.action, resolved?.actor, resolved?.detail.reason],
        ['audit.resolve', 'token:admin', 'restored after the disk broke'],
      );
    } finally {
      await store[Symbol.asyncDispose]();
      await server.close();
    }
  });

  it('and everything else go on beside a row that cannot be read, whose node is held until approved (rows 78 and 128)', async () => {
    const [one, two] = [forgedTpm(), forgedTpm()];
    await using world = await startTestServer({ policy: 'observe' });
    await enrolledNode(world, one, 'node-1');
    await enrolledNode(world, two, 'node-2');
    const { agentPort } = world.server;
    await world.server.close();
    tamper(world, "update statuses set verdict = '{' where rowid = 1");
    const lines: string[] = [];
    const flags = { stateDir: world.stateDir, host: '127.0.0.1', agentPort, apiPort: 0, metricsPort: 0 };
    const server = await startServer(serverConfig(null, {}, flags), {
      logger: pino({ level: 'error' }, { write: (line: string) => lines.push(line) }),
    });
    try {
      assert.deepEqual(
        lines.map((line) => /status row of node-1/.test(line)),
        [true],
      );
      const restarted = { ...world, server };
      const prove = async (tpm: typeof one, node: string) => {
        const peer = await introduce(restarted, tpm, node);
        peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
        await peer.verdict();
        await peer.close();
        return (await world.status(node))?.verdict?.reasons.map(({ code }) => code) ?? [];
      };
      const codes = await prove(two, 'node-2');
      assert.deepEqual((await prove(one, 'node-1'))[0], 'counter_rollback');
      assert.equal((await world.status('node-1'))?.state, 'untrusted');
      const approved = await assay(restarted, 'admin', 'enrol', 'approve', 'node-1', '--ek', one.ekDigest);
      assert.equal(approved.code, 0, approved.err);
      assert.deepEqual(await prove(one, 'node-1'), codes);
      assert.equal((await world.status('node-1'))?.state, (await world.status('node-2'))?.state);
      const told = (await world.audit()).filter(({ action }) => action === 'store.unreadable');
      assert.deepEqual(
        told.map(({ subject }) => subject),
        ['status node-1'],
      );
      const metrics = await (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text();
      assert.match(metrics, /^assay_store_unreadable_rows_total\{table="status"\} 1$/m);
    } finally {
      await server.close();
    }
  });

  /** Runs a command against the server with the token of a role. */
  function assay({ stateDir, server }: TestServer, role: 'admin' | 'reader', ...args: readonly string[]) {
    const env = {
      ASSAY_SERVER: `https://127.0.0.1:${server.apiPort}`,
      ASSAY_TOKEN_FILE: join(stateDir, `${role}.token`),
      ASSAY_CA_FILE: server.caFile,
      ...clientEnv,
    };
    return runAssay(args, { env });
  }
});

function tamper({ stateDir }: TestServer, ...statements: readonly string[]): void {
  const database = new DatabaseSync(join(stateDir, 'assay.db'), { timeout: 5_000 });
  for (const statement of statements) database.exec(statement);
  database.close();
}

async function ready(port: number): Promise<{ ok: boolean; reason: string | null }> {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
  return (await answer.json()) as { ok: boolean; reason: string | null };
}
