import { setTimeout as sleep } from 'node:timers/promises';
import {
  at,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  textAt,
} from '../../swtpm-fixtures/api-server/json.ts';
import {
  collectionOf,
  manifestFiles,
  nameOf,
  objectsOf,
  pathOf,
} from '../../swtpm-fixtures/api-server/manifest-objects.ts';
import type { User } from '../../swtpm-fixtures/api-server/users.ts';
import type { ClusterClient, Reply } from './cluster-client.ts';

/** By this label a later run knows what an earlier one left behind. */
const label = 'assay.dev/made-by-test';
const wellWithin = 60_000;

/**
 * Everything of manifests/ in a cluster that had nothing of it, and what tests make besides. Needs an API server and no
 * controller.
 */
export class Installation implements AsyncDisposable {
  readonly client: ClusterClient;
  readonly #made: JsonObject[] = [];

  private constructor(client: ClusterClient) {
    this.client = client;
  }

  /** @throws Error where the cluster has an Assay that is none of these tests */
  static async open(client: ClusterClient): Promise<Installation> {
    await removeLeftovers(client);
    const installation = new Installation(client);
    try {
      for (const file of manifestFiles) {
        for (const object of objectsOf(file)) await installation.make(object);
        if (file.startsWith('crds/'))
          await Promise.all(objectsOf(file).map((object) => established(client, object)));
      }
      return installation;
    } catch (error) {
      await installation[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Makes an object that goes at the end. An unknown member is an error. @param as default: the administrator @returns as it is then */
  async make(object: JsonObject, as?: User): Promise<JsonObject> {
    const path = `${collectionOf(object)}?fieldValidation=Strict`;
    const reply = await this.client.ask({ method: 'POST', path, body: labelled(object), as });
    if (reply.code !== 201) throw new Error(`${pathOf(object)} was refused: ${reply.text}`);
    this.#made.push(object);
    return reply.body;
  }

  /** Removes policies first, since they protect the rest, and the namespaces last. */
  async [Symbol.asyncDispose](): Promise<void> {
    await removeAll(this.client, this.#made.splice(0));
  }
}

/** Asks again until the answer is as it is to be: what was written takes effect a moment later. */
export async function eventually<T>(
  what: string,
  asked: () => Promise<T | null>,
  saw: () => string = () => '',
): Promise<T> {
  const end = performance.now() + wellWithin;
  for (let wait = 10; ; wait = Math.min(wait * 2, 500)) {
    const found = await asked();
    if (found !== null) return found;
    if (performance.now() > end)
      throw new Error(`after ${wellWithin / 1000} s still not so: ${what} ${saw()}`);
    await sleep(wait);
  }
}

function labelled(object: JsonObject): JsonObject {
  const metadata = at(object, 'metadata');
  const labels = at(metadata, 'labels');
  return {
    ...object,
    metadata: {
      ...(isObject(metadata) && metadata),
      labels: { ...(isObject(labels) && labels), [label]: 'true' },
    },
  };
}

function established(client: ClusterClient, definition: JsonObject): Promise<JsonObject> {
  return eventually(`${nameOf(definition)} is established`, async () => {
    const { body } = await client.ask({ method: 'GET', path: pathOf(definition) });
    const isSo = listAt(body, 'status', 'conditions').some(
      (condition) => textAt(condition, 'type') === 'Established' && textAt(condition, 'status') === 'True',
    );
    if (!isSo) return null;
    // The path is served a moment later than it is announced.
    const { code } = await client.ask({ method: 'GET', path: collectionOfDefined(definition) });
    return code === 200 ? body : null;
  });
}

function collectionOfDefined(definition: JsonObject): string {
  const [group, plural] = [
    textAt(definition, 'spec', 'group'),
    textAt(definition, 'spec', 'names', 'plural'),
  ];
  return `/apis/${group}/${textAt(listAt(definition, 'spec', 'versions')[0], 'name')}/${plural}`;
}

async function removeLeftovers(client: ClusterClient): Promise<void> {
  const objects = manifestFiles.flatMap((file) => [...objectsOf(file)]);
  const found: JsonObject[] = [];
  for (const object of objects) {
    const { code, body } = await client.ask({ method: 'GET', path: pathOf(object) });
    if (code === 404) continue;
    if (code !== 200) throw new Error(`${pathOf(object)} cannot be read: HTTP ${code}`);
    if (textAt(body, 'metadata', 'labels', label) !== 'true')
      throw new Error(`this cluster has Assay already (${pathOf(object)}); these tests want one without`);
    found.push(object);
  }
  await removeAll(client, [...found, ...(await labelledObjects(client))]);
}

/** What tests made besides the manifests. */
async function labelledObjects(client: ClusterClient): Promise<readonly JsonObject[]> {
  const kinds = [
    { apiVersion: 'v1', kind: 'Node' },
    { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' },
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole' },
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRoleBinding' },
  ];
  const found: JsonObject[] = [];
  for (const kind of kinds) {
    const path = `${collectionOf(kind)}?labelSelector=${encodeURIComponent(`${label}=true`)}`;
    const { body } = await client.ask({ method: 'GET', path });
    for (const item of listAt(body, 'items')) {
      found.push({ ...kind, metadata: { name: textAt(item, 'metadata', 'name') ?? '' } });
    }
  }
  return found;
}

async function removeAll(client: ClusterClient, objects: readonly JsonObject[]): Promise<void> {
  const isPolicy = (object: JsonObject) => /^ValidatingAdmissionPolicy/.test(textAt(object, 'kind') ?? '');
  const isNamespace = (object: JsonObject) => textAt(object, 'kind') === 'Namespace';
  const removed = async (object: JsonObject): Promise<void> => {
    // A policy that was deleted may act for a moment longer.
    let last = '';
    await eventually(
      `${pathOf(object)} is deleted`,
      async () => {
        const reply = await removal(client, pathOf(object));
        last = reply.text;
        return gone(reply);
      },
      () => last,
    );
    await eventually(`${pathOf(object)} is gone`, async () =>
      gone(await client.ask({ method: 'GET', path: pathOf(object) }), 404),
    );
  };
  const rest = objects.filter((object) => !isPolicy(object) && !isNamespace(object));
  for (const policy of objects.filter(isPolicy).reverse()) await removed(policy);
  for (const object of [...rest].reverse()) await removed(object);
  for (const namespace of objects.filter(isNamespace)) await removeNamespace(client, namespace);
}

const deleteNow = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0 };

function removal(client: ClusterClient, path: string): Promise<Reply> {
  return client.ask({ method: 'DELETE', path, body: deleteNow });
}

function gone({ code }: Reply, ...wanted: readonly number[]): true | null {
  return (wanted.length > 0 ? wanted : [200, 202, 404]).includes(code) ? true : null;
}

/** What its controller would do: no controller may run. */
async function removeNamespace(client: ClusterClient, namespace: JsonObject): Promise<void> {
  const path = pathOf(namespace);
  const inIt = [
    ...['pods', 'serviceaccounts', 'configmaps', 'events'].map(
      (plural) => `/api/v1/namespaces/${nameOf(namespace)}/${plural}`,
    ),
    ...['roles', 'rolebindings'].map(
      (plural) => `/apis/rbac.authorization.k8s.io/v1/namespaces/${nameOf(namespace)}/${plural}`,
    ),
    `/apis/coordination.k8s.io/v1/namespaces/${nameOf(namespace)}/leases`,
  ];
  await removal(client, path);
  for (const collection of inIt) {
    const { body } = await client.ask({ method: 'GET', path: collection });
    for (const item of listAt(body, 'items')) {
      await removal(client, `${collection}/${textAt(item, 'metadata', 'name')}`);
    }
  }
  await eventually(`${path} is gone`, async () => {
    const { code, body } = await client.ask({ method: 'GET', path });
    if (code === 404) return true;
    const spec: Json = { ...spread(at(body, 'spec')), finalizers: [] };
    await client.ask({ method: 'PUT', path: `${path}/finalize`, body: { ...body, spec } });
    return null;
  });
}

function spread(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}
