import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { at, type JsonObject, listAt, textAt, textsAt } from '../../swtpm-fixtures/api-server/json.ts';
import { pathOf } from '../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator, serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';

/** Does what a pod of the Job would. @returns why it failed, or null */
type RunJob = (api: ApiServer, job: JsonObject) => Promise<string | null>;

/** Does what controllers of a cluster would, until it is disposed of: runs Jobs, and ends namespaces that are deleted. */
export function startControllers(api: ApiServer, run: RunJob): AsyncDisposable {
  const ended = new AbortController();
  const running = control(api, run, ended.signal);
  return {
    async [Symbol.asyncDispose]() {
      ended.abort();
      await running;
    },
  };
}

/** The real command, with the rights of the Job's account and nothing else. */
export async function runUnmark(api: ApiServer, job: JsonObject): Promise<string | null> {
  const namespace = textAt(job, 'metadata', 'namespace') ?? '';
  const pod = at(job, 'spec', 'template', 'spec');
  const [container] = listAt(pod, 'containers');
  assert.deepEqual(textsAt(container, 'command'), ['assay']);
  const account = serviceAccount(namespace, textAt(pod, 'serviceAccountName') ?? '');
  const where = ['--kubeconfig', await api.kubeconfig(account), '--namespace', namespace];
  const { code, err } = await runAssay([...textsAt(container, 'args'), ...where], { now: Date.now });
  return code === 0 ? null : err;
}

/** All that there is, as `kubectl get --output name` says it; but Events, which end by themselves. */
export function namesIn(api: ApiServer): ReadonlySet<string> {
  const objects = api.store
    .tables()
    .flatMap((table) => api.store.list(table).map(([, { object }]) => object));
  return new Set(objects.filter((object) => textAt(object, 'kind') !== 'Event').map(shortNameOf));
}

export function shortNameOf(object: JsonObject): string {
  const [group = '', version] = (textAt(object, 'apiVersion') ?? '').split('/');
  const kind = (textAt(object, 'kind') ?? '').toLowerCase();
  return `${version === undefined ? kind : `${kind}.${group}`}/${textAt(object, 'metadata', 'name')}`;
}

async function control(api: ApiServer, run: RunJob, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    for (const [, { object }] of api.store.list('batch/jobs')) await finish(api, run, object);
    for (const [name, { object }] of api.store.list('/namespaces'))
      if (at(object, 'metadata', 'deletionTimestamp') !== undefined) await end(api, name, object);
    await sleep(50, undefined, { signal }).catch(() => undefined);
  }
}

async function finish(api: ApiServer, run: RunJob, job: JsonObject): Promise<void> {
  if (listAt(job, 'status', 'conditions').length > 0) return;
  const message = await run(api, job);
  const type = message === null ? 'Complete' : 'Failed';
  const startTime = new Date().toISOString();
  const status = { startTime, conditions: [{ type, status: 'True', message: message ?? '' }] };
  const { code, text } = await api
    .as(administrator)
    .request('PATCH', `${pathOf(job)}/status`, { status }, 'application/merge-patch+json');
  // Whoever waited for it may have given up, and deleted it.
  assert.ok([200, 404].includes(code), text);
}

async function end(api: ApiServer, name: string, namespace: JsonObject): Promise<void> {
  for (const table of api.store.tables())
    for (const [key] of api.store.list(table, `${name}/`)) api.store.remove(table, key);
  const body = { ...namespace, spec: { finalizers: [] } };
  await api.as(administrator).request('PUT', `/api/v1/namespaces/${name}/finalize`, body);
}
