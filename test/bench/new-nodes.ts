import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'yaml';
import { defaultTaintKeys } from '../../attest-server/formats/marks.ts';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { administrator, serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { namespaceOfServer } from '../attest-server/kubernetes/namespace-of-server.ts';
import { definitionsPath } from '../attest-server/marking/defined-resources.ts';
import { inFolder } from './attestation.ts';
import { startMeasured } from './measured-server.ts';
import { sized } from './sized.ts';

/** 5,000 Nodes that come at once into a cluster whose server runs. */
export interface NewNodesFigures {
  readonly nodes: number;
  /** Until each Node carries its taint, and until each has its NodeAttestation. */
  readonly seconds_to_marks: number;
  readonly seconds_to_resources: number;
  readonly requests_per_node: number;
  readonly refused_requests: number;
  readonly server_cpu_seconds: number;
  /** Of this process, which is the API server: what both take must fit into the time. */
  readonly api_cpu_seconds: number;
}

const nodes = sized(5000, 20);
const definition = join(import.meta.dirname, '../../manifests/base/crds/nodeattestations.yaml');
const server = serviceAccount('assay', 'assay-server');
const attestations = 'nodeattestations';
/** Milliseconds that kube-apiserver 1.33 took for these requests of this server, on average, with etcd on the same machine. */
const latencies = [
  { resource: 'nodes', subresource: '', ms: 19 },
  { resource: 'nodes', subresource: 'status', ms: 15 },
  { resource: attestations, subresource: '', ms: 17 },
  { resource: attestations, subresource: 'status', ms: 16 },
] as const;

export async function benchNewNodes(): Promise<NewNodesFigures> {
  return await inFolder(async (stateDir) => {
    await using api = await openApiServer({ rbac: false });
    const client = api.as(administrator);
    await client.request('POST', '/api/v1/namespaces', namespaceOfServer);
    const defined = await client.request('POST', definitionsPath, parse(await readFile(definition, 'utf8')));
    if (defined.code !== 201) throw new Error(defined.text);
    const kubeconfig = await api.kubeconfig(server);
    await using measured = await startMeasured({
      kind: 'assay',
      stateDir,
      challengeEveryMs: 100_000,
      kubeconfig,
    });
    while (api.log.requests({ user: server.name, verb: 'list', resource: attestations }) === 0)
      await sleep(100);
    for (const { ms, ...which } of latencies)
      api.faults.add({ ...which, verbs: ['patch'], effect: { kind: 'latency', ms } });
    await measured.sample();
    api.log.clear();
    const before = process.cpuUsage();
    const begun = performance.now();
    const names = Array.from({ length: nodes }, (_, index) => `node-${index + 1}`);
    for (const name of names) await api.createNode(name);
    const marked = await until(begun, () => names.every((name) => isMarked(api, name)));
    const published = await until(begun, () => names.every((name) => isPublished(api, name)));
    const { cpuMs } = await measured.sample();
    const ofApi = process.cpuUsage(before);
    const patches = { user: server.name, verb: 'patch' } as const;
    const asked = api.log.requests(patches);
    return {
      nodes,
      seconds_to_marks: marked,
      seconds_to_resources: published,
      requests_per_node: Math.round((100 * asked) / nodes) / 100,
      refused_requests:
        asked - api.log.requests({ ...patches, code: 200 }) - api.log.requests({ ...patches, code: 201 }),
      server_cpu_seconds: Math.round(cpuMs / 100) / 10,
      api_cpu_seconds: Math.round((ofApi.user + ofApi.system) / 100_000) / 10,
    };
  });
}

function isMarked(api: ApiServer, name: string): boolean {
  const taints = listAt(api.store.get('/nodes', name)?.object, 'spec', 'taints');
  return taints.some((taint) => textAt(taint, 'key') === defaultTaintKeys.pending);
}

function isPublished(api: ApiServer, name: string): boolean {
  return textAt(api.store.get(`assay.dev/${attestations}`, name)?.object, 'status', 'state') === 'pending';
}

/** Seconds until it is so. */
async function until(begun: number, is: () => boolean): Promise<number> {
  while (!is()) {
    if (performance.now() - begun > 300_000) throw new Error('it takes more than five minutes');
    await sleep(200);
  }
  return Math.round((performance.now() - begun) / 100) / 10;
}
