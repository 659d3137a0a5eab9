import { EventEmitter, once } from 'node:events';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  attestationResource,
  defaultTaintKeys,
  resourceGroup,
  trustedLabel,
} from '../../attest-server/formats/marks.ts';
import { type ApiServer, openApiServer } from '../api-server/api-server.ts';
import { isEqual, type Json, type JsonObject, type KubeObject, listAt, textAt } from '../api-server/json.ts';
import { collectionOf, manifestFiles, objectsOf, pathOf } from '../api-server/manifest-objects.ts';
import { administrator, serviceAccount } from '../api-server/users.ts';

/** The Nodes of a Kubernetes API server of this process, which has the rights and policies of `manifests/`. */
export interface MarkedNodes extends AsyncDisposable {
  /** Of the attestation server, with the rights of its service account. */
  readonly kubeconfig: string;
  /** Of whoever looks with kubectl. */
  readonly kubeconfigOfPeople: string;
  readonly url: string;
  /** With a taint and a label that are none of ours. */
  register(node: string): Promise<void>;
  remove(node: string): Promise<void>;
  /** Our taints, then `label` where it is there; empty for a Node without any, and null for none. */
  marks(node: string): readonly string[] | null;
  /** Whether the cluster has a NodeAttestation of that name. */
  isAttested(node: string): boolean;
  /** Whether taint and label of others are as they were registered, and always were. */
  isForeignLeft(node: string): boolean;
  /** Resolves with true once the condition holds, which is asked after each change; with false at the deadline. */
  next(condition: () => boolean, withinMs: number): Promise<boolean>;
}

const foreignTaint = { key: 'example.com/batch', value: 'yes', effect: 'NoSchedule' };
const foreignLabel = ['example.com/team', 'blue'] as const;

const attestations = `${resourceGroup}/${attestationResource.plural}`;

export async function openMarkedNodes(dir: string, signal: AbortSignal): Promise<MarkedNodes> {
  await using opened = new AsyncDisposableStack();
  const api = opened.use(await openApiServer());
  await install(api);
  // Where a person finds it again: that of the API server has another place at each start.
  const kubeconfigOfPeople = join(dir, 'kubeconfig');
  await copyFile(await api.kubeconfig(administrator), kubeconfigOfPeople);
  const kubeconfig = await api.kubeconfig(serviceAccount('assay', 'assay-server'));

  const changes = new EventEmitter();
  changes.setMaxListeners(0);
  const touched = new Set<string>();
  const nodeNamed = (node: string) => api.store.get('/nodes', node)?.object ?? null;
  const marks = (node: string) => {
    const object = nodeNamed(node);
    return object === null ? null : marksOf(object);
  };
  opened.use(
    api.store.listen(({ table, key, after }) => {
      if (table === '/nodes' && after !== null && !isForeignLeft(after.object)) touched.add(key);
      if (table === '/nodes' || table === attestations) changes.emit('change');
    }),
  );
  signal.addEventListener('abort', () => changes.emit('change'));
  const owned = opened.move();
  return {
    kubeconfig,
    kubeconfigOfPeople,
    url: api.url,
    async register(node) {
      await api.createNode(node, { labels: { [foreignLabel[0]]: foreignLabel[1] }, taints: [foreignTaint] });
    },
    async remove(node) {
      const { code, text } = await api.as(administrator).request('DELETE', `/api/v1/nodes/${node}`);
      if (code !== 200) throw new Error(`Node ${node} cannot be deleted: ${text}`);
    },
    marks,
    isAttested: (node) => api.store.get(attestations, node) !== null,
    isForeignLeft(node) {
      const object = nodeNamed(node);
      return object !== null && isForeignLeft(object) && !touched.has(node);
    },
    async next(condition, withinMs) {
      const deadline = AbortSignal.timeout(withinMs);
      for (;;) {
        signal.throwIfAborted();
        if (condition()) return true;
        if (deadline.aborted) return false;
        await once(changes, 'change', { signal: deadline }).catch(() => undefined);
      }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What an administrator applies before the server starts. */
async function install(api: ApiServer): Promise<void> {
  const client = api.as(administrator);
  for (const object of manifestFiles.flatMap((file) => [...objectsOf(file)])) {
    const target = `${collectionOf(object)}?fieldValidation=Strict`;
    const { code, text } = await client.request('POST', target, object);
    if (code !== 201) throw new Error(`${pathOf(object)} was refused: ${text}`);
  }
}

function marksOf(node: JsonObject): readonly string[] {
  const taints = listAt(node, 'spec', 'taints')
    .filter((taint) => isOurs(textAt(taint, 'key')))
    .map(written);
  return textAt(node, 'metadata', 'labels', trustedLabel) === 'true' ? [...taints, 'label'] : taints;
}

function isForeignLeft(node: KubeObject): boolean {
  const others = listAt(node, 'spec', 'taints').filter((taint) => !isOurs(textAt(taint, 'key')));
  return (
    isEqual(others, [foreignTaint]) && textAt(node, 'metadata', 'labels', foreignLabel[0]) === foreignLabel[1]
  );
}

/** As kubectl writes a taint, without the effect: it is always the same. */
function written(taint: Json): string {
  const value = textAt(taint, 'value') ?? '';
  const key = (textAt(taint, 'key') ?? '').replace('assay.dev/', '');
  return value === '' ? key : `${key}=${value}`;
}

function isOurs(key: string | undefined): boolean {
  return Object.values(defaultTaintKeys).some((own) => own === key);
}
