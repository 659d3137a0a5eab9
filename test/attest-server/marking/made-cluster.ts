import {
  ClusterError,
  type ClusterLatch,
  type ClusterNode,
  type ClusterNodes,
  type ClusterWriter,
  type PatchOperation,
  type Workloads,
} from '../../../attest-server/marking/ports.ts';

export function madeClusterNode(name: string, change: Partial<ClusterNode> = {}): ClusterNode {
  return {
    name,
    uid: `uid of ${name}`,
    resourceVersion: '1',
    labels: { 'kubernetes.io/hostname': name },
    taints: [],
    conditions: [{ type: 'Ready', status: 'True' }],
    providerId: null,
    systemUuid: null,
    createdAt: 0,
    ...change,
  };
}

/** A cluster in memory behind the two ports: JSON patches as RFC 6902 has them, all or nothing, and every request noted. */
export class MadeCluster {
  readonly nodesByName = new Map<string, ClusterNode>();
  readonly attestationNames = new Set<string>();
  readonly requests: string[] = [];
  workloads: Workloads = { daemonSets: [], pendingPods: [] };
  latch: ClusterLatch | null = null;
  /** What the next request ends with. */
  readonly faults: ClusterError[] = [];
  /** Done before each patch, as by somebody else. */
  meanwhile: (name: string) => void = () => {};

  add(...nodes: readonly ClusterNode[]): void {
    for (const node of nodes) this.nodesByName.set(node.name, node);
  }

  change(name: string, by: Partial<ClusterNode>): ClusterNode {
    const node = this.nodesByName.get(name);
    if (node === undefined) throw new ClusterError('not_found', `nodes "${name}" not found`);
    const next = { ...node, ...by, resourceVersion: String(Number(node.resourceVersion) + 1) };
    this.nodesByName.set(name, next);
    return next;
  }

  readonly nodes: ClusterNodes = {
    synced: () => true,
    get: (name) => this.nodesByName.get(name) ?? null,
    all: () => this.nodesByName.values(),
    onChange: () => {},
  };

  readonly writer: ClusterWriter = {
    patchNode: (name, operations, of) =>
      this.#patch(of === '/status' ? 'patch status' : 'patch', name, operations),
    readNode: (name) => this.#answer(`get ${name}`, () => this.nodesByName.get(name) ?? null),
    applyAttestation: (node) => this.#answer('apply', () => void this.attestationNames.add(node.name)),
    attestations: () =>
      this.#answer('list attestations', () =>
        [...this.attestationNames].map((name) => ({ name, status: undefined })),
      ),
    removeAttestation: (name) =>
      this.#answer(`delete attestation ${name}`, () => void this.attestationNames.delete(name)),
    event: () => this.#answer('event', () => {}),
    readLatch: () => this.#answer('get latch', () => this.latch),
    applyLatch: (latch) =>
      this.#answer('apply latch', () => {
        this.latch = latch;
      }),
    readConfig: () => this.#answer('get config', () => null),
    writeConfig: () => this.#answer('config', () => {}),
    workloads: () => this.#answer('list workloads', () => this.workloads),
    uid: () => this.#answer('get uid', () => 'cluster-1'),
    readLease: () => this.#answer('get lease', () => null),
    writeLease: (lease) => this.#answer('put lease', () => lease),
  };

  async #answer<T>(request: string, answer: () => T): Promise<T> {
    this.requests.push(request);
    const fault = this.faults.shift();
    if (fault !== undefined) throw fault;
    return answer();
  }

  #patch(verb: string, name: string, operations: readonly PatchOperation[]): Promise<ClusterNode> {
    this.meanwhile(name);
    return this.#answer(`${verb} ${name}`, () => {
      const node = this.nodesByName.get(name);
      if (node === undefined) throw new ClusterError('not_found', `nodes "${name}" not found`);
      const document: Document = structuredClone({
        metadata: { labels: { ...node.labels }, resourceVersion: node.resourceVersion },
        spec: { taints: [...node.taints] },
        status: { conditions: [...node.conditions] },
      });
      for (const operation of operations) apply(document, operation);
      return this.change(name, {
        labels: document.metadata.labels,
        taints: document.spec.taints,
        conditions: document.status.conditions,
      });
    });
  }
}

interface Document {
  readonly metadata: { readonly labels: Record<string, string>; readonly resourceVersion: string };
  readonly spec: { readonly taints: ClusterNode['taints'][number][] };
  readonly status: { readonly conditions: ClusterNode['conditions'][number][] };
}

function apply(document: Document, operation: PatchOperation): void {
  const steps = operation.path
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = steps.pop() ?? '';
  let parent: unknown = document;
  for (const step of steps) parent = memberOf(parent, step);
  if (typeof parent !== 'object' || parent === null)
    throw new ClusterError('invalid', `no ${operation.path}`);
  const found = memberOf(parent, last);
  if (operation.op === 'test') {
    if (JSON.stringify(found) !== JSON.stringify(operation.value))
      throw new ClusterError('conflict', `${operation.path} is another`);
    return;
  }
  if (operation.op !== 'remove') throw new Error(`not made: ${operation.op}`);
  if (found === undefined) throw new ClusterError('invalid', `there is no ${operation.path}`);
  if (Array.isArray(parent)) parent.splice(Number(last), 1);
  else Reflect.deleteProperty(parent, last);
}

function memberOf(value: unknown, step: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, step) : undefined;
}
