import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { trustedCondition, trustedLabel } from '../../../attest-server/formats/marks.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { type JsonObject, listAt, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import type { NodeOptions } from '../../../swtpm-fixtures/api-server/node-object.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { answerWithBoot, introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { namespaceOfServer } from '../kubernetes/namespace-of-server.ts';
import { type ServerSettings, startTestServer, type TestServer } from '../running-server.ts';
import { defineResources, protectMarks } from './defined-resources.ts';

/** A server in a cluster, whose nodes have forged TPMs. */
export interface ForgedSite extends AsyncDisposable {
  readonly api: ApiServer;
  readonly world: TestServer;
  readonly policyFile: string;
  /** Has the cluster and the server know it. */
  add(node: string, options?: NodeOptions): Promise<void>;
  /** The same TPM, once its enrolment was revoked. */
  enrolAgain(node: string): Promise<void>;
  /** Connects, answers the first challenge, and gives the state of the verdict. */
  answer(node: string, bootLog: Buffer, resetCount: number): Promise<string>;
  /** The same of its gate. */
  gate(node: string, bootLog: Buffer, resetCount: number): Promise<string>;
  /** The same, and stays connected. */
  stay(node: string, bootLog: Buffer, resetCount: number): Promise<Peer>;
  /** `-`, or taints with a key of ours, `label`, and the status of the condition. */
  marksOf(node: string): string;
  reaches(node: string, marks: string): Promise<void>;
}

/** Of one group for all nodes. */
export const sitePolicy = (mode: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: workers\n    nodes: ["*"]\n    mode: ${mode}\n    require: [identity, boot]\n`;

export async function openForgedSite(settings: ServerSettings = {}): Promise<ForgedSite> {
  await using opened = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'assay-site-'));
  opened.defer(() => rm(dir, { recursive: true }));
  const policy = join(dir, 'policy.yaml');
  await writeFile(policy, sitePolicy('enforce'));
  const api = opened.use(await openApiServer({ rbac: false }));
  await api.as(administrator).request('POST', '/api/v1/namespaces', namespaceOfServer);
  await defineResources(api);
  // A server that marks looks for it.
  await protectMarks(api);
  const kubeconfig = await api.kubeconfig(serviceAccount('assay', 'assay-server'));
  const world = opened.use(await startTestServer({ kubeconfig, agentTokens: 'never', policy, ...settings }));
  const tpms = new Map<string, ForgedTpm>();
  const marksOf = (node: string) =>
    marksOn(api.store.get('/nodes', node)?.object ?? assert.fail(`no Node ${node}`));
  const answered = async (node: string, bootLog: Buffer, resetCount: number, role = 'agent') => {
    const tpm = tpms.get(node) ?? assert.fail();
    const hello = role === 'agent' ? {} : { role };
    const peer = await introduce(world, tpm, node, { hello });
    const state = await answerWithBoot(peer, tpm, { node, bootLog, resetCount });
    return { peer, state };
  };
  const all = opened.move();
  return {
    api,
    world,
    policyFile: policy,
    async add(node, options) {
      await api.createNode(node, options);
      const tpm = forgedTpm();
      tpms.set(node, tpm);
      await world.pin(node, tpm.ekDigest);
    },
    async enrolAgain(node) {
      await world.pin(node, tpms.get(node)?.ekDigest ?? assert.fail());
    },
    async answer(node, bootLog, resetCount) {
      const { peer, state } = await answered(node, bootLog, resetCount);
      await peer.close();
      return state;
    },
    async gate(node, bootLog, resetCount) {
      const { peer, state } = await answered(node, bootLog, resetCount, 'gate');
      await peer.close();
      return state;
    },
    async stay(node, bootLog, resetCount) {
      return (await answered(node, bootLog, resetCount)).peer;
    },
    marksOf,
    async reaches(node, marks) {
      await world.until(() => marksOf(node) === marks);
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function marksOn(node: JsonObject): string {
  const taints = listAt(node, 'spec', 'taints').map((taint) => {
    const value = textAt(taint, 'value') ?? '';
    return `${textAt(taint, 'key')?.replace('assay.dev/', '')}${value === '' ? '' : `=${value}`}`;
  });
  const condition = listAt(node, 'status', 'conditions').find(
    (each) => textAt(each, 'type') === trustedCondition,
  );
  return (
    [
      ...taints,
      ...(textAt(node, 'metadata', 'labels', trustedLabel) === 'true' ? ['label'] : []),
      ...(condition === undefined ? [] : [textAt(condition, 'status')]),
    ].join(' ') || '-'
  );
}
