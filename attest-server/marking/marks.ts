import type { Delay, Suppression } from '../formats/marking.ts';
import type { TaintKeys } from '../formats/marks.ts';
import { outsideText } from '../wire/printable.ts';
import type { NodeToMark } from './judged-node.ts';
import { type MarksOnNode, type MarkTaint, marksOn } from './marks-on-node.ts';
import type { ClusterNode, Exemption } from './ports.ts';

/** Marks that a Node is to carry. */
export interface Marks {
  readonly taints: readonly MarkTaint[];
  /** Whether the label says `true`; else it is not there. */
  readonly label: boolean;
  /** Null: none. */
  readonly condition: MarkCondition | null;
  /** Why the Node lacks a mark that its verdict asks for, or keeps one that it does not; null if it is as the verdict says. */
  readonly suppressed: Suppression | null;
}

export interface MarkCondition {
  readonly status: 'True' | 'False' | 'Unknown';
  /** CamelCase. */
  readonly reason: string;
  readonly message: string;
}

/** Circumstances that count besides the verdict. */
export interface Circumstances {
  readonly keys: TaintKeys;
  /** A person stopped all marking. */
  readonly paused: boolean;
  readonly exemption: Exemption | null;
  /** Why its taint of drift must wait; null if it need not. */
  readonly delay: Delay | null;
  /** It lost its trust again and again, and has not kept it for long enough since. */
  readonly isSettling: boolean;
  /** The Node that this server runs on; null if that is not known. */
  readonly ownNode: string | null;
}

/**
 * The marks of a Node. Only what is ours is read of it: taints that are there stay where nothing is known of the node,
 * and no word of the node's own adds or removes any.
 */
export function marksFor(judged: NodeToMark, node: ClusterNode, by: Circumstances): Marks {
  const there = marksOn(node, by.keys);
  const { mode } = judged.group;
  const wanted = withKept(mode === 'observe' ? nothing : wantedOf(judged, node, there, by), node, there, by);
  const condition = mode === 'observe' ? null : conditionOf(judged, by);
  const spared = sparedAs(node, by.ownNode);
  if (by.paused) {
    const isOther = !isSame(wanted.taints, there.taints) || (wanted.label && there.label !== 'true');
    return {
      taints: there.taints,
      label: wanted.label && spared === null && there.label === 'true',
      condition: asItIs(there),
      suppressed: isOther ? 'paused' : null,
    };
  }
  if (spared !== null)
    return {
      // What it got as a worker goes as a worker's does: a label that comes later frees nobody.
      taints: wanted.taints.length > 0 ? there.taints : [],
      label: false,
      condition: null,
      suppressed: wanted.taints.length > 0 || wanted.label ? spared : null,
    };
  const { label, suppressed } = wanted;
  if (by.exemption !== null && (wanted.taints.length > 0 || suppressed !== null)) {
    const left = keptForAutoscaler(node, there, by.keys);
    return { taints: left, label, condition, suppressed: 'exempt' };
  }
  return { taints: wanted.taints, label, condition, suppressed };
}

/** Whether a Node carries what it is to carry; words of the condition do not count. */
export function hasMarks({ taints, foreignForm, label, condition }: MarksOnNode, marks: Marks): boolean {
  if (foreignForm || taints.length !== marks.taints.length) return false;
  if ((label === 'true') !== marks.label || condition?.status !== marks.condition?.status) return false;
  return marks.taints.every(({ key }) => taints.some((taint) => taint.key === key));
}

type DesiredMarks = Omit<Marks, 'condition'>;
const nothing: DesiredMarks = { taints: [], label: false, suppressed: null };

function wantedOf(
  judged: NodeToMark,
  node: ClusterNode,
  there: MarksOnNode,
  by: Circumstances,
): DesiredMarks {
  const label = judged.state === 'trusted' && !by.isSettling;
  const settling = judged.state === 'trusted' && by.isSettling ? 'settling' : null;
  if (judged.group.mode !== 'enforce') return { taints: [], label, suppressed: settling };
  const { taints, suppressed } = taintsOf(judged, node, there, by);
  return { taints, label, suppressed };
}

/** In each mode: an autoscaler that finds its startup taint gone leaves the machine unusable. */
function withKept(
  wanted: DesiredMarks,
  node: ClusterNode,
  there: MarksOnNode,
  { keys }: Circumstances,
): DesiredMarks {
  const kept = keptForAutoscaler(node, there, keys).filter(({ key }) => !has(wanted.taints, key));
  if (kept.length === 0) return wanted;
  return {
    ...wanted,
    taints: [...wanted.taints, ...kept],
    suppressed: wanted.suppressed ?? 'autoscaler',
  };
}

function taintsOf(
  { state, code, trustedAt, isReproving, drift, since, verifiedAt }: NodeToMark,
  node: ClusterNode,
  there: MarksOnNode,
  { keys, delay, isSettling }: Circumstances,
): Pick<Marks, 'taints' | 'suppressed'> {
  const unproven: MarkTaint = { key: trustedAt !== null ? keys.reproving : keys.pending, value: '' };
  /** Attack: the Node is deleted and created again to shed its taint. The API tells whole seconds, so that one counts as later. */
  const withShed = (known: number | null): readonly MarkTaint[] =>
    there.taints.length === 0 && node.createdAt + 1000 > (known ?? 0) ? [unproven] : there.taints;
  switch (state) {
    case 'trusted':
      if (isSettling) return { taints: there.taints, suppressed: 'settling' };
      return { taints: [], suppressed: null };
    case 'untrusted':
      if (drift !== null && delay !== null && !has(there.taints, keys.untrusted))
        // By the earlier rules its new boot is not proven, whatever those in force say of it.
        return { taints: isReproving ? [unproven] : withShed(since), suppressed: delay };
      return { taints: [{ key: keys.untrusted, value: code ?? '' }], suppressed: null };
    case 'pending': {
      if (trustedAt === null) return { taints: [unproven], suppressed: null };
      const isMarked = there.taints.length > 0;
      if (!isReproving && !isMarked) return { taints: [], suppressed: null };
      if (drift !== null && delay !== null && !isMarked)
        return { taints: withShed(since), suppressed: delay };
      return { taints: [unproven], suppressed: null };
    }
    case 'unknown':
      return { taints: withShed(verifiedAt), suppressed: null };
    case 'unsupported':
      if (drift !== null && delay !== null && !has(there.taints, keys.untrusted))
        return { taints: withShed(since), suppressed: delay };
      // Its policy says `enforce` of machines that cannot prove anything: that is the wish for a taint.
      return { taints: [{ key: keys.untrusted, value: 'unsupported_tpm' }], suppressed: null };
  }
}

function has(taints: readonly MarkTaint[], wanted: string): boolean {
  return taints.some(({ key }) => key === wanted);
}

function isSame(a: readonly MarkTaint[], b: readonly MarkTaint[]): boolean {
  return (
    a.length === b.length && a.every((one) => b.some((two) => one.key === two.key && one.value === two.value))
  );
}

/** While one of these is there, whoever made the machine restores its startup taint (kubernetes-sigs/karpenter #1772). */
const initialising = ['karpenter.sh/unregistered', 'node.cloudprovider.kubernetes.io/uninitialized'];

function keptForAutoscaler(node: ClusterNode, there: MarksOnNode, keys: TaintKeys): readonly MarkTaint[] {
  if (!node.taints.some(({ key }) => initialising.includes(key))) return [];
  return there.taints.filter(({ key }) => key === keys.pending);
}

/**
 * NodeRestriction refuses these labels from a kubelet, as it does taints. Where it is off, a node that gives itself one sheds
 * no taint that it has, and is never labelled.
 */
const controlPlaneLabels = ['node-role.kubernetes.io/control-plane', 'node-role.kubernetes.io/master'];

export function sparedAs(node: ClusterNode, ownNode: string | null): 'control_plane' | 'own_node' | null {
  if (controlPlaneLabels.some((label) => Object.hasOwn(node.labels, label))) return 'control_plane';
  return node.name === ownNode ? 'own_node' : null;
}

function asItIs({ condition }: MarksOnNode): MarkCondition | null {
  if (condition === null) return null;
  const { status, reason = '', message = '' } = condition;
  return { status: status === 'True' || status === 'False' ? status : 'Unknown', reason, message };
}

/** For people. It says what the label says: never True if that is missing. */
function conditionOf({ state, code, text, verdict }: NodeToMark, by: Circumstances): MarkCondition {
  const until = by.exemption === null ? '' : ` Exempt until ${new Date(by.exemption.until).toISOString()}.`;
  if (state === 'trusted' && by.isSettling)
    return {
      status: 'Unknown',
      reason: 'Settling',
      message: `It lost its trust several times within an hour, and is watched until it has kept it.${until}`,
    };
  if (state === 'trusted') {
    const rests = verdict?.require.join(', ') ?? '';
    return { status: 'True', reason: 'Trusted', message: `trusted (${rests})${until}` };
  }
  const message = `${text === null ? withoutReason[state] : firstSentence(text)}${until}`;
  return {
    status: state === 'untrusted' ? 'False' : 'Unknown',
    reason: camelCase(code ?? state),
    message,
  };
}

const withoutReason = {
  pending: 'The node has not proven itself yet.',
  untrusted: 'The node breaks its policy.',
  unknown: 'The node has not proven itself lately.',
  unsupported: 'By policy this machine has no usable TPM.',
} as const;

export function firstSentence(text: string): string {
  const end = /[.!?](?=\s|$)/.exec(text);
  return outsideText(end === null ? text : text.slice(0, end.index + 1));
}

/** `kernel_unknown` -> `KernelUnknown`. */
export function camelCase(code: string): string {
  return code
    .split('_')
    .map((word) => `${word.slice(0, 1).toUpperCase()}${word.slice(1)}`)
    .join('');
}
