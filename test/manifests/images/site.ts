import assert from 'node:assert/strict';
import { chmod, chown, cp, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootLogPath } from '../../../agent/collectors/boot-log.ts';
import { imaLogPath } from '../../../agent/collectors/ima-log.ts';
import { type ApiServer, openApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { type Json, textAt } from '../../../swtpm-fixtures/api-server/json.ts';
import {
  collectionOf,
  manifestFiles,
  objectsOf,
} from '../../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator, serviceAccount } from '../../../swtpm-fixtures/api-server/users.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { type RenderedPod, readPod, readServerSettings } from './rendered-pods.ts';

export const nodeName = 'node-1';

/**
 * What a kubelet and an API server bring to the pods of the chart: a machine with a TPM and a firewall, folders as the
 * kubelet makes them, tokens, and the objects of manifests/base.
 */
export class Site implements AsyncDisposable {
  readonly api: ApiServer;
  readonly machine: FixtureMachine;
  readonly agent: RenderedPod = readPod('agent');
  readonly server: RenderedPod = readPod('server');
  readonly #folder: string;

  private constructor(api: ApiServer, machine: FixtureMachine, folder: string) {
    this.api = api;
    this.machine = machine;
    this.#folder = folder;
  }

  static async open(): Promise<Site> {
    await using opened = new AsyncDisposableStack();
    const api = opened.use(await openApiServer());
    const machine = await startMachine({ log: recordedLog('debian13-shim-grub'), network: true });
    opened.defer(() => machine.dispose());
    // Short: sockets below it have at most 107 bytes in their path.
    const folder = await mkdtemp(join(tmpdir(), 'assay-site-'));
    opened.defer(() => rm(folder, { recursive: true, force: true }));
    for (const file of manifestFiles)
      for (const object of objectsOf(file)) await make(api, collectionOf(object), object);
    const [authority] = objectsOf('agent/authority.yaml');
    assert.ok(authority !== undefined);
    await make(api, '/api/v1/namespaces/assay-agents/configmaps', authority);
    await api.createNode(nodeName);
    const site = new Site(api, machine, folder);
    await site.#makeVolumes();
    const held = opened.move();
    site[Symbol.asyncDispose] = () => held.disposeAsync();
    return site;
  }

  /** A folder or file of the site. */
  path(...names: readonly string[]): string {
    return join(this.#folder, ...names);
  }

  /** By the names of the DaemonSet's volumes. */
  get agentVolumes(): Readonly<Record<string, string>> {
    const { hostPaths } = this.agent;
    const below = Object.entries(hostPaths).map(
      ([name, path]) => [name, join(this.machine.sysroot, path)] as const,
    );
    return {
      ...Object.fromEntries(below),
      // The folder of the TPM's socket stands for /dev.
      dev: dirname(this.machine.tpm.socket),
      state: this.path('agent-state'),
      authority: this.path('authority'),
      token: this.path('token'),
      ...this.#emptyFolders(this.agent),
    };
  }

  /** By those of the StatefulSet, and the account that Kubernetes mounts by itself. */
  get serverVolumes(): Readonly<Record<string, string>> {
    return {
      state: this.path('server-state'),
      config: this.path('config'),
      account: this.path('account'),
      ...this.#emptyFolders(this.server),
    };
  }

  #emptyFolders({ emptyFolders }: RenderedPod): Readonly<Record<string, string>> {
    return Object.fromEntries(emptyFolders.map((name) => [name, this.path(name)] as const));
  }

  /** Waits for what the server wrote into its ConfigMap, and puts it where the kubelet does. */
  async projectAuthority(): Promise<void> {
    for (let left = 300; left > 0; left--) {
      const { body } = await this.api
        .as(administrator)
        .request('GET', '/api/v1/namespaces/assay-agents/configmaps/assay-authority');
      const pem = textAt(body ?? undefined, 'data', 'ca.crt');
      if (pem !== undefined) return writeFile(this.path('authority', 'ca.crt'), pem);
      await sleep(100);
    }
    throw new Error('the server wrote no authority into the ConfigMap');
  }

  async #makeVolumes(): Promise<void> {
    const { machine, api } = this;
    await chmod(this.#folder, 0o755);
    // As the kubelet makes them: memory open to all, a path of the host for root alone to write.
    for (const name of [...this.agent.emptyFolders, ...this.server.emptyFolders])
      await this.makeFolder(name, 0o777);
    await this.makeFolder('agent-state', 0o755);
    for (const name of ['authority', 'token', 'config', 'account']) await this.makeFolder(name, 0o755);
    // A volume with fsGroup: root's, its group may write and is that of what is made there.
    const { fsGroup } = this.server.containers.server ?? {};
    assert.ok(typeof fsGroup === 'number', 'the StatefulSet has an fsGroup');
    const state = await this.makeFolder('server-state', 0o755);
    await chown(state, 0, fsGroup);
    await chmod(state, 0o2775);
    for (const [name, text] of Object.entries(readServerSettings()))
      await writeFile(this.path('config', name), text);
    // Who vouches for software TPMs, beside the server's settings.
    await cp(machine.tpm.authority.rootsDir, this.path('config', 'roots'), { recursive: true });
    await chmod(this.path('config', 'roots'), 0o755);
    // What each host has, and a recorded one only in part.
    for (const path of Object.values(this.agent.hostPaths)) await makeMissing(machine.sysroot, path);
    await chmod(machine.dir, 0o755);
    for (const log of [bootLogPath, imaLogPath]) await chmod(join(machine.sysroot, log), 0o440);
    await writeFile(this.path('token', 'token'), await this.#agentToken());
    const account = {
      token: api.tokenOf(serviceAccount('assay', 'assay-server')),
      'ca.crt': api.authority,
      namespace: 'assay',
    };
    for (const [name, text] of Object.entries(account)) await writeFile(this.path('account', name), text);
  }

  /** A volume. */
  async makeFolder(name: string, mode: number): Promise<string> {
    const path = this.path(name);
    await mkdir(path);
    await chmod(path, mode);
    return path;
  }

  /** As the kubelet projects it: for the server alone, and bound to the pod. */
  async #agentToken(): Promise<string> {
    const accounts = '/api/v1/namespaces/assay-agents';
    const pod = await make(this.api, `${accounts}/pods`, {
      metadata: { name: `assay-agent-${nodeName}` },
      spec: { nodeName, serviceAccountName: 'assay-agent', containers: [{ name: 'agent', image: 'agent' }] },
    });
    const [name, uid] = [textAt(pod, 'metadata', 'name') ?? '', textAt(pod, 'metadata', 'uid') ?? ''];
    const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid };
    const spec = { audiences: ['assay'], expirationSeconds: 3600, boundObjectRef };
    return (
      textAt(
        await make(this.api, `${accounts}/serviceaccounts/assay-agent/token`, { spec }),
        'status',
        'token',
      ) ?? ''
    );
  }

  [Symbol.asyncDispose]: () => Promise<void> = async () => {};
}

async function make(api: ApiServer, collection: string, object: Json): Promise<Json> {
  const { code, body, text } = await api.as(administrator).request('POST', collection, object);
  assert.ok(code === 201 && body !== null, `POST ${collection}: ${text}`);
  return body;
}

/** An empty one, a folder unless its name is that of a file. */
async function makeMissing(sysroot: string, path: string): Promise<void> {
  const full = join(sysroot, path);
  if (await stat(full).catch(() => null)) return;
  await mkdir(dirname(full), { recursive: true });
  if (/\/(mountinfo|version|cmdline|stat|os-release)$/.test(path)) await writeFile(full, '');
  else await mkdir(full);
}
