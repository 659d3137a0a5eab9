/**
 * Pure: `Proven`, rules, references and the past become a `Verdict`. `aspect` is the interface, `aspects` the
 * list, and `appraise` joins them. `sequence` compares where a TPM is in time, `twins` says that several nodes
 * show one TPM, and `kept-unknown` remembers what a node shows and no reference has.
 *
 * One function (`stateOf`) decides every state: of evidence (online, offline and in simulation), of silence,
 * and of a boot that has begun. `gate` has the verdict on an answer of a role that makes no node trusted, and the
 * order for a gate.
 *
 * The memory of a node is an input: where its TPM is in time, which parts it sent, what each aspect asked for,
 * what stands against it (`against`), whether its boots are capped (`cap`), and which
 * keys of its volumes were open while it was untrusted (`volume-keys`): whatever the aspect, what broke the policy
 * stands until a reading takes it back. Each aspect keeps its judgements under exactly what they are made from (`remembering`). The
 * verdict is joined from these, and joined again only when one of them is another.
 */

import { LRUCache } from 'lru-cache';
import { policyLabel } from '../formats/policy-label.ts';
import type { Reference } from '../formats/reference.ts';
import { overdueText } from '../formats/silence.ts';
import type { TpmClass } from '../formats/tpm-class.ts';
import type { Proven } from '../verify/proven.ts';
import { atMost } from '../wire/at-most.ts';
import type { PartName } from '../wire/evidence.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { type Role, roles } from '../wire/roles.ts';
import type { AspectName, AspectResult, Reason, Verdict } from '../wire/verdict.ts';
import { againstIn, counts, nextAgainst, stillStanding, withAgainst, withStanding } from './against.ts';
import type { AspectJudgement, Judge, JudgedNode, Past, SharedVolume, UnreadPart } from './aspect.ts';
import { aspects } from './aspects.ts';
import { judgeCap, withCap } from './cap.ts';
import { bySeverity, type Finding, stateOf, statusOf, weigh } from './finding.ts';
import { withoutTrust } from './gate.ts';
import { type ShownUnknown, shownUnknown, withUnknown } from './kept-unknown.ts';
import { groupOf, type Policy, type PolicyGroup, unmatched } from './policy.ts';
import { judgeSequence, type Sequence, type SequenceJudgement, sightingOf } from './sequence.ts';
import { sharedTpm } from './twins.ts';
import { unavailable, unreadBy, unreadIn } from './unavailable.ts';
import { withExposed, withOpen } from './volume-keys.ts';

export interface AppraisedNode {
  readonly name: string;
  /** The labels of the node in its cluster, by which groups may choose. Default none. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The kind of its TPM, by the word of a root. Default unknown. */
  readonly tpmClass?: TpmClass;
  /** The memory of it. Default none. */
  readonly past?: NodePast;
  /** Who answered. Default the agent. */
  readonly by?: Role;
}

/** The state of a node before this answer. */
export interface NodePast extends Past {
  /** Null if its TPM was not seen yet, or a person has approved it again. */
  readonly sequence: Sequence | null;
  /** The answer is to a challenge older than what is remembered: its clock may be older, too. */
  readonly concurrent: boolean;
  /** Other nodes that are enrolled with the TPM of this one: none in a store that was never an earlier version's. */
  readonly twins: readonly string[];
  /** SMBIOS, as its Node in the cluster says it. Default null: so for who judges offline. */
  readonly clusterUuid?: string | null;
  /** Other nodes that show its system UUID. Default none: who judges offline knows no others. */
  readonly sameUuid?: readonly string[];
  /** Volumes that it shows in this answer and other nodes show, too. Default none: who judges offline knows no others. */
  readonly sharedVolumes?: readonly SharedVolume[];
  /** A disk key is kept for it. Default false: what follows from one is in its memory. */
  readonly hasLease?: boolean;
}

export const noPast: NodePast = { sequence: null, concurrent: false, twins: [], sentParts: [], memory: {} };

export interface Appraisal {
  readonly verdict: Verdict;
  /** Where the PCRs started over since the previous reading: what is known at that moment. */
  readonly begun: BootTransition | null;
  /** To be remembered of the node. */
  readonly next: { readonly sequence: Sequence; readonly memory: Readonly<Record<string, unknown>> };
  /** Parts that this connection need not show again. */
  readonly enough: readonly PartName[];
}

export interface BootTransition {
  readonly code: 'rebooted' | 'resumed';
  readonly reason: Reason;
  /** Between the reset and the verdict on what runs since; null if the policy does not require the boot. */
  readonly verdict: Verdict | null;
}

export interface Appraiser {
  /** @param at milliseconds since the epoch; references expire by it */
  (proven: Proven, node: AppraisedNode, at: number): Appraisal;
  /** The slow part of appraising, in steps of some milliseconds, for a caller that must let others go on: `appraise` is quick then. */
  ahead(proven: Proven, node: AppraisedNode, at: number): Generator<void>;
  /**
   * Up to where IMA's list of this node was judged by these rules: a `head` of `ProvenImaList`. Null: what is appraised next
   * must have the list from its start.
   */
  judgedTo(node: AppraisedNode): string | null;
}

/** Appraises one piece of proven evidence. For many, make an appraiser once. */
export function appraise(
  proven: Proven,
  policy: Policy,
  node: AppraisedNode,
  references: readonly Reference[],
  at: number,
): Appraisal {
  return createAppraiser(policy, references)(proven, node, at);
}

/**
 * Makes policy and references ready, so that appraising what was seen before is a comparison. Make a new one when either
 * changes: each aspect remembers its judgements for as long as this one lives.
 * @param options.remembers false: each is judged again; default true
 */
export function createAppraiser(
  policy: Policy,
  references: readonly Reference[],
  { remembers = true }: { readonly remembers?: boolean } = {},
): Appraiser {
  const prepared = new Map<PolicyGroup, PreparedGroup>();
  const byName = new LRUCache<string, PreparedGroup>(atMost(mostNames));
  // Labels change while a node keeps its name.
  const goesByName = policy.groups.every(({ labels }) => Object.keys(labels).length === 0);
  const groupFor = ({ name, labels }: AppraisedNode): PreparedGroup => {
    const group = groupOf(policy, name, labels);
    const ready = prepared.get(group) ?? prepareGroup(policy, group, references, remembers);
    prepared.set(group, ready);
    if (goesByName) byName.set(name, ready);
    return ready;
  };
  const preparedFor = (node: AppraisedNode) => byName.get(node.name) ?? groupFor(node);
  const appraiser: Appraiser = (proven, node, at) => appraiseBy(preparedFor(node), proven, node, at);
  appraiser.ahead = function* (proven, node, at) {
    const judged = judgedNode(proven, node);
    for (const { judge } of preparedFor(node).judges) if (judge.ahead) yield* judge.ahead(proven, judged, at);
  };
  appraiser.judgedTo = (node) => {
    for (const { judge } of preparedFor(node).judges) if (judge.judgedTo) return judge.judgedTo(node.name);
    return null;
  };
  return appraiser;
}

/** Nodes whose group is remembered: finding it walks through the globs of all groups. */
const mostNames = 65_536;

interface PreparedGroup {
  readonly group: PolicyGroup;
  /** `name@revision` */
  readonly policy: string;
  readonly trial: Pick<Verdict, 'trial'>;
  readonly judges: readonly { readonly aspect: (typeof aspects)[number]; readonly judge: Judge }[];
  /** Nodes of one kind give the same judgements, one after the other: joined once. */
  last: JoinedJudgements | null;
  /** By node, where some judgement is of that node alone. */
  readonly ofNodes: LRUCache<string, JoinedJudgements>;
}

function prepareGroup(
  policy: Policy,
  group: PolicyGroup,
  references: readonly Reference[],
  remembers: boolean,
): PreparedGroup {
  return {
    group,
    policy: policyLabel(policy),
    trial: policy.trial === true ? { trial: true } : {},
    judges: aspects.map((aspect) => {
      const { name, referenceKind, alsoReads = [] } = aspect;
      const isItsOwn = ({ kind }: Reference) => kind === referenceKind || alsoReads.includes(kind);
      const itsOwn = group === unmatched ? [] : references.filter(isItsOwn);
      return { aspect, judge: aspect.prepare(group.rules[name], { group, references: itsOwn, remembers }) };
    }),
    last: null,
    ofNodes: new LRUCache(atMost(mostNames)),
  };
}

function appraiseBy(prepared: PreparedGroup, proven: Proven, node: AppraisedNode, at: number): Appraisal {
  const past = node.past ?? noPast;
  const judged = judgedNode(proven, node);
  const { group } = prepared;
  const { sequence, unread } = judged;
  const account = againstIn(past.memory);
  let memory = account === null ? past.memory : account.memory;
  const next: Partial<Record<AspectName, readonly Finding[]>> = {};
  const judgements: AspectJudgement[] = [];
  let enough = nothing;
  let wanted = nothing;
  let isOwing = false;
  // Attack: a role that shows no token of the cluster is taken for the agent, which must show one.
  const { by = 'agent' } = node;
  const { proves, makesTrusted } = roles[by];
  for (const { aspect, judge } of prepared.judges) {
    const { name } = aspect;
    const stood = account?.against[name] ?? noFindings;
    let judgement = nothingSaid;
    if (proves.includes(name)) {
      const own = judge.judge(proven, judged, at);
      const itsOwn = unreadBy(aspect, unread);
      // Nobody asks for it, and the node never showed it: there is nothing to tell.
      const missing =
        itsOwn.length === 0 || stood.length > 0 || group.require.includes(name)
          ? itsOwn
          : itsOwn.filter((one) => one.name === 'host' || past.sentParts.includes(one.name));
      judgement = missing.length === 0 ? own : withUnread(own, name, missing);
      if (judgement.next !== undefined && judgement.next !== memory[name])
        memory = { ...memory, [name]: judgement.next };
      // What is not remembered of this answer must be shown once more.
      const shown = judgement.enough ?? nothing;
      if (shown.length > 0) enough = [...enough, ...shown];
      // Another aspect may go by the same part, and want more of it.
      if (own.wants !== undefined) wanted = [...wanted, ...own.wants];
    }
    if (stood.length + judgement.findings.length > 0) {
      const stands = stillStanding(stood, judgement);
      const all = nextAgainst(stands, judgement.findings, group);
      if (all.length > 0) next[name] = all;
      const told = stands.filter((one) => counts(one, group));
      const isRequired = group.require.includes(name);
      isOwing ||= isRequired && told.length > 0;
      const isSaid = judgement.findings.length > 0 || isRequired;
      if (told.length > 0 && isSaid) judgement = withStanding(judgement, told);
    }
    judgements.push(judgement);
  }
  const { verdict: whole, unknown } = joined(prepared, judgements, node.name);
  const ofItsOwn = unknown.filter(([name]) => proves.includes(name));
  memory = withUnknown(memory, ofItsOwn, at);
  if (proves.includes('disk')) {
    const openKeys = judgements.find((one) => one.openKeys !== undefined)?.openKeys ?? null;
    const seen = { clock: proven.clock, concurrent: past.concurrent };
    const exposed = withExposed(withOpen(past.memory, openKeys, seen), whole);
    // This verdict says it, too. Nothing more is exposed by that.
    if (exposed !== null)
      return appraiseBy(prepared, proven, { ...node, past: { ...past, memory: exposed } }, at);
    memory = withOpen(withCap(memory, judged.cap), openKeys, seen);
  }
  const verdict = makesTrusted ? whole : withoutTrust(whole, by);
  return {
    verdict,
    begun: begunBy(sequence, past.sequence, proven, verdict),
    next: { sequence: sequence.next, memory: withAgainst(memory, next) },
    // A node that owes a reading is asked for everything.
    enough: isOwing ? nothing : without(enough, wanted),
  };
}

/** None of it is affirmed, nothing is taken back, and what was remembered stays: a node that lies gains nothing by saying this. */
function withUnread(
  { findings, source }: AspectJudgement,
  aspect: AspectName,
  unread: readonly UnreadPart[],
): AspectJudgement {
  return {
    findings: [...unread.map((one) => unavailable(aspect, one)), ...findings],
    affirmed: false,
    source,
  };
}

const nothingSaid: AspectJudgement = { findings: [], affirmed: false, source: 'host' };
const noFindings: readonly Finding[] = [];

function judgedNode(
  proven: Proven,
  { name, tpmClass = 'unknown', past = noPast }: AppraisedNode,
): JudgedNode {
  const unread = unreadIn(proven);
  // A node that says it could not read a part does not omit it silently.
  const isShown = (part: PartName) => !unread.some((one) => one.name === part);
  return {
    name,
    tpmClass,
    past: unread.length === 0 ? past : { ...past, sentParts: past.sentParts.filter(isShown) },
    sequence: judgeSequence(past.sequence, sightingOf(proven), past.concurrent),
    cap: judgeCap(past.memory, proven, { hasLease: past.hasLease ?? false, concurrent: past.concurrent }),
    twins: past.twins,
    clusterUuid: past.clusterUuid ?? null,
    sameUuid: past.sameUuid ?? noNodes,
    sharedVolumes: past.sharedVolumes ?? noVolumes,
    unread,
  };
}

const nothing: readonly PartName[] = [];

function without(parts: readonly PartName[], wanted: readonly PartName[]): readonly PartName[] {
  return wanted.length === 0 ? parts : parts.filter((part) => !wanted.includes(part));
}

const noVolumes: readonly SharedVolume[] = [];
const noNodes: readonly string[] = [];

interface JoinedJudgements {
  readonly judgements: readonly AspectJudgement[];
  readonly verdict: Verdict;
  readonly unknown: ShownUnknown;
}

/** `join`, where the judgements before were others. */
function joined(
  prepared: PreparedGroup,
  judgements: readonly AspectJudgement[],
  node: string,
): JoinedJudgements {
  const { last, ofNodes, judges } = prepared;
  if (last !== null && isOf(last, judgements)) return last;
  const own = ofNodes.get(node);
  if (own !== undefined && isOf(own, judgements)) return own;
  const verdict = join(prepared, judgements);
  const unknown = shownUnknown(judges.map(({ aspect: { name } }, index) => [name, judgements[index]!]));
  prepared.last = { judgements, verdict, unknown };
  ofNodes.set(node, prepared.last);
  return prepared.last;
}

function isOf(one: JoinedJudgements, judgements: readonly AspectJudgement[]): boolean {
  for (let i = 0; i < judgements.length; i++) if (one.judgements[i] !== judgements[i]) return false;
  return true;
}

/** The verdict on all aspects together. @param judgements in the order of the judges */
function join(
  { group, policy, trial, judges }: PreparedGroup,
  judgements: readonly AspectJudgement[],
): Verdict {
  const { name, require, mode } = group;
  if (group.tpm === 'absent') {
    const nothingAsked = { require, reasons: [], aspects: {} };
    const state = stateOf(nothingAsked, group.vouched, 'agent', group.tpm);
    return { ...nothingAsked, state, group: name, mode, policy, ...trial };
  }
  const reasons: Reason[] = [];
  const results: Partial<Record<AspectName, AspectResult>> = {};
  for (let i = 0; i < judges.length; i++) {
    const { findings, affirmed, references = [], source } = judgements[i]!;
    const { name: aspect } = judges[i]!.aspect;
    // Of what nobody asks for and the node does not show, nothing is said.
    if (!affirmed && findings.length === 0 && !require.includes(aspect)) continue;
    const own = findings.map((finding) => weigh(finding, group));
    reasons.push(...own);
    const by = affirmed && references.length > 0 ? { references } : {};
    results[aspect] = { status: statusOf(own, affirmed), source, ...by };
  }
  if (reasons.length > 1) reasons.sort(bySeverity);
  const state = stateOf({ require, aspects: results, reasons }, group.vouched);
  return { state, reasons, aspects: results, group: name, require, mode, policy, ...trial };
}

const beginnings = {
  rebooted: ['resetCount', 'The TPM was reset since it was last seen: the node booted again.'],
  resumed: ['restartCount', 'The TPM was restarted since it was last seen: the node was suspended.'],
} as const;

function begunBy(
  { begun }: SequenceJudgement,
  past: Sequence | null,
  { clock }: Proven,
  verdict: Verdict,
): BootTransition | null {
  if (begun === null || past === null || verdict.state === 'unsupported') return null;
  const [counter, text] = beginnings[begun];
  const values = { expected: `${counter} ${past[counter]}`, actual: `${counter} ${clock[counter]}` };
  const reason = informing(begun, 'boot', 'tpm', text, values);
  if (!verdict.require.includes('boot')) return { code: begun, reason, verdict: null };
  const results = { ...verdict.aspects, boot: { status: 'none', source: 'tpm' } } as const;
  const reasons = [reason];
  const state = stateOf({ require: verdict.require, aspects: results, reasons });
  return { code: begun, reason, verdict: { ...verdict, state, reasons, aspects: results } };
}

/**
 * The verdict once its evidence is too old: silence is never trusted.
 * @param verifiedAt when the latest evidence was judged, milliseconds since the epoch
 * @param how it came to be silent, as a clause; null if that is not known
 */
export function overdueVerdict(verdict: Verdict, verifiedAt: number | null, how: string | null): Verdict {
  const silent = verifiedAt === null ? null : `the last one of ${new Date(verifiedAt).toISOString()}`;
  const reason: Reason = {
    ...informing('evidence_overdue', 'identity', 'server', overdueText(how), {
      expected: 'a fresh quote',
      actual: silent,
    }),
    severity: 'fail',
  };
  const results = Object.fromEntries(
    Object.keys(verdict.aspects).map((name): [string, AspectResult] => [
      name,
      { status: 'none', source: 'server' },
    ]),
  );
  const reasons = [reason];
  return {
    ...verdict,
    state: stateOf({ require: verdict.require, aspects: results, reasons }),
    reasons,
    aspects: results,
  };
}

/** The verdict on a node that enrolled while the server was on trial, once it is not: nothing that it proved then counts. */
export function trialEndedVerdict({ trial: _, ...verdict }: Verdict, name: string): Verdict {
  const reason: Reason = {
    ...informing(
      'trial_enrolment',
      'identity',
      'server',
      `${name} enrolled while the server was on trial, and counts for nothing until a person approves its key again.`,
      { expected: 'an enrolment outside of a trial', actual: null },
    ),
    severity: 'fail',
  };
  const reasons = [reason];
  return {
    ...verdict,
    state: stateOf({ require: verdict.require, aspects: {}, reasons }),
    reasons,
    aspects: {},
  };
}

/** The verdict on a node whose TPM is another node, too, before it has answered again: it is held until one of them goes. */
export function twinVerdict(verdict: Verdict, name: string, twins: readonly string[]): Verdict {
  const { require, aspects: results } = verdict;
  const held: Verdict['aspects'] = { ...results, identity: { status: 'contraindicated', source: 'server' } };
  const reasons = [weigh(sharedTpm(name, twins), { require, severity: {} })];
  return { ...verdict, state: stateOf({ require, aspects: held, reasons }), reasons, aspects: held };
}

function informing(
  code: ReasonCode,
  aspect: AspectName,
  source: Finding['source'],
  text: string,
  { expected, actual }: Pick<Finding, 'expected' | 'actual'>,
): Reason {
  const finding = { code, aspect, source, text, expected, actual, evidence: null };
  return weigh(finding, { require: [], severity: {} });
}
