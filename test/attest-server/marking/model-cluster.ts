import { isDeepStrictEqual } from 'node:util';
import {
  ClusterError,
  type ClusterEvent,
  type ClusterNode,
  type ClusterNodes,
  type ClusterWriter,
  type NodeCondition,
  type PatchOperation,
  type PublishedAttestation,
  type Taint,
} from '../../../attest-server/marking/ports.ts';

/** A Node as an API holds it: with members that the projection does not know. */
export interface StoredNode {
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: number;
    labels?: Record<string, string>;
  };
  spec: { taints?: Taint[] };
  status: { conditions?: NodeCondition[] };
}

type Patched = Pick<ClusterWriter, 'patchNode' | 'readNode'>;
type Told = Pick<ClusterWriter, 'applyAttestation' | 'attestations' | 'removeAttestation' | 'event'>;

/**
 * The rules of an API that patches rest on (RFC 6902, resource versions, no taint twice), without HTTP: random runs take
 * 10,000 steps, and time is a number. The whole way is tried against the server of swtpm-fixtures/api-server.
 */
export class ModelCluster implements ClusterNodes, Patched, Told {
  readonly stored = new Map<string, StoredNode>();
  readonly attested = new Map<string, Readonly<Record<string, unknown>>>();
  readonly events: { readonly node: string; readonly event: ClusterEvent }[] = [];
  /** Requests that write, in their order. */
  readonly writes: string[] = [];
  /** What the watch has told; `isWatching` false: it is behind. */
  readonly #told = new Map<string, ClusterNode>();
  readonly #listeners: Parameters<ClusterNodes['onChange']>[0][] = [];
  isSynced = true;
  isWatching = true;
  /** Thrown or awaited before each request. */
  before: (request: string, name: string) => Promise<void> | void = () => {};
  #version = 1;

  create(name: string, given: Partial<ClusterNode> = {}): void {
    const { labels, taints, conditions, createdAt = 0 } = given;
    const uid = `uid-${this.#version}`;
    this.stored.set(name, {
      metadata: {
        name,
        uid,
        resourceVersion: this.#next(),
        creationTimestamp: createdAt,
        ...(labels && { labels: { ...labels } }),
      },
      spec: { ...(taints && { taints: structuredClone([...taints]) }) },
      status: { ...(conditions && { conditions: structuredClone([...conditions]) }) },
    });
    this.tell(name);
  }

  delete(name: string): void {
    this.stored.delete(name);
    this.tell(name);
  }

  /** Somebody else writes. */
  change(name: string, change: (node: StoredNode) => void): void {
    const node = this.stored.get(name);
    if (node === undefined) throw new Error(`no Node ${name}`);
    change(node);
    node.metadata.resourceVersion = this.#next();
    this.tell(name);
  }

  /** The watch tells how this Node is now. */
  tell(name: string): void {
    if (!this.isWatching) return;
    const before = this.#told.get(name) ?? null;
    const stored = this.stored.get(name);
    const after = stored === undefined ? null : projected(stored);
    if (after === null) this.#told.delete(name);
    else this.#told.set(name, after);
    for (const listener of this.#listeners) listener(name, after, before);
  }

  taintsOf(name: string): readonly string[] {
    const taints = this.stored.get(name)?.spec.taints ?? [];
    return taints.map(
      ({ key, value, effect }) => `${key}${value === undefined ? '' : `=${value}`}:${effect}`,
    );
  }

  labelOf(name: string, label: string): string | undefined {
    return this.stored.get(name)?.metadata.labels?.[label];
  }

  conditionOf(name: string, wanted: string): NodeCondition | undefined {
    return this.stored.get(name)?.status.conditions?.find(({ type }) => type === wanted);
  }

  synced(): boolean {
    return this.isSynced;
  }

  get(name: string): ClusterNode | null {
    return this.#told.get(name) ?? null;
  }

  all(): Iterable<ClusterNode> {
    return this.#told.values();
  }

  onChange(listener: Parameters<ClusterNodes['onChange']>[0]): void {
    this.#listeners.push(listener);
  }

  async readNode(name: string): Promise<ClusterNode | null> {
    await this.before('get', name);
    const node = this.stored.get(name);
    return node === undefined ? null : projected(node);
  }

  async applyAttestation(node: ClusterNode, status: Readonly<Record<string, unknown>>): Promise<void> {
    await this.before('apply', node.name);
    this.writes.push(`apply ${node.name}`);
    this.attested.set(node.name, status);
  }

  async attestations(): Promise<readonly PublishedAttestation[]> {
    await this.before('list', '');
    return [...this.attested].map(([name, status]) => ({ name, status }));
  }

  async removeAttestation(name: string): Promise<void> {
    await this.before('delete', name);
    this.writes.push(`delete ${name}`);
    this.attested.delete(name);
  }

  async event({ name }: ClusterNode, event: ClusterEvent): Promise<void> {
    await this.before('event', name);
    this.writes.push(`event ${name}`);
    this.events.push({ node: name, event });
  }

  async patchNode(
    name: string,
    operations: readonly PatchOperation[],
    subresource: '' | '/status' = '',
  ): Promise<ClusterNode> {
    const request = subresource === '/status' ? 'patch status' : 'patch';
    await this.before(request, name);
    const node = this.stored.get(name);
    if (node === undefined) throw new ClusterError('not_found', `no Node ${name}`);
    this.writes.push(`${request} ${name}`);
    const next = patched(node, operations);
    const keys = next.spec.taints?.map(({ key, effect }) => `${key} ${effect}`) ?? [];
    if (new Set(keys).size < keys.length) throw new ClusterError('invalid', 'a taint stands twice');
    // Each request writes its own half, whatever the patch says of the other one.
    const kept =
      request === 'patch'
        ? { ...node, metadata: next.metadata, spec: next.spec }
        : { ...node, status: next.status };
    kept.metadata = { ...kept.metadata, resourceVersion: this.#next() };
    this.stored.set(name, kept);
    this.tell(name);
    return projected(kept);
  }

  #next(): string {
    this.#version += 1;
    return String(this.#version);
  }
}

function projected({ metadata, spec, status }: StoredNode): ClusterNode {
  const { name, uid, resourceVersion, creationTimestamp, labels = {} } = metadata;
  return {
    name,
    uid,
    resourceVersion,
    labels: { ...labels },
    taints: (spec.taints ?? []).map(({ key, value, effect, timeAdded }) => ({
      key,
      effect,
      ...(value !== undefined && { value }),
      ...(timeAdded !== undefined && { timeAdded }),
    })),
    conditions: structuredClone(status.conditions ?? []),
    providerId: null,
    systemUuid: null,
    createdAt: creationTimestamp,
  };
}

/** RFC 6902, as far as `test`, `add`, `replace` and `remove` go; all of it or nothing. */
function patched(node: StoredNode, operations: readonly PatchOperation[]): StoredNode {
  const root: StoredNode = structuredClone(node);
  for (const operation of operations) {
    const names = operation.path
      .split('/')
      .slice(1)
      .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = names.pop() ?? '';
    const parent = names.reduce<unknown>((at, name) => memberOf(at, name), root);
    if (Array.isArray(parent)) inList(parent, last, operation);
    else if (isObject(parent)) inObject(parent, last, operation);
    else throw new ClusterError('invalid', `${operation.path} has no parent`);
  }
  return root;
}

function inList(list: unknown[], last: string, operation: PatchOperation): void {
  const index = last === '-' && operation.op === 'add' ? list.length : Number(last);
  const most = operation.op === 'add' ? list.length : list.length - 1;
  if (!Number.isInteger(index) || index < 0 || index > most)
    throw new ClusterError('invalid', `${operation.path} is not there`);
  if (operation.op === 'remove') list.splice(index, 1);
  else if (operation.op === 'add') list.splice(index, 0, operation.value);
  else if (operation.op === 'replace') list[index] = operation.value;
  else if (!isDeepStrictEqual(list[index], operation.value)) throw tested(operation.path);
}

function inObject(object: Record<string, unknown>, last: string, operation: PatchOperation): void {
  const { op, path } = operation;
  if (op === 'add') {
    object[last] = operation.value;
    return;
  }
  // What is not there equals null, and nothing else.
  if (op === 'test' && !Object.hasOwn(object, last) && operation.value === null) return;
  if (!Object.hasOwn(object, last))
    throw op === 'test' ? tested(path) : new ClusterError('invalid', `${path} is not there`);
  if (op === 'remove') delete object[last];
  else if (op === 'replace') object[last] = operation.value;
  else if (!isDeepStrictEqual(object[last], operation.value)) throw tested(path);
}

function tested(path: string): ClusterError {
  const isVersion = path === '/metadata/resourceVersion';
  return new ClusterError(isVersion ? 'conflict' : 'invalid', `${path} is another`);
}

function memberOf(of: unknown, name: string): unknown {
  if (Array.isArray(of)) return of[Number(name)];
  return isObject(of) ? of[name] : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
