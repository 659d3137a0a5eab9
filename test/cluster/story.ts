import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { stringify } from 'yaml';
import { clusterView, unmarkAnswer } from '../../attest-server/api/cluster-api.ts';
import { defaultTaintKeys, trustedCondition, trustedLabel } from '../../attest-server/formats/marks.ts';
import { binaryFrame } from '../../attest-server/wire/messages.ts';
import { at, type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { kubelet, serviceAccount, type User } from '../../swtpm-fixtures/api-server/users.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { answerWithBoot, introduce } from '../attest-server/attacker.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from '../attest-server/forged-tpm.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { eventually } from './installation.ts';
import { agent, controller, needs, nodeOf, outcomeOf, personOf, World } from './world.ts';

const good = recordedLog('debian13-sdboot-uki');
const bad = tamper(good, 'kernel');
const foreign = { key: 'example.com/theirs', value: 'x', effect: 'NoSchedule' };
const within = 20_000;
const merge = 'application/merge-patch+json';
const agents = '/api/v1/namespaces/assay-agents';
const events = '/api/v1/namespaces/default/events';

/** Nodes that the cluster has besides are judged by the last group, and get no mark. */
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: story, nodes: ["assay-test-story-*"], mode: enforce, require: [identity, boot] }
  - { name: others, nodes: ["*"], mode: observe }
`;

/**
 * A whole server with the rights, definitions and policies of manifests/, and three nodes: each test goes on where the one
 * before it ended. @param kubeconfig null: there is none, and all is skipped
 */
export function describeStory(where: string, kubeconfig: (() => Promise<string>) | null): void {
  describe(`a server in ${where}`, function () {
    this.timeout(180_000);
    const resources = new AsyncDisposableStack();
    const tpms = new Map<string, ForgedTpm>();
    const pods = new Map<string, JsonObject>();
    let world: World;
    let server: TestServer;
    let dir: string;
    let nodes: readonly [one: string, two: string, three: string];
    before(async function () {
      if (kubeconfig === null) this.skip();
      world = resources.use(await World.open(await kubeconfig()));
      needs(this, world, 'tokenRequest');
      nodes = [world.named('story-1'), world.named('story-2'), world.named('story-3')];
      dir = await mkdtemp(join(tmpdir(), 'assay-story-'));
      resources.defer(() => rm(dir, { recursive: true }));
      await writeFile(join(dir, 'policy.yaml'), policy);
      const path = '/api/v1/namespaces/assay/serviceaccounts/assay-server/token';
      await writeFile(join(dir, 'kubeconfig'), await kubeconfigOf(world, await tokenFrom(path, {})), {
        mode: 0o600,
      });
      resources.defer(removeEvents);
      server = resources.use(
        await startTestServer({
          kubeconfig: join(dir, 'kubeconfig'),
          policy: join(dir, 'policy.yaml'),
          agentAccount: 'assay-agents/assay-agent',
        }),
      );
    });
    after(async () => {
      await resources.disposeAsync();
    });

    /** What the server told of these nodes; nobody else removes it before its hour. */
    async function removeEvents(): Promise<void> {
      for (const node of nodes) {
        const { body } = await world.ask({ method: 'GET', path: eventsOf(node) });
        for (const event of listAt(body, 'items')) {
          await world.ask({ method: 'DELETE', path: `${events}/${textAt(event, 'metadata', 'name')}` });
        }
      }
    }
    async function uidOfCluster(): Promise<string> {
      const { body } = await world.ask({ method: 'GET', path: '/api/v1/namespaces/kube-system' });
      return textAt(body, 'metadata', 'uid') ?? assert.fail('kube-system has no uid');
    }
    async function tokenFrom(path: string, spec: JsonObject): Promise<string> {
      const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec };
      const reply = await world.ask({ method: 'POST', path, body });
      assert.equal(reply.code, 201, reply.text);
      return textAt(reply.body, 'status', 'token') ?? '';
    }
    /** As the kubelet projects it into the agent's pod. */
    function tokenOf(node: string): Promise<string> {
      const { metadata } = pods.get(node) ?? assert.fail();
      const [name = '', uid = ''] = [textAt(metadata, 'name'), textAt(metadata, 'uid')];
      const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid };
      return tokenFrom(`${agents}/serviceaccounts/${agent.name.split(':').at(-1)}/token`, {
        ...{ audiences: ['assay'], expirationSeconds: 600, boundObjectRef },
      });
    }
    async function introduced(node: string, tokenOfNode = node) {
      const clusterToken = binaryFrame('clusterToken', Buffer.from(await tokenOf(tokenOfNode)));
      return introduce(server, tpms.get(node) ?? assert.fail(), node, { clusterToken });
    }
    /** The node answers a challenge of a connection of its own; the state of the verdict. */
    async function answer(node: string, bootLog: Buffer, resetCount: number): Promise<string> {
      const tpm = tpms.get(node) ?? assert.fail();
      const peer = await introduced(node);
      const state = await answerWithBoot(peer, tpm, { node, bootLog, resetCount });
      await peer.close();
      return state;
    }
    async function enter(node: string): Promise<void> {
      const tpm = forgedTpm();
      tpms.set(node, tpm);
      // With the startup taint, as `--register-with-taints` has it.
      const taints = [foreign, { key: defaultTaintKeys.pending, effect: 'NoSchedule' }];
      await world.installation.make(nodeOf(node, { spec: { taints } }));
      pods.set(
        node,
        await world.installation.make({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: `agent-of-${node}`, namespace: 'assay-agents' },
          spec: {
            serviceAccountName: 'assay-agent',
            automountServiceAccountToken: false,
            nodeName: node,
            containers: [{ name: 'agent', image: 'example.com/agent:none' }],
          },
        }),
      );
      await server.pin(node, tpm.ekDigest);
    }
    /** Our taints, the label and the condition. */
    async function marksOf(node: string): Promise<string> {
      const { body } = await world.ask({ method: 'GET', path: `/api/v1/nodes/${node}` });
      const taints = listAt(body, 'spec', 'taints')
        .filter((taint) => textAt(taint, 'key')?.startsWith('assay.dev/') === true)
        .map(
          (taint) => `${textAt(taint, 'key')?.slice('assay.dev/'.length)}=${textAt(taint, 'value') ?? ''}`,
        );
      const condition = listAt(body, 'status', 'conditions').find(
        (one) => textAt(one, 'type') === trustedCondition,
      );
      const label = textAt(body, 'metadata', 'labels', trustedLabel);
      const words = [...taints, ...(label === undefined ? [] : [`label ${label}`])];
      return [...words, ...(condition === undefined ? [] : [textAt(condition, 'status')])].join(' ') || '-';
    }
    const reaches = async (node: string, ...marks: readonly string[]) => {
      let last = '';
      const isSo = async () => {
        last = await marksOf(node);
        return marks.includes(last);
      };
      await server.until(isSo, within).catch(() => assert.equal(last, marks.join(' or ')));
    };
    const patched = async (node: string, body: JsonObject, as?: User) =>
      outcomeOf(
        await world.ask({ method: 'PATCH', path: `/api/v1/nodes/${node}`, body, contentType: merge, as }),
      );
    const shown = async () => clusterView.parse(await server.call('GET', '/v1/cluster'));
    const untrusted = 'untrusted=kernel_unknown False';

    it('has all rights that it needs, and marks Nodes as pending', async () => {
      for (const node of nodes) await enter(node);
      for (const node of nodes) await reaches(node, 'pending= Unknown');
      await server.until(async () => (await shown()).lease?.ours === true, within);
      // It has looked at the policies, and found them as they are to be.
      const seen = (resource: string) =>
        server.metric(
          `assay_kube_api_requests_total{verb="get",resource="${resource}.admissionregistration.k8s.io",code="200"}`,
        );
      await server.until(async () => (await seen('validatingadmissionpolicies')) >= 2, within);
      await server.until(async () => (await seen('validatingadmissionpolicybindings')) >= 2, within);
      assert.deepEqual((await shown()).faults, []);
      assert.equal(await server.metric('assay_cluster_fault{cause="forbidden"}'), 0);
    });

    it('labels them once they are trusted, and frees them of the startup taint', async () => {
      const [one] = nodes;
      assert.equal(await answer(one, good, 7), 'pending');
      await server.call('POST', '/v1/references', { node: one, name: 'good' });
      for (const node of nodes) assert.equal(await answer(node, good, 7), 'trusted');
      for (const node of nodes) await reaches(node, 'label true True');
    });

    it('takes no token of another node (row 13)', async () => {
      const [one, two] = nodes;
      const peer = await introduced(one, two);
      assert.equal(await peer.refusal(), 'token_rejected');
      assert.equal(await marksOf(one), 'label true True');
    });

    it('taints one that booted another kernel, and says so in its resource and by an Event', async () => {
      const [, two] = nodes;
      assert.equal(await answer(two, bad, 8), 'untrusted');
      await reaches(two, untrusted);
      const path = `/apis/assay.dev/v1alpha1/nodeattestations/${two}`;
      await server.until(async () => {
        const { body } = await world.ask({ method: 'GET', path });
        return textAt(body, 'status', 'state') === 'untrusted' && textAt(body, 'status', 'reason');
      }, within);
      await server.until(async () => {
        const { body } = await world.ask({ method: 'GET', path: eventsOf(two) });
        return listAt(body, 'items').some((event) => textAt(event, 'reason') === 'KernelUnknown');
      }, within);
    });

    it('stands by its marks: nobody else sets or removes them, and what may be removed comes back (row 65)', async function () {
      needs(this, world, 'rbac');
      const [, two] = nodes;
      const { body } = await world.ask({ method: 'GET', path: `/api/v1/nodes/${two}` });
      const others = listAt(body, 'spec', 'taints').filter(
        (taint) => textAt(taint, 'key') !== defaultTaintKeys.untrusted,
      );
      const untainted = { spec: { taints: others } };
      assert.equal(await patched(two, untainted, controller), 'assay-marks');
      const labelled = { metadata: { labels: { [trustedLabel]: 'true' } } };
      assert.equal(await patched(two, labelled, controller), 'assay-marks');
      assert.equal(await patched(two, untainted, personOf('exempt')), 'allowed');
      await reaches(two, untrusted);
      assert.equal(await patched(two, labelled), 'allowed');
      await reaches(two, untrusted);
      await server.until(async () => (await server.metric('assay_refusals_total{code="label_tamper"}')) > 0);
    });

    it('marks a Node that was deleted and registers anew, before it proved anything (row 11)', async () => {
      const [, two] = nodes;
      const { code } = await world.ask({ method: 'DELETE', path: `/api/v1/nodes/${two}` });
      assert.equal(code, 200);
      const as = world.features.nodeRestriction === null ? kubelet(two) : undefined;
      await world.installation.make(nodeOf(two, { spec: { taints: [foreign] } }), as);
      // Of a group this small one taint of drift is new in ten minutes; another one keeps pods away until then.
      await reaches(two, untrusted, 'reproving= False');
    });

    it('leaves what others put on Nodes', async () => {
      for (const node of nodes) {
        const { body } = await world.ask({ method: 'GET', path: `/api/v1/nodes/${node}` });
        const theirs = listAt(body, 'spec', 'taints').filter((taint) => textAt(taint, 'key') === foreign.key);
        assert.deepEqual(theirs, [foreign]);
      }
    });

    it('enables trust for good, in the cluster too, and frees every Node and trusts none where it is uninstalled (row 105)', async () => {
      const [one, two, three] = nodes;
      const trust = { groups: ['story'], auditKeyCopy: await server.auditKeyCopy() };
      await server.call('POST', '/v1/cluster/trust', trust);
      const latch = '/apis/assay.dev/v1alpha1/assaylatches/cluster';
      const { body } = await world.ask({ method: 'GET', path: latch });
      assert.deepEqual(at(body, 'spec', 'groups'), ['story']);
      assert.equal(outcomeOf(await world.ask({ method: 'DELETE', path: latch })), 'assay-latch');
      await assert.rejects(server.call('POST', '/v1/cluster/unmark', {}), /409 .*latched/);
      const clusterUid = await uidOfCluster();
      const done = unmarkAnswer.parse(
        await server.call('POST', '/v1/cluster/unmark', { clusterUid, reason: 'these tests end' }),
      );
      for (const node of nodes) assert.ok(done.nodes.includes(node), node);
      for (const node of [one, two, three]) assert.equal(await marksOf(node), '-');
      const { body: left } = await world.ask({
        method: 'GET',
        path: '/apis/assay.dev/v1alpha1/nodeattestations',
      });
      assert.deepEqual(listAt(left, 'items'), []);
    });

    it('is unmarked without a server, too, by who may exempt and no more', async () => {
      const [one] = nodes;
      const trusted = { metadata: { labels: { [trustedLabel]: 'true' } } };
      await server[Symbol.asyncDispose]();
      assert.equal(await patched(one, trusted), 'allowed');
      const name = 'assay-test-prune';
      await world.installation.make({
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name, namespace: 'assay-agents' },
      });
      await world.installation.make({
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'ClusterRoleBinding',
        metadata: { name },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'assay-exempt' },
        subjects: [{ kind: 'ServiceAccount', name, namespace: 'assay-agents' }],
      });
      const token = await tokenFrom(`${agents}/serviceaccounts/${name}/token`, {});
      const file = join(dir, 'prune');
      await writeFile(file, await kubeconfigOf(world, token), { mode: 0o600 });
      const unmark = (...more: readonly string[]) =>
        runAssay(
          ['unmark', '--all', '--direct', '--kubeconfig', file, '--namespace', 'assay', '--yes', ...more],
          {
            now: Date.now,
          },
        );
      await eventually('the new rights count', async () => {
        const attributes = { group: '', resource: 'nodes', verb: 'list' };
        return (await world.may(serviceAccount('assay-agents', name), attributes)) ? true : null;
      });
      const latched = await unmark();
      assert.equal(latched.code, 12, latched.err);
      const uid = await uidOfCluster();
      const { code, err } = await unmark('--cluster-uid', uid, '--reason', 'these tests end');
      assert.equal(code, 0, err);
      assert.equal(await marksOf(one), '-');
    });
  });
}

function eventsOf(node: string): string {
  const selector = encodeURIComponent(`involvedObject.kind=Node,involvedObject.name=${node}`);
  return `${events}?fieldSelector=${selector}`;
}

/** As its pod would have it. */
async function kubeconfigOf({ client }: World, token: string): Promise<string> {
  const { server, authority } = await client.address();
  const cluster = {
    server,
    ...(authority !== null && { 'certificate-authority-data': Buffer.from(authority).toString('base64') }),
  };
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'a', cluster }],
    users: [{ name: 'a', user: { token } }],
    contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
    'current-context': 'a',
  });
}
