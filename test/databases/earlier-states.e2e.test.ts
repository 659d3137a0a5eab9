import assert from 'node:assert/strict';
import { mkdtempDisposableSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { z } from 'zod';
import { readContext } from '../../attest-server/evidence/kept-context.ts';
import { keptContext } from '../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../attest-server/evidence/unpack.ts';
import { EarlierRules } from '../../attest-server/in-force/earlier-rules.ts';
import { clusterView } from '../../attest-server/protocol/cluster-api.ts';
import { trustedLabel } from '../../attest-server/protocol/marks.ts';
import { schemaVersion } from '../../attest-server/store/sqlite/migrations.ts';
import { textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../swtpm-fixtures/api-server/users.ts';
import { type ForgedSite, openForgedSite } from '../attest-server/marking/forged-site.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { programs } from '../programs.ts';
import { readKeptStates } from './recording.ts';

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
      const nodes = kept.itemsOf('/v1/nodes', node);
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
  });

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

describe('a database of a later version', () => {
  it('is refused by the program with a sentence that says what to do, and stays as it is', async () => {
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
    const refused = await run(
      process.execPath,
      [programs['assay-server'], '--log-level', 'error', '--state-dir', stateDir],
      {
        timeoutMs: 30_000,
        maxOutputBytes: 65_536,
      },
    ).then(
      () => assert.fail('it started'),
      (error: unknown) => (error instanceof ToolError ? error : assert.fail(String(error))),
    );
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.message, /newer version of Assay.*run that version, or restore a backup/s);
    assert.equal(
      withDatabase((database) => database.prepare('pragma user_version').get()?.user_version),
      schemaVersion + 1,
    );
  });
});
