import type { MarkAction } from '../formats/marking.ts';
import { type TaintKeys, trustedCondition, trustedLabel } from '../formats/marks.ts';
import type { MarkCondition, Marks } from './marks.ts';
import { isOurKey, type MarkTaint, taintEffect } from './marks-on-node.ts';
import type { ClusterNode, PatchOperation } from './ports.ts';

/** A JSON patch (RFC 6902), and what it does in words; without operations where nothing is to be done. */
export interface NodePatch {
  readonly operations: readonly PatchOperation[];
  readonly actions: readonly MarkAction[];
}

const versionPath = '/metadata/resourceVersion';
const nothingToDo: NodePatch = { operations: [], actions: [] };

/**
 * Makes the taints and the label of a Node what they are to be. It tests the resource version, so that positions in the
 * list of taints are those that were read; taints of others keep their place and their members.
 */
export function nodePatch(
  node: ClusterNode,
  marks: Pick<Marks, 'taints' | 'label'>,
  keys: TaintKeys,
): NodePatch {
  const taints = taintChanges(node, marks.taints, keys);
  const label = labelChanges(node, marks.label);
  const actions = [...taints.actions, ...label.actions];
  // What takes trust away comes first where an answer is lost in between: it is one request, and so all or nothing.
  return actions.length === 0
    ? nothingToDo
    : { operations: [...sameVersion(node), ...taints.operations, ...label.operations], actions };
}

/** Takes the label away and tests nothing but the label: it has no position that another write could move. */
export function labelRemoval({ labels }: Pick<ClusterNode, 'labels'>): NodePatch {
  const { operations, actions } = labelChanges({ labels }, false);
  return {
    operations: [{ op: 'test', path: labelPath, value: labels[trustedLabel] }, ...operations],
    actions,
  };
}

/**
 * The same without a test of the version, for an object that others write without end: each position is tested by its key,
 * and a list is only made where there still is none.
 */
export function withoutVersion({ operations, actions }: NodePatch): NodePatch {
  const made = operations.filter(
    ({ op, path }) => op === 'add' && ['/spec/taints', '/metadata/labels'].includes(path),
  );
  const rest = operations.filter(({ op, path }) => op !== 'test' || path !== versionPath);
  const none = made.map(({ path }): PatchOperation => ({ op: 'test', path, value: null }));
  return { operations: [...none, ...rest], actions };
}

/** Makes the condition what it is to be; a part of the Node that is patched apart. @param at milliseconds since the epoch */
export function statusPatch(node: ClusterNode, wanted: MarkCondition | null, at: number): NodePatch {
  const index = node.conditions.findIndex(({ type }) => type === trustedCondition);
  const found = node.conditions[index];
  if (wanted === null) {
    if (found === undefined) return nothingToDo;
    const path = `/status/conditions/${index}`;
    return {
      operations: [...sameVersion(node), isOurs(`${path}/type`, trustedCondition), { op: 'remove', path }],
      actions: ['condition_remove'],
    };
  }
  if (found !== undefined && saysTheSame(found, wanted)) return nothingToDo;
  const now = seconds(at);
  const since = found?.status === wanted.status ? found.lastTransitionTime : undefined;
  const value = {
    type: trustedCondition,
    ...wanted,
    lastHeartbeatTime: now,
    lastTransitionTime: since ?? now,
  };
  return { operations: [...sameVersion(node), ...placed(node, index, value)], actions: ['condition_set'] };
}

function placed(node: ClusterNode, index: number, value: unknown): readonly PatchOperation[] {
  if (index >= 0) {
    const path = `/status/conditions/${index}`;
    return [isOurs(`${path}/type`, trustedCondition), { op: 'replace', path, value }];
  }
  if (node.conditions.length === 0) return [{ op: 'add', path: '/status/conditions', value: [value] }];
  return [{ op: 'add', path: '/status/conditions/-', value }];
}

function saysTheSame(found: ClusterNode['conditions'][number], wanted: MarkCondition): boolean {
  const { status, reason = '', message = '' } = found;
  return status === wanted.status && reason === wanted.reason && message === wanted.message;
}

/** RFC 3339 without a fraction, as times of the API are. */
export function seconds(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}

function sameVersion({ resourceVersion }: ClusterNode): readonly PatchOperation[] {
  return [{ op: 'test', path: versionPath, value: resourceVersion }];
}

/** Nothing at a position is touched that is not ours there. */
function isOurs(path: string, value: string): PatchOperation {
  return { op: 'test', path, value };
}

function taintChanges(node: ClusterNode, wanted: readonly MarkTaint[], keys: TaintKeys): NodePatch {
  const operations: PatchOperation[] = [];
  const actions: MarkAction[] = [];
  const placed = new Set<string>();
  const gone: { readonly index: number; readonly key: string }[] = [];
  node.taints.forEach(({ key, value = '', effect }, index) => {
    if (!isOurKey(key, keys)) return;
    const as = wanted.find((taint) => taint.key === key);
    if (as === undefined || placed.has(key)) {
      gone.push({ index, key });
      return;
    }
    placed.add(key);
    if (effect === taintEffect && value === as.value) return;
    const path = `/spec/taints/${index}`;
    operations.push(isOurs(`${path}/key`, key), { op: 'replace', path, value: taintOf(as) });
    actions.push('taint_change');
  });
  // From the end, so that the positions before stay what they are.
  for (const { index, key } of gone.reverse()) {
    const path = `/spec/taints/${index}`;
    operations.push(isOurs(`${path}/key`, key), { op: 'remove', path });
    actions.push('taint_remove');
  }
  let left = node.taints.length - gone.length;
  for (const taint of wanted) {
    if (placed.has(taint.key)) continue;
    operations.push(
      left === 0 && node.taints.length === 0
        ? { op: 'add', path: '/spec/taints', value: [taintOf(taint)] }
        : { op: 'add', path: '/spec/taints/-', value: taintOf(taint) },
    );
    left += 1;
    actions.push('taint_add');
  }
  return { operations, actions };
}

function taintOf({ key, value }: MarkTaint): Readonly<Record<string, string>> {
  return value === '' ? { key, effect: taintEffect } : { key, value, effect: taintEffect };
}

const labelPath = `/metadata/labels/${trustedLabel.replaceAll('~', '~0').replaceAll('/', '~1')}`;

function labelChanges({ labels }: Pick<ClusterNode, 'labels'>, wanted: boolean): NodePatch {
  const found = Object.hasOwn(labels, trustedLabel) ? labels[trustedLabel] : undefined;
  if (wanted && found !== 'true') {
    const isFirst = Object.keys(labels).length === 0;
    return {
      operations: [
        isFirst
          ? { op: 'add', path: '/metadata/labels', value: { [trustedLabel]: 'true' } }
          : { op: 'add', path: labelPath, value: 'true' },
      ],
      actions: ['label_add'],
    };
  }
  if (!wanted && found !== undefined)
    return { operations: [{ op: 'remove', path: labelPath }], actions: ['label_remove'] };
  return nothingToDo;
}
