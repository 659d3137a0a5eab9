import assert from 'node:assert/strict';
import { mkdtempDisposableSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { gunzipSync } from 'node:zlib';
import { after, before, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { z } from 'zod';
import { clusterView } from '../../attest-server/api/cluster-api.ts';
import { readContext } from '../../attest-server/evidence/kept-context.ts';
import { keptContext } from '../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../attest-server/evidence/unpack.ts';
import { trustedLabel } from '../../attest-server/formats/marks.ts';
import { EarlierRules } from '../../attest-server/in-force/earlier-rules.ts';
import { schemaVersion } from '../../attest-server/store/sqlite/migrations.ts';
import { textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';
import { type ForgedSite, openForgedSite } from '../attest-server/marking/forged-site.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { faultOfStart } from '../attest-server/server-here.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { programs } from '../programs.ts';
import { type KeptState, readKeptStates, readRefusedState } from './recording.ts';

const node = z.object({
  name: z.string(),
  state: z.string(),
  reasons: z.array(z.object({ code: z.string() })),
  group: z.string(),
  tpm: z.string().nullable(),
  bound: z.string(),
});
const marked = z.object({
  name: z.string(),
  marks: z
    .object({ there: z.object({ taints: z.array(z.string()), label: z.boolean() }).nullable() })
    .nullable()
    .optional(),
});
const row = z.object({
  at: z.string(),
  state: z.string(),
  reason: z.string().nullable(),
  policy: z.string(),
});
const reference = z.object({ name: z.string(), group: z.string(), state: z.string() });
const token = z.object({ name: z.string(), role: z.string() });

const states = readKeptStates();

for (const kept of states)
  describe(`the state that a server of ${kept.version} left`, function () {
    this.timeout(60_000);
    let world: TestServer;
    before(async () => {
      world = await startTestServer({
        policy: kept.policyFile,
        prepare: async (stateDir) => kept.restore(stateDir),
      });
    });
    after(() => world?.[Symbol.asyncDispose]());

    it('is brought to the schema of today', () => {
      assert.equal(world.store.size().schema, schemaVersion);
    });

    it('has the nodes, each with its TPM, in its group', async () => {
      for (const before of kept.itemsOf('/v1/nodes', node)) {
        const now = node.parse(await world.call('GET', `/v1/nodes/${before.name}`));
        assert.deepEqual([now.group, now.tpm, now.bound], [before.group, before.tpm, before.bound]);
      }
    });

    it('has of each node the verdict that it had, before time goes on', async () => {
      using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-state-'));
      const unreadable: unknown[] = [];
      kept.restore(join(folder.path, 'state'));
      await using store = await openMadeStore(join(folder.path, 'state/assay.db'), {
        onUnreadable: (read) => unreadable.push(read),
      });
      const nodes = judgedNodes(kept);
      assert.equal((await store.enrolment.nodes()).length, nodes.length);
      for (const { name, state, reasons } of nodes) {
        const status = (await store.verdicts.status(name)) ?? assert.fail(name);
        assert.equal(status.state, state, name);
        assert.deepEqual(
          status.verdict?.reasons.map(({ code }) => code),
          reasons.map(({ code }) => code),
        );
        const read = (digest: string) => store.evidence.read(digest, name);
        assert.equal((await unpackEvidence(status.evidenceDigest ?? '', read))?.context?.node, name);
      }
      assert.deepEqual(unreadable, []);
    });

    it('knows by which rules each trusted node was trusted, and can judge by them', async () => {
      using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-state-'));
      kept.restore(join(folder.path, 'state'));
      await using store = await openMadeStore(join(folder.path, 'state/assay.db'));
      const faults: unknown[] = [];
      const earlier = new EarlierRules({
        context: (named, name) => readContext(named, (digest) => store.evidence.readShared(digest, name)),
        contextOf: keptContext,
        asHeld: (policy) => policy,
        fault: (error) => faults.push(error),
      });
      let trusted = 0;
      for (const { name, state, verdict, trustedBy } of await store.verdicts.statuses()) {
        assert.equal(trustedBy?.named ?? null, state === 'trusted' ? verdict?.policy : null, name);
        if (trustedBy === null) continue;
        const { policy } = (await earlier.read(trustedBy, name)) ?? assert.fail(`${name}: ${faults}`);
        assert.equal(policy.revision, trustedBy.named.split('@').at(-1));
        trusted += 1;
      }
      assert.notEqual(trusted, 0);
    });

    it('has the whole history, and the references in their states', async () => {
      for (const { name } of kept.itemsOf('/v1/nodes', node)) {
        const path = `/v1/nodes/${name}/history`;
        const then = kept.itemsOf(path, row);
        const { items: now } = z.object({ items: z.array(row) }).parse(await world.call('GET', path));
        assert.deepEqual(now.slice(-then.length), then, name);
      }
      const { items } = z
        .object({ items: z.array(reference) })
        .parse(await world.call('GET', '/v1/references'));
      assert.deepEqual(items, kept.itemsOf('/v1/references', reference));
      assert.ok(items.length >= 8);
    });

    it('has pins, join tokens that nobody used, and the tokens of people', async () => {
      assert.equal(
        (await world.store.enrolment.pins()).some(({ node: its }) => its === 'node-20'),
        true,
      );
      assert.equal(
        (await world.store.enrolment.joinTokens()).some(({ node: its }) => its === 'node-21'),
        true,
      );
      const { items } = z.object({ items: z.array(token) }).parse(await world.call('GET', '/v1/tokens'));
      assert.deepEqual(items, kept.itemsOf('/v1/tokens', token));
    });

    it('has the audit log, which goes on under its key, and can be verified whole', async () => {
      const then = kept.itemsOf('/v1/audit', z.unknown());
      assert.ok(then.length > 20);
      assert.deepEqual((await world.audit()).slice(0, then.length), then);
      const { stdout } = await run(
        process.execPath,
        [
          ...[programs.assay, 'audit', 'verify', '--server', `https://127.0.0.1:${world.server.apiPort}`],
          ...['--token-file', join(world.stateDir, 'admin.token'), '--ca-file', world.server.caFile],
        ],
        { timeoutMs: 30_000, maxOutputBytes: 65_536 },
      );
      assert.match(stdout.toString('utf8'), /entries in order, \d+ of them signed/);
      assert.equal(
        (await world.audit()).some(({ action }) => action === 'audit.rollback'),
        false,
      );
    });

    it('has the authority that its agents trust', () => {
      assert.equal(world.ca, kept.authority);
    });

    if (kept.passed === null) return;
    const first = kept.passed;

    it('has what 0.1.0 wrote: its references, and its audit log from the first entry on', async () => {
      const { items } = z
        .object({ items: z.array(reference) })
        .parse(await world.call('GET', '/v1/references'));
      assert.deepEqual(items, first.itemsOf('/v1/references', reference));
      const then = first.itemsOf('/v1/audit', z.unknown());
      assert.deepEqual((await world.audit()).slice(0, then.length), then);
    });

    it('has the export of 0.1.0, as far as it goes, and `assay audit verify` reads it', async () => {
      using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-export-'));
      const file = join(folder.path, 'export.jsonl');
      const text = gunzipSync(readFileSync(join(kept.folder, 'export-of-0.1.0.jsonl.gz'))).toString('utf8');
      writeFileSync(file, text);
      const { stdout } = await run(process.execPath, [programs.assay, 'audit', 'verify', file], {
        ...{ timeoutMs: 30_000, maxOutputBytes: 65_536 },
      });
      const said = /(\d+) entries in order, \d+ of them signed/.exec(stdout.toString('utf8'));
      assert.equal(Number(said?.[1]), text.split('\n').filter((line) => line.includes('"seq":')).length);
    });

    it('gives bundles of the evidence that 0.1.0 kept, and `assay verify` takes them', async () => {
      using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-bundle-'));
      const file = join(folder.path, 'bundle.json');
      for (const [name, code] of [
        ['node-1', 0],
        ['node-2', 10],
      ] as const) {
        writeFileSync(file, JSON.stringify(await world.call('GET', `/v1/nodes/${name}/bundle`)));
        const { code: ended, err } = await runAssay(['verify', file]);
        assert.equal(ended, code, err);
      }
    });

    it('holds the one TPM that 0.1.0 enrolled for two nodes, until a person revokes one (row 117)', async () => {
      const shown = async (name: string) => {
        const { state, reasons } = node.parse(await world.call('GET', `/v1/nodes/${name}`));
        return [state, reasons[0]?.code ?? null];
      };
      for (const name of ['twin-1', 'twin-2'])
        assert.deepEqual(await shown(name), ['untrusted', 'ek_already_bound']);
      await world.call('POST', '/v1/enrolments/twin-2/revoke', { reason: 'it is not that machine' });
      assert.deepEqual(await shown('twin-1'), ['untrusted', 'ek_already_bound']);
      assert.deepEqual(await world.store.enrolment.twins(), []);
    });
  });

/** Each node as it was last judged: what 0.1.0 had judged was overdue when 0.3.0 was asked. */
function judgedNodes(kept: KeptState) {
  const first = kept.passed?.itemsOf('/v1/nodes', node) ?? [];
  return kept.itemsOf('/v1/nodes', node).map((said) => first.find(({ name }) => name === said.name) ?? said);
}

for (const kept of states.filter(({ answers }) => answers['/v1/cluster']?.status === 200))
  describe(`the marks of a server of ${kept.version}`, function () {
    this.timeout(60_000);
    let site: ForgedSite;
    const then = clusterView.parse(kept.answers['/v1/cluster']?.body);
    const nodes = kept.itemsOf('/v1/nodes', marked);
    const shown = async () => clusterView.parse(await site.world.call('GET', '/v1/cluster'));
    before(async () => {
      site = await openForgedSite({
        policy: kept.policyFile,
        prepare: async (stateDir) => kept.restore(stateDir),
      });
      for (const { name, marks } of nodes) {
        await site.api.createNode(name, {
          taints: (marks?.there?.taints ?? []).map((taint) => {
            const [key = '', value = ''] = taint.split('=');
            return { key, value, effect: 'NoSchedule' };
          }),
        });
        if (marks?.there?.label !== true) continue;
        // No Node comes with it.
        const labels = { [trustedLabel]: 'true' };
        const { code, text } = await site.api
          .as(administrator)
          .request(
            'PATCH',
            `/api/v1/nodes/${name}`,
            { metadata: { labels } },
            'application/merge-patch+json',
          );
        assert.equal(code, 200, text);
      }
      await site.world.restart();
      await site.world.until(async () => (await shown()).synced);
    });
    after(() => site?.[Symbol.asyncDispose]());

    it('come with the latch, for the same groups, since the same moment, and in the new cluster too', async () => {
      await site.world.until(async () => (await shown()).latch?.inCluster === true);
      const { latch } = await shown();
      assert.notEqual(then.latch, null);
      assert.deepEqual(
        [latch?.groups, latch?.by, latch?.at],
        [then.latch?.groups, then.latch?.by, then.latch?.at],
      );
      const resource = site.api.store.get('assay.dev/assaylatches', 'cluster')?.object;
      assert.equal(textAt(resource ?? {}, 'spec', 'enabledAt'), then.latch?.at);
    });

    it('come with the pause, the exemptions and what a person held back', async () => {
      const now = await shown();
      assert.notEqual(then.pause, null);
      // They end by themselves, a month after the recording.
      const lasting = then.exemptions.filter(({ until }) => Date.parse(until) > Date.now());
      assert.equal(then.exemptions.length, 1);
      assert.deepEqual([now.pause, now.exemptions], [then.pause, lasting]);
      const heldOf = ({ failing }: typeof now) =>
        failing.flatMap(({ group, code, value, decision, by, reason }) =>
          decision === null ? [] : [{ group, code, value, decision, by, reason }],
        );
      assert.ok(heldOf(then).length > 0);
      assert.deepEqual(heldOf(now), heldOf(then));
    });

    it('stay on the Nodes as they were', async () => {
      assert.ok(nodes.some(({ marks }) => (marks?.there?.taints.length ?? 0) > 0));
      for (const { name, marks } of nodes) {
        // Looked at one after the other, once the server marks here.
        const there = await site.world.until(
          async () => marked.parse(await site.world.call('GET', `/v1/nodes/${name}`)).marks?.there,
        );
        assert.deepEqual(there.taints, marks?.there?.taints, name);
      }
    });

    it('are under a latch that refuses a weaker policy at once', async () => {
      const weaker = {
        policy: kept.policyText.replaceAll('mode: enforce', 'mode: observe'),
        file: 'policy.yaml',
      };
      const { latched } = z
        .object({ latched: z.array(z.object({ field: z.string() })) })
        .parse(await site.world.call('POST', '/v1/policy/simulate', weaker));
      assert.ok(
        latched.some(({ field }) => field.endsWith('.mode')),
        JSON.stringify(latched),
      );
    });
  });

describe('a state that a server of 0.1.0 left', () => {
  it('is refused by the program with a sentence that names 0.3.0 as the step between, and stays as it is', async () => {
    const kept = readRefusedState();
    using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-earlier-'));
    const stateDir = join(folder.path, 'state');
    kept.restore(stateDir);
    const names = ['assay.db', 'audit.key', 'tls/ca.crt', 'tls/ca.key', 'tls/server.crt', 'tls/server.key'];
    const read = () => names.map((name) => readFileSync(join(stateDir, name)).toString('base64'));
    const before = read();
    for (const argv of [[], ['audit-key', '--start-anew', '--reason', 'lost']]) {
      const refused = await refusedBy([...argv, '--state-dir', stateDir]);
      assert.equal(refused.exitCode, 1);
      assert.match(refused.message, /before 0\.3\.0 .*run 0\.3\.0 on it once, then this version/);
      assert.deepEqual(read(), before);
    }
    // The lock of the folder, and what SQLite keeps beside a database that is only read.
    const made = ['assay.db-shm', 'assay.db-wal', 'lock'];
    assert.deepEqual(readdirSync(stateDir).sort(), ['assay.db', ...made, 'audit.key', 'tls'].sort());
    assert.equal(statSync(join(stateDir, 'assay.db-wal')).size, 0);
  });
});

async function refusedBy(argv: readonly string[]): Promise<ToolError> {
  return run(process.execPath, [programs['assay-server'], '--log-level', 'error', ...argv], {
    ...{ timeoutMs: 30_000, maxOutputBytes: 65_536 },
  }).then(
    () => assert.fail('it started'),
    (error: unknown) => (error instanceof ToolError ? error : assert.fail(String(error))),
  );
}

describe('a database of a later version', () => {
  it('is refused with a sentence that says what to do, and stays as it is', async () => {
    const [kept] = states;
    using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-later-'));
    const stateDir = join(folder.path, 'state');
    kept?.restore(stateDir);
    const file = join(stateDir, 'assay.db');
    const withDatabase = <T>(work: (database: DatabaseSync) => T): T => {
      using database = new DatabaseSync(file);
      return work(database);
    };
    withDatabase((database) => database.exec(`pragma user_version = ${schemaVersion + 1}`));
    const refused = await faultOfStart({}, { stateDir });
    assert.equal(refused.exitCode, 1);
    assert.match(refused.text, /newer version of Assay.*run that version, or restore a backup/s);
    assert.equal(
      withDatabase((database) => database.prepare('pragma user_version').get()?.user_version),
      schemaVersion + 1,
    );
  });
});
