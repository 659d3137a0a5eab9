import { trustedLabel } from '../../attest-server/formats/marks.ts';

/** Of a Node, what admission looks at; all else of it is made the same. */
export interface MarksOfCase {
  /** `KEY`, `KEY=VALUE`; `:NoSchedule` unless it says otherwise. */
  readonly taints?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Status of the condition of ours. */
  readonly condition?: 'True' | 'False' | 'Unknown';
  /** So many conditions of others beside. */
  readonly more?: number;
  /** Of the kubelet's own condition: a heartbeat. */
  readonly ready?: string;
}

export type Who = 'server' | 'kubelet' | 'controller' | 'exempt' | 'admin';

/** A write, and whether it is let pass. `controller` is a program that may write Nodes and has none of our verbs. */
export interface MarkCase {
  readonly title: string;
  readonly who: Who;
  /** Null: the Node is made by it. */
  readonly old: MarksOfCase | null;
  readonly next: MarksOfCase;
  /** Through which door; default: the Node itself. */
  readonly status?: true;
  readonly isAllowed: boolean;
}

const pending = 'assay.dev/pending';
const untrusted = 'assay.dev/untrusted=kernel_unknown';
const unregistered = 'karpenter.sh/unregistered:NoExecute';
const uninitialized = 'node.cloudprovider.kubernetes.io/uninitialized=true';
const autoscaler = (what: string) => `${what}-taint.cluster-autoscaler.kubernetes.io`;
const foreign = 'example.com/theirs=x';
const trusted = { [trustedLabel]: 'true' };
const tainted = { taints: [untrusted], condition: 'False' } as const;
const many = Array.from({ length: 129 }, (_, index) => `example.com/taint-${index}:PreferNoSchedule`);
const plain = {};
const trustedNode = { labels: trusted, condition: 'True' } as const;

export const markCases: readonly MarkCase[] = [
  ...made(true, [
    ['kubelet', 'registers as any', plain],
    ['kubelet', 'registers with the startup taint', { taints: [pending] }],
    ['kubelet', 'registers with the startup taint and a value', { taints: [`${pending}=true`, foreign] }],
    ['controller', 'makes a Node with the startup taint', { taints: [pending] }],
    [
      'controller',
      'makes one with a startup taint of the autoscaler',
      { taints: [`${autoscaler('startup')}/assay-pending`] },
    ],
    [
      'controller',
      'makes one with taints of the autoscaler that are not ours',
      { taints: [`${autoscaler('status')}/gpu`] },
    ],
  ]),
  ...made(false, [
    ['kubelet', 'registers with more taints than can be looked at', { taints: many }],
    ['kubelet', 'registers as untrusted', { taints: [untrusted] }],
    ['kubelet', 'registers with the label', { labels: trusted }],
    ['kubelet', 'registers with our condition', { condition: 'True' }],
    ['controller', 'makes a Node with the label', { labels: trusted }],
    ['controller', 'makes one with a startup taint that evicts', { taints: [`${pending}:NoExecute`] }],
    ['controller', 'makes one with a key that only begins as ours', { taints: ['assay.dev/pendingx'] }],
    [
      'controller',
      'makes one with a status taint of ours',
      { taints: [`${autoscaler('status')}/assay-untrusted`] },
    ],
    ['admin', 'makes a Node with the label', { labels: trusted }],
  ]),
  ...changes(true, [
    ['controller', 'changes another label', tainted, { ...tainted, labels: { 'example.com/a': 'b' } }],
    ['controller', 'adds another taint', tainted, { ...tainted, taints: [untrusted, foreign] }],
    ['controller', 'removes another taint', { taints: [foreign, untrusted] }, { taints: [untrusted] }],
    [
      'controller',
      'changes the order of taints',
      { taints: [untrusted, pending] },
      { taints: [pending, untrusted] },
    ],
    [
      'controller',
      'restores the startup taint of an unregistered Node',
      { taints: [unregistered] },
      { taints: [unregistered, pending] },
    ],
    [
      'controller',
      'restores it in the write that registers the Node',
      { taints: [unregistered] },
      { taints: [pending] },
    ],
    [
      'controller',
      'restores it on an uninitialized Node',
      { taints: [uninitialized] },
      { taints: [uninitialized, pending] },
    ],
    [
      'kubelet',
      'changes its own ordinary label',
      trustedNode,
      { ...trustedNode, labels: { ...trusted, 'example.com/a': 'b' } },
    ],
    ['server', 'taints', plain, { taints: [untrusted] }],
    ['server', 'removes a taint', tainted, { ...tainted, taints: [] }],
    ['server', 'sets the label', plain, { labels: trusted }],
    ['server', 'removes the label', trustedNode, { condition: 'True' }],
    ['exempt', 'removes a taint', tainted, { ...tainted, taints: [] }],
    ['exempt', 'removes the label', trustedNode, { condition: 'True' }],
    ['exempt', 'taints', plain, { taints: [untrusted] }],
    ['admin', 'sets the label', plain, { labels: trusted }],
    ['admin', 'removes a taint', tainted, { ...tainted, taints: [] }],
  ]),
  ...changes(false, [
    ['controller', 'removes a taint', tainted, { ...tainted, taints: [] }],
    ['controller', 'removes a taint beside others', { taints: [foreign, untrusted] }, { taints: [foreign] }],
    [
      'controller',
      'changes the value of a taint',
      tainted,
      { ...tainted, taints: ['assay.dev/untrusted=other'] },
    ],
    [
      'controller',
      'makes a taint one that only prefers',
      tainted,
      { ...tainted, taints: [`${untrusted}:PreferNoSchedule`] },
    ],
    ['controller', 'taints', plain, { taints: [untrusted] }],
    ['controller', 'sets the startup taint on a Node that is registered', plain, { taints: [pending] }],
    [
      'controller',
      'taints an unregistered Node as untrusted',
      { taints: [unregistered] },
      { taints: [unregistered, untrusted] },
    ],
    [
      'controller',
      'removes the startup taint of an unregistered Node',
      { taints: [unregistered, pending] },
      { taints: [unregistered] },
    ],
    ['controller', 'removes a taint of another version', { taints: ['assay.dev/older'] }, { taints: [] }],
    ['controller', 'sets the label', plain, { labels: trusted }],
    ['controller', 'sets the label to another value', plain, { labels: { [trustedLabel]: 'false' } }],
    [
      'controller',
      'changes the value of the label',
      trustedNode,
      { ...trustedNode, labels: { [trustedLabel]: 'yes' } },
    ],
    ['controller', 'removes the label', trustedNode, { condition: 'True' }],
    ['kubelet', 'sets the label', plain, { labels: trusted }],
    ['kubelet', 'removes its taint', tainted, { ...tainted, taints: [] }],
    ['exempt', 'sets the label', plain, { labels: trusted }],
  ]),
  ...changes(
    true,
    [
      ['kubelet', 'sends a heartbeat', trustedNode, { ...trustedNode, ready: 'KubeletReady' }],
      [
        'kubelet',
        'sends a heartbeat of an untrusted node',
        tainted,
        { ...tainted, ready: 'KubeletNotReady' },
      ],
      ['kubelet', 'writes many conditions', trustedNode, { ...trustedNode, more: 100 }],
      ['server', 'sets the condition', plain, { condition: 'Unknown' }],
      ['server', 'changes the condition', tainted, { ...tainted, condition: 'True' }],
      ['exempt', 'removes the condition', tainted, { taints: [untrusted] }],
    ],
    true,
  ),
  ...changes(
    false,
    [
      ['kubelet', 'writes more conditions than can be looked at', trustedNode, { ...trustedNode, more: 128 }],
      ['kubelet', 'says that it is trusted', tainted, { ...tainted, condition: 'True' }],
      ['kubelet', 'sets the condition first', plain, { condition: 'True' }],
      ['kubelet', 'removes the condition', tainted, { taints: [untrusted] }],
      ['kubelet', 'sets the label with its status', plain, { labels: trusted }],
      ['controller', 'sets the condition', tainted, { ...tainted, condition: 'True' }],
      ['controller', 'removes the label with the status', trustedNode, { condition: 'True' }],
      ['exempt', 'sets the condition', tainted, { ...tainted, condition: 'True' }],
    ],
    true,
  ),
];

function made(
  isAllowed: boolean,
  rows: readonly (readonly [Who, string, MarksOfCase])[],
): readonly MarkCase[] {
  return rows.map(([who, title, next]) => ({ title, who, old: null, next, isAllowed }));
}

function changes(
  isAllowed: boolean,
  rows: readonly (readonly [Who, string, MarksOfCase, MarksOfCase])[],
  status?: true,
): readonly MarkCase[] {
  return rows.map(([who, title, old, next]) => ({
    title,
    who,
    old,
    next,
    isAllowed,
    ...(status && { status }),
  }));
}
