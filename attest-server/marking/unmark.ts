import pLimit from 'p-limit';
import { markPrefixes } from '../formats/marks.ts';
import { ClusterError, type ClusterNode, type ClusterWriter, type PatchOperation } from './ports.ts';

export interface UnmarkParts {
  /** All that the cluster has, as they are now. */
  readonly nodes: () => Iterable<ClusterNode>;
  readonly writer: Pick<ClusterWriter, 'patchNode' | 'readNode' | 'attestations' | 'removeAttestation'>;
  /** Of taints, beside those of our prefix: a server may be set to others. */
  readonly keys: readonly string[];
  readonly wait: (ms: number) => Promise<void>;
}

/** Our marks on a Node, by the prefix of their keys, whichever version put them there. */
export interface OursOnNode {
  readonly node: string;
  readonly labels: readonly string[];
  readonly taints: readonly string[];
  readonly conditions: readonly string[];
}

export interface Unmarked {
  readonly nodes: readonly string[];
  readonly attestations: number;
}

/** Some Nodes still carry marks; the cause says why the first of them does. */
export class UnmarkFailed extends Error {
  override readonly name = 'UnmarkFailed';
  readonly nodes: readonly string[];

  constructor(what: string, nodes: readonly string[], cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const named = nodes.slice(0, mostNamed).join(', ');
    const more = nodes.length > mostNamed ? ` and ${nodes.length - mostNamed} more` : '';
    super(`${what} could not be removed from ${named}${more}: ${why}`, { cause });
    this.nodes = nodes;
  }
}

const mostNamed = 8;
const atOnce = 8;
const mostTries = 8;

/** Nodes that carry marks of ours, including those without a record. */
export function oursOn(nodes: Iterable<ClusterNode>, keys: readonly string[]): readonly OursOnNode[] {
  return [...nodes]
    .map((node) => ({
      node: node.name,
      labels: Object.keys(node.labels).filter(isOurLabel),
      taints: node.taints.map(({ key }) => key).filter((key) => isOurTaint(key, keys)),
      conditions: node.conditions.map(({ type }) => type).filter(isOurs),
    }))
    .filter(({ labels, taints, conditions }) => labels.length + taints.length + conditions.length > 0);
}

/**
 * Removes all marks: the label of every Node first, and only then what keeps pods away, so that no Node is free and
 * trusted in between. Done again, it changes nothing.
 * @throws UnmarkFailed if a Node still carries something of ours
 */
export async function unmarkAll(parts: UnmarkParts): Promise<Unmarked> {
  const { nodes, writer, keys, wait } = parts;
  const unmarked = new Set<string>();
  // A mark sent before the pause may arrive late, and the watch may report our removals late.
  for (let round = 0; round < mostRounds && oursOn(nodes(), keys).length > 0; round += 1) {
    for (const name of await unmarkOnce(parts)) unmarked.add(name);
    for (let looks = 0; looks < mostLooks && oursOn(nodes(), keys).length > 0; looks += 1)
      await wait(lookEvery);
  }
  const attestations = await writer.attestations().catch(noneDefined);
  const limit = pLimit(atOnce);
  await Promise.all(attestations.map(({ name }) => limit(() => writer.removeAttestation(name))));
  return { nodes: [...unmarked], attestations: attestations.length };
}

/** Where the custom resource was never defined, or is gone already, there are none. */
function noneDefined(error: unknown): readonly never[] {
  if (error instanceof ClusterError && error.reason === 'not_found') return [];
  throw error;
}

const mostRounds = 3;
const mostLooks = 20;
const lookEvery = 100;

async function unmarkOnce(parts: UnmarkParts): Promise<readonly string[]> {
  const { nodes, writer, keys } = parts;
  const ours = oursOn(nodes(), keys);
  const marked = ours.map(({ node }) => node);
  const labelled = ours.filter(({ labels }) => labels.length > 0);
  await each(
    'the label',
    labelled.map(({ node }) => node),
    parts,
    (node) => changed(writer, node, labelRemoval(node)),
  );
  await each('marks', marked, parts, async (node) => {
    const after = await changed(writer, node, [...labelRemoval(node), ...taintRemoval(node, keys)]);
    return changed(writer, after, conditionRemoval(after), '/status');
  });
  return marked;
}

/** Does this to each Node as it is by then, again where it changed meanwhile; those that are gone need nothing. */
async function each(
  what: string,
  names: readonly string[],
  { nodes, writer, wait }: UnmarkParts,
  work: (node: ClusterNode) => Promise<unknown>,
): Promise<void> {
  const known = new Map([...nodes()].map((node) => [node.name, node]));
  const limit = pLimit(atOnce);
  const failed: { readonly name: string; readonly error: unknown }[] = [];
  const one = async (name: string) => {
    let node: ClusterNode | null = known.get(name) ?? (await writer.readNode(name));
    for (let tries = 1; node !== null; tries += 1) {
      try {
        await work(node);
        return;
      } catch (error) {
        if (!(error instanceof ClusterError)) throw error;
        if (error.reason === 'not_found') return;
        if (error.reason === 'forbidden' || error.reason === 'invalid' || tries === mostTries) throw error;
        if (error.reason !== 'conflict') await wait(error.retryAfter ?? 250 * 2 ** tries);
        node = await writer.readNode(name);
      }
    }
  };
  await Promise.all(
    names.map((name) =>
      limit(() =>
        one(name).catch((error: unknown) => {
          if (!(error instanceof ClusterError)) throw error;
          failed.push({ name, error });
        }),
      ),
    ),
  );
  const [first] = failed;
  if (first !== undefined)
    throw new UnmarkFailed(
      what,
      failed.map(({ name }) => name),
      first.error,
    );
}

async function changed(
  writer: Pick<ClusterWriter, 'patchNode'>,
  node: ClusterNode,
  operations: readonly PatchOperation[],
  subresource: '' | '/status' = '',
): Promise<ClusterNode> {
  if (operations.length === 0) return node;
  const version: PatchOperation = {
    op: 'test',
    path: '/metadata/resourceVersion',
    value: node.resourceVersion,
  };
  return writer.patchNode(node.name, [version, ...operations], subresource);
}

function labelRemoval({ labels }: ClusterNode): readonly PatchOperation[] {
  return Object.keys(labels)
    .filter(isOurLabel)
    .map((label) => ({ op: 'remove', path: `/metadata/labels/${pointer(label)}` }));
}

function taintRemoval({ taints }: ClusterNode, keys: readonly string[]): readonly PatchOperation[] {
  return fromTheEnd(
    taints,
    ({ key }) => isOurTaint(key, keys),
    '/spec/taints',
    'key',
    ({ key }) => key,
  );
}

function conditionRemoval({ conditions }: ClusterNode): readonly PatchOperation[] {
  return fromTheEnd(
    conditions,
    ({ type }) => isOurs(type),
    '/status/conditions',
    'type',
    ({ type }) => type,
  );
}

/** From the end, so that the positions before stay what they are; and each only where it is what was read. */
function fromTheEnd<T>(
  list: readonly T[],
  isGone: (item: T) => boolean,
  path: string,
  member: string,
  named: (item: T) => string,
): readonly PatchOperation[] {
  return list
    .flatMap((item, index): readonly PatchOperation[][] =>
      isGone(item)
        ? [
            [
              { op: 'test', path: `${path}/${index}/${member}`, value: named(item) },
              { op: 'remove', path: `${path}/${index}` },
            ],
          ]
        : [],
    )
    .reverse()
    .flat();
}

function isOurTaint(key: string, keys: readonly string[]): boolean {
  return isOurs(key) || keys.includes(key);
}

function isOurs(key: string): boolean {
  return key.startsWith(markPrefixes.own);
}

function isOurLabel(key: string): boolean {
  return key.startsWith(markPrefixes.label);
}

/** RFC 6901. */
function pointer(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}
