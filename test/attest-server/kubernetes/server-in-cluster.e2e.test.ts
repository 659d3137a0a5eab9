import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'mocha';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { type Json, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: gpu, nodes: ["*"], labels: { pool: gpu }, enrolment: [vendor] }
  - { name: others, nodes: ["*"], enrolment: [vendor] }
`;
const server = serviceAccount('assay', 'assay-server');
const rbac = '/apis/rbac.authorization.k8s.io/v1';
const uuid = '4c4c4544-0042-3510-8052-b4c04f4d5131';

describe('a server in a cluster', () => {
  let api: ApiServer;
  let world: TestServer;
  let folder: string;
  const asked = async (method: string, path: string, body?: Json) => {
    const { code, body: answer, text } = await api.as(administrator).request(method, path, body);
    assert.ok(code < 300, `${method} ${path}: ${text}`);
    return answer;
  };
  const grant = async (name: string, account: string, rules: Json) => {
    await asked('POST', `${rbac}/clusterroles`, { metadata: { name }, rules });
    await asked('POST', `${rbac}/clusterrolebindings`, {
      metadata: { name },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', namespace: 'assay', name: account }],
    });
  };
  before(async () => {
    api = await openApiServer();
    await asked('POST', '/api/v1/namespaces', { metadata: { name: 'assay' } });
    for (const name of ['assay-server', 'assay-agent', 'alice', 'bob', 'other'])
      await asked('POST', '/api/v1/namespaces/assay/serviceaccounts', { metadata: { name } });
    // What docs/kubernetes.md says that reading and reviewing needs, and no more.
    await grant('assay-server', 'assay-server', [
      { apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] },
      { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
      { apiGroups: ['authorization.k8s.io'], resources: ['subjectaccessreviews'], verbs: ['create'] },
    ]);
    await grant('assay-authority', 'assay-server', [
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['assay-authority'],
        verbs: ['get', 'update'],
      },
    ]);
    await asked('POST', '/api/v1/namespaces', { metadata: { name: 'assay-agents' } });
    await asked('POST', '/api/v1/namespaces/assay-agents/configmaps', {
      metadata: { name: 'assay-authority' },
    });
    await grant('assay-reader', 'alice', [
      { apiGroups: ['assay.dev'], resources: ['attestations'], verbs: ['read'] },
    ]);
    for (const name of ['node-1', 'node-2', 'node-3', 'node-4', 'node-5', 'node-6']) await node(name);
    await api.createNode('gpu-1', { labels: { pool: 'gpu' }, systemUUID: uuid.toUpperCase() });
    await pod('gpu-1');
    folder = await mkdtemp(join(tmpdir(), 'assay-in-cluster-'));
    await writeFile(join(folder, 'policy.yaml'), policy);
    world = await startTestServer({
      policy: join(folder, 'policy.yaml'),
      kubeconfig: await api.kubeconfig(server),
      authorityConfigMap: 'assay-agents/assay-authority',
    });
    await world.until(() => api.watches === 1);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
    if (folder !== undefined) await rm(folder, { recursive: true });
  });
  afterEach(() => {
    api.faults.clear();
    api.setClockSkew(0);
  });

  async function node(name: string): Promise<void> {
    await api.createNode(name, { systemUUID: uuid });
    await pod(name);
  }
  async function pod(nodeName: string, account = 'assay-agent'): Promise<void> {
    await asked('POST', '/api/v1/namespaces/assay/pods', {
      metadata: { name: `${account}-${nodeName}` },
      spec: { nodeName, serviceAccountName: account, containers: [{ name: 'c', image: 'i' }] },
    });
  }
  /** As the kubelet projects it. */
  async function tokenOf(
    account: string,
    { on, audience = 'assay' }: { on?: string; audience?: string } = {},
  ): Promise<string> {
    const name = `${account}-${on}`;
    const found = on === undefined ? null : await asked('GET', `/api/v1/namespaces/assay/pods/${name}`);
    const uid = textAt(found ?? {}, 'metadata', 'uid') ?? '';
    const body = await asked('POST', `/api/v1/namespaces/assay/serviceaccounts/${account}/token`, {
      spec: {
        audiences: [audience],
        expirationSeconds: 600,
        ...(found !== null && { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid } }),
      },
    });
    return textAt(body ?? {}, 'status', 'token') ?? '';
  }
  const frameOf = (token: string) => ({ clusterToken: binaryFrame('clusterToken', Buffer.from(token)) });
  async function attest(name: string, tpm: ForgedTpm, token: string, host: object = {}) {
    const peer = await introduce(world, tpm, name, frameOf(token));
    const { hello, channel } = peer;
    peer.send(tpm.evidence(await peer.challenge(), { node: name, hello, channel, host }));
    const { state, codes } = await peer.verdict();
    return { peer, state, codes };
  }
  async function refusal(name: string, tpm: ForgedTpm, token: string | null): Promise<string> {
    const peer = await introduce(world, tpm, name, token === null ? {} : frameOf(token));
    return peer.refusal();
  }
  const shown = async (name: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${name}`));

  it('gives its authorities to agents by a ConfigMap, both while one follows another', async () => {
    const kept = async () => {
      const found = await asked('GET', '/api/v1/namespaces/assay-agents/configmaps/assay-authority');
      return textAt(found, 'data', 'ca.crt');
    };
    await world.until(async () => (await kept()) === world.ca);
    await world.call('POST', '/v1/authority/rotate', {});
    const both: string = await world.until(async () => {
      const pem = await readFile(world.server.caFile, 'utf8');
      return pem !== world.ca && (await kept()) === pem ? pem : null;
    });
    assert.ok(both.startsWith(world.ca));
  });

  it('enrols a genuine TPM whose agent shows the token of its own node, and puts it into the group of its labels', async () => {
    const { peer, state, codes } = await attest(
      'gpu-1',
      forgedTpm(),
      await tokenOf('assay-agent', { on: 'gpu-1' }),
      { systemUuid: uuid },
    );
    await peer.close();
    assert.deepEqual([state, codes.includes('identity_claim_mismatch')], ['trusted', false]);
    const { bound, group } = await shown('gpu-1');
    assert.deepEqual([bound, group], ['vendor', 'gpu']);
  });

  it('shows whether the cluster has the kubelet of a node as Ready, and nothing that is no status of it', async () => {
    for (const [status, kept] of [
      ['True', 'True'],
      ['Unknown', 'Unknown'],
      ['False', 'False'],
      ['\u001b[2JTrue', null],
    ] as const) {
      const change = { status: { conditions: [{ type: 'Ready', status }] } };
      const { code } = await api
        .as(administrator)
        .request('PATCH', '/api/v1/nodes/gpu-1/status', change, 'application/merge-patch+json');
      assert.equal(code, 200);
      await world.until(async () => (await shown('gpu-1')).kubeletReady === kept);
    }
  });

  it('takes no token of another node, account or audience, none that has ended, and no agent without one (row 13)', async () => {
    const tpm = forgedTpm();
    await pod('node-1', 'other');
    const token = await tokenOf('assay-agent', { on: 'node-1' });
    (await attest('node-1', tpm, token)).peer.close();
    const before = await world.status('node-1');
    const bad: Readonly<Record<string, string | null>> = {
      'of another node': await tokenOf('assay-agent', { on: 'node-2' }),
      'of another pod of the node': await tokenOf('other', { on: 'node-1' }),
      'for another audience': await tokenOf('assay-agent', { on: 'node-1', audience: 'vault' }),
      'bound to nothing': await tokenOf('assay-agent'),
      'whose signature is another': `${token.slice(0, -4)}AAAA`,
      'that is none': null,
    };
    for (const [what, shownToken] of Object.entries(bad))
      assert.equal(await refusal('node-1', tpm, shownToken), 'token_rejected', what);
    const ending = await tokenOf('assay-agent', { on: 'node-1' });
    // The API takes it for a minute more, as clocks differ.
    api.setClockSkew(661_000);
    assert.equal(await refusal('node-1', tpm, ending), 'token_rejected');
    api.setClockSkew(0);
    assert.deepEqual(await world.status('node-1'), before);
    // The one that was good counts for a minute more, its pod gone or not.
    (await attest('node-1', tpm, token)).peer.close();
  });

  it('lets a node in where it last proved itself, and at a new address, while others use up its tokens with its public keys (row 367)', async () => {
    const tpm = forgedTpm();
    const fresh = () => tokenOf('assay-agent', { on: 'node-6' });
    (await attest('node-6', tpm, await fresh())).peer.close();
    let attacks = 0;
    const attack = async (from: string) => {
      const made = frameOf(`made.up.${attacks++}`);
      await (await introduce(world, tpm, 'node-6', { ...made, from })).refusal();
    };
    const flood = async () => {
      for (let round = 0; round < 6; round++)
        await Promise.all(Array.from({ length: 16 }, (_, at) => attack(`127.0.66.${1 + at}`)));
    };
    await flood();
    const { peer, state } = await attest('node-6', tpm, await fresh());
    assert.equal(state, 'trusted');
    await peer.close();
    // Where it last was is known after a restart, too; a token that was good before is not.
    await world.restart();
    await world.until(() => api.watches === 1);
    await flood();
    (await attest('node-6', tpm, await fresh())).peer.close();
    // At a new address it shares with them, and comes again.
    const token = await fresh();
    const moved = await world.until(async () => {
      const came = await introduce(world, tpm, 'node-6', { ...frameOf(token), from: '127.0.67.1' });
      const first = await came.peek();
      if (first?.type === 'challenge') return came;
      await came.close();
      return null;
    });
    await moved.close();
  });

  it('refuses new connections while the API is away, judges those that are open, and changes no state', async () => {
    const tpm = forgedTpm();
    const { peer } = await attest('node-2', tpm, await tokenOf('assay-agent', { on: 'node-2' }));
    const token = await tokenOf('assay-agent', { on: 'node-2' });
    const before = await world.status('node-2');
    await api.stop();
    assert.equal(await refusal('node-2', tpm, token), 'token_rejected');
    const said = (await world.audit()).findLast(({ code }) => code === 'token_rejected');
    assert.match(JSON.stringify(said?.detail), /nobody could say whose token this is/);
    assert.equal(JSON.stringify(said).includes(token), false);
    assert.deepEqual(await world.status('node-2'), before);
    world.server.challengeNow('node-2');
    peer.send(
      tpm.evidence(await peer.challenge(), { node: 'node-2', hello: peer.hello, channel: peer.channel }),
    );
    assert.equal((await peer.verdict()).state, 'trusted');
    await world.until(async () => (await world.metric('assay_cluster_fault{cause="unreachable"}')) === 1);
    await api.start();
    await world.until(
      async () => (await world.metric('assay_cluster_fault{cause="unreachable"}')) === 0,
      10_000,
    );
    (await attest('node-2', tpm, token)).peer.close();
    await peer.close();
  });

  it('delays no other connection and no verdict while the API hangs over a token', async () => {
    const [slow, quick] = [forgedTpm(), forgedTpm()];
    const known = await tokenOf('assay-agent', { on: 'node-3' });
    const { peer } = await attest('node-3', quick, known);
    const token = await tokenOf('assay-agent', { on: 'node-4' });
    api.faults.add({ resource: 'tokenreviews', times: 1, effect: { kind: 'hang', ms: 1_500 } });
    const started = performance.now();
    const waiting = attest('node-4', slow, token);
    await world.until(() => api.log.requests({ resource: 'tokenreviews', user: server.name }) > 0);
    (await attest('node-3', quick, known)).peer.close();
    assert.ok(performance.now() - started < 1_400);
    const late = await waiting;
    assert.ok(performance.now() - started >= 1_400);
    assert.equal(late.state, 'trusted');
    await late.peer.close();
    await peer.close();
  });

  it('warns where agent and kubelet name two machines', async () => {
    const other = uuid.replace(/1$/, '2');
    const token = await tokenOf('assay-agent', { on: 'node-5' });
    const { peer, state, codes } = await attest('node-5', forgedTpm(), token, { systemUuid: other });
    await peer.close();
    assert.deepEqual([state, codes[0]], ['trusted', 'identity_claim_mismatch']);
    const [reason] = (await shown('node-5')).reasons;
    assert.deepEqual([reason?.severity, reason?.source, reason?.actual], ['warn', 'host', other]);
    assert.match(reason?.expected ?? '', new RegExp(uuid));
  });

  it('lets people of the cluster do what it grants them, under their names', async () => {
    const alice = await tokenOf('alice');
    assert.equal((await world.ask('GET', '/v1/nodes', alice)).status, 200);
    const refused = await world.ask('POST', '/v1/join-tokens', alice, { node: 'x', ttlSeconds: 60 });
    assert.equal(refused.status, 403);
    assert.match(refused.text, /the verb operate on attestations\.assay\.dev/);
    await grant('assay-operator', 'bob', [
      { apiGroups: ['assay.dev'], resources: ['attestations'], verbs: ['read', 'operate'] },
    ]);
    const bob = await tokenOf('bob');
    const made = await world.ask('POST', '/v1/join-tokens', bob, { node: 'node-9', ttlSeconds: 60 });
    assert.equal(made.status, 201);
    const name = 'kubernetes:system:serviceaccount:assay:';
    const audit = await world.audit();
    assert.equal(audit.find(({ action }) => action === 'join-token.create')?.actor, `${name}bob`);
    assert.ok(
      audit.some(
        ({ action, code, actor }) =>
          action === 'refuse' && code === 'role_denied' && actor === `${name}alice`,
      ),
    );
    // One without any right is known and may do nothing; a stranger is neither.
    assert.equal((await world.ask('GET', '/v1/nodes', await tokenOf('other'))).status, 403);
    assert.equal(
      (await world.ask('GET', '/v1/nodes', await tokenOf('alice', { audience: 'vault' }))).status,
      401,
    );
    assert.equal((await world.ask('GET', '/v1/nodes', 'made.up.token')).status, 401);
  });

  it('tells people that the cluster gives no answer, and takes its own tokens all the same', async () => {
    const alice = await tokenOf('alice');
    api.faults.add({ resource: 'tokenreviews', effect: { kind: 'unavailable' } });
    const { status, text } = await world.ask('GET', '/v1/nodes', alice);
    assert.equal(status, 503);
    assert.match(text, /nobody could say whose token this is/);
    await world.call('GET', '/v1/nodes');
  });

  it('starts without the API, and knows the cluster once that is there', async () => {
    await api.stop();
    const started = performance.now();
    await world.restart();
    assert.ok(performance.now() - started < 5_000);
    await world.call('GET', '/v1/nodes');
    const token = await tokenOf('assay-agent', { on: 'node-1' });
    assert.equal(await refusal('node-1', forgedTpm(), token), 'token_rejected');
    await api.start();
    await world.until(async () => (await shown('gpu-1')).group === 'gpu', 35_000);
  });
});
