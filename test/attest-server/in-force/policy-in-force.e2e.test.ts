import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { policyView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { simulateAnswer } from '../../../attest-server/api/policy-api.ts';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { PolicyError } from '../../../attest-server/policy/file/policy-error.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../../attest-server/policy/policy.ts';
import { dial, enrolledNode, type Peer } from '../attacker.ts';
import { bootPolicy } from '../boot-policy.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: gpu, nodes: ["gpu-*"], tpm: absent }
  - { name: labelled, nodes: ["*"], labels: { "gpu": "true" }, tpm: absent }
  - { name: spot, nodes: ["*"], labels: { spot: "yes" } }
  - { name: chips, nodes: ["chip-*"], tpmClass: [discrete, firmware] }
  - { name: brief, nodes: ["brief-*"], freshness: 90 }
  - { name: others, nodes: ["*"] }
`;

describe('a policy in force, over real connections', () => {
  let world: TestServer;
  let folder: string;
  let policyFile: string;
  const labels = new Map<string, Record<string, string>>([
    ['render-1', { gpu: 'true' }],
    ['node-2', { spot: 'yes', zone: 'a' }],
  ]);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-policy-'));
    policyFile = join(folder, 'policy.yaml');
    await writeFile(policyFile, policy);
    world = await startTestServer({
      policy: policyFile,
      cluster: {
        providerIdOf: async () => null,
        nodeOfToken: async () => null,
        labelsOf: (node) => labels.get(node) ?? {},
        systemUuidOf: () => null,
        wantsToken: () => false,
      },
    });
    for (const node of ['brief-1', 'chip-1', 'node-1', 'node-2'])
      await enrolledNode(world, forgedTpm(), node);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true });
  });

  const nodes = async () => listOf(nodeView).parse(await world.call('GET', '/v1/nodes')).items;
  async function sayNoTpm(node: string): Promise<Peer> {
    const peer = await dial(world);
    peer.send({ ...forgedTpm().hello(node), ek: null, ak: null, banks: [] });
    return peer;
  }

  describe('of machines without a TPM', () => {
    const refusals = 'assay_refusals_total{code="unsupported_tpm"}';

    for (const [node, group] of [
      ['gpu-1', 'gpu'],
      ['render-1', 'labelled'],
    ] as const)
      it(`shows ${node} of group ${group} as unsupported, and makes nothing of it`, async () => {
        const [counted, entries] = [await world.metric(refusals), (await world.audit()).length];
        assert.equal(await (await sayNoTpm(node)).refusal(), 'unsupported_tpm');
        const shown = (await nodes()).find(({ name }) => name === node);
        assert.deepEqual(
          [shown?.state, shown?.reason, shown?.group, shown?.bound, shown?.require],
          ['unsupported', 'unsupported_tpm', group, null, []],
        );
        assert.deepEqual(nodeView.parse(await world.call('GET', `/v1/nodes/${node}`)), shown);
        assert.deepEqual([await world.metric(refusals), (await world.audit()).length], [counted, entries]);
        assert.equal(await world.store.enrolment.node(node), null);
      });

    it('counts them under their state', async () =>
      assert.equal(await world.metric('assay_nodes{state="unsupported"}'), 2));

    it('takes no such word from a machine of another group, nor from an enrolled one', async () => {
      const counted = await world.metric(refusals);
      assert.equal(await (await sayNoTpm('node-9')).refusal(), 'unsupported_tpm');
      assert.equal(await world.metric(refusals), counted + 1);
      assert.equal(await (await sayNoTpm('node-1')).refusal(), 'identity_unproven');
      assert.deepEqual(
        (await nodes()).map(({ name, state }) => `${name} ${state}`),
        [
          'brief-1 trusted',
          'chip-1 pending',
          'gpu-1 unsupported',
          'node-1 trusted',
          'node-2 trusted',
          'node-9 pending',
          'render-1 unsupported',
        ],
      );
    });

    it('shows at once that a machine which is to have a TPM has none, and counts it as no node', async () => {
      const shown = (await nodes()).find(({ name }) => name === 'node-9');
      assert.deepEqual(
        [shown?.state, shown?.reason, shown?.reasons.map(({ code }) => code), shown?.bound],
        ['pending', 'unsupported_tpm', ['unsupported_tpm'], null],
      );
      const env = world.env();
      const table = await runAssay(['get', 'nodes', '--reason', 'unsupported_tpm'], { env });
      assert.match(table.out, /^node-9 +pending +unsupported_tpm /m);
      const why = await runAssay(['why', 'node-9'], { env });
      assert.match(why.out, /^node-9 is pending\n {2}unsupported_tpm: /);
      assert.match(why.out, /tpm:\s+absent/);
      assert.match((await runAssay(['status'], { env })).out, /^Without TPM: +1 machine says so/m);
      // That one is enrolled.
      assert.equal(await world.metric('assay_nodes{state="pending"}'), 1);
      assert.equal(await world.metric('assay_nodes_claimed_without_tpm'), 1);
    });

    it('lists each page of them once', async () => {
      const page = listOf(nodeView).parse(await world.call('GET', '/v1/nodes?limit=2&after=node-2'));
      assert.deepEqual([page.items.map(({ name }) => name), page.next], [['node-9', 'render-1'], null]);
    });
  });

  it('chooses the group by labels, also when the verdict is derived again from its bundle', async () => {
    assert.equal((await world.status('node-2'))?.verdict?.group, 'spot');
    const bundle = await world.call('GET', '/v1/nodes/node-2/bundle');
    assert.deepEqual(parseBundle(JSON.stringify(bundle)).context?.labels, { spot: 'yes' });
    const { verdict } = verifyBundle(JSON.stringify(bundle), { now: Date.now() });
    assert.deepEqual([verdict.state, verdict.group], ['trusted', 'spot']);
  });

  it('trusts no TPM of another class than it wants, also when judged again from its bundle', async () => {
    const verdict = (await world.status('chip-1'))?.verdict;
    assert.deepEqual([verdict?.state, verdict?.reasons[0]?.code], ['pending', 'identity_unproven']);
    const bundle = JSON.stringify(await world.call('GET', '/v1/nodes/chip-1/bundle'));
    const again = verifyBundle(bundle, { now: Date.now() }).verdict;
    assert.deepEqual([again.state, again.reasons[0]?.text], ['pending', verdict?.reasons[0]?.text]);
  });

  it('lets a verdict count no longer than its freshness', async () => {
    const counts = async (node: string) => {
      const status = await world.status(node);
      return (status?.expiresAt ?? 0) - (status?.verifiedAt ?? 0);
    };
    assert.deepEqual([await counts('brief-1'), await counts('node-1')], [90_000, 900_000]);
  });

  describe('beside another one that is tried', () => {
    const simulate = async (text: string, more: object = {}) =>
      simulateAnswer.parse(await world.call('POST', '/v1/policy/simulate', { policy: text, ...more }));

    it('says whom it would change, and why, and changes nothing', async () => {
      const [verdicts, entries] = [world.verdicts.length, (await world.audit()).length];
      const { items, next } = await simulate(bootPolicy.text);
      assert.deepEqual(
        items.map(({ node, before, after, changed }) => [node, before?.state, after?.state, changed]),
        ['brief-1', 'chip-1', 'node-1', 'node-2'].map((node) => [
          node,
          node === 'chip-1' ? 'pending' : 'trusted',
          'pending',
          true,
        ]),
      );
      assert.ok(items[0]?.after?.reasons.some(({ code }) => code === 'no_reference'));
      assert.deepEqual(
        [next, world.verdicts.length, (await world.audit()).length],
        [null, verdicts, entries],
      );
    });

    it('says that the same one changes nobody', async () => {
      const { items } = await simulate(policy);
      assert.ok(items.every(({ changed }) => !changed));
    });

    it('answers a page at a time', async () => {
      const first = await simulate(policy, { limit: 2 });
      assert.deepEqual([first.items.length, first.next], [2, 'chip-1']);
      const last = await simulate(policy, { limit: 2, after: first.next });
      assert.deepEqual([last.items.map(({ node }) => node), last.next], [['node-1', 'node-2'], null]);
    });

    it('is drafted from what was observed, by the command line', async () => {
      const env = world.env();
      const { code, out } = await runAssay(['policy', 'suggest'], { env });
      assert.equal(code, 0);
      const drafted = parsePolicy(out, 'draft.yaml');
      assert.equal(groupOf(drafted, 'gpu-1').tpm, 'absent');
      assert.deepEqual(groupOf(drafted, 'node-1').require, ['identity']);
      await writeFile(join(folder, 'draft.yaml'), out);
      const simulated = await runAssay(['policy', 'simulate', join(folder, 'draft.yaml')], {
        env,
      });
      assert.deepEqual([simulated.code, simulated.err], [0, '']);
      assert.match(simulated.out, /^1 of 4 nodes would change$/m);
    });

    it('is refused with the place of each fault', async () => {
      const token = (await readFile(join(world.stateDir, 'admin.token'), 'utf8')).trim();
      const body = {
        policy: policy.replace('freshness: 90', 'freshness: 0, mode: enforced'),
        file: 'p.yaml',
      };
      const { status, text } = await world.ask('POST', '/v1/policy/simulate', token, body);
      assert.equal(status, 400);
      const { detail } = JSON.parse(text);
      assert.match(detail, /^p\.yaml:8: groups\.4\.freshness: /m);
      assert.match(detail, /^p\.yaml:8: groups\.4\.mode: /m);
    });
  });

  it('stays in force where the file that is read again has a fault, which is named with its place', async () => {
    const before = await world.call('GET', '/v1/policy');
    await writeFile(policyFile, policy.replace('tpm: absent', 'tpm: absent, boot: { secureBoot: required }'));
    await assert.rejects(world.server.reload(), (error) => {
      assert.ok(error instanceof PolicyError);
      const [fault] = error.faults;
      assert.deepEqual([error.file, fault?.line, fault?.field], [policyFile, 4, 'groups.0.boot']);
      return true;
    });
    assert.deepEqual(await world.call('GET', '/v1/policy'), before);
    assert.equal(await world.metric('assay_reload_failures_total{part="policy"}'), 1);
    const told = (await world.audit()).find(({ action }) => action === 'reload.refuse');
    assert.match(String(told?.detail.text), /:4: groups\.0\.boot: /);
  });

  it('stands in the audit log with its revision, and each other one that follows it', async () => {
    const inForce = async () => policyView.parse(await world.call('GET', '/v1/policy'));
    const loaded = async () => (await world.audit()).filter(({ action }) => action === 'policy.load');
    const [before] = await world.until(async () => ((await loaded()).length > 0 ? await loaded() : null));
    const { name, revision } = await inForce();
    assert.deepEqual([before?.actor, before?.subject], ['server', `${name}@${revision}`]);
    for (const text of [policy, `${policy}# changed`, `${policy}# changed`]) {
      await writeFile(policyFile, text);
      await world.server.reload();
    }
    const entries = await world.until(async () => ((await loaded()).length > 1 ? await loaded() : null));
    const now = await inForce();
    assert.notEqual(now.revision, revision);
    assert.deepEqual(
      entries.map(({ subject }) => subject),
      [`${name}@${revision}`, `${name}@${now.revision}`],
    );
    assert.equal(entries[1]?.detail.before, `${name}@${revision}`);
  });
});
