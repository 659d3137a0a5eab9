/**
 * One aspect: rules, judge, doubts, advice and memory of what a node runs. `progress` follows each node's list
 * of IMA from where it was judged, `sort-entry` puts each entry where it belongs by `prepared-references`,
 * `tally` keeps counts and examples, and `judge-tally` makes the reasons.
 *
 * `policy-in-force` says what the kernel measures; `signature` and `signer-keys` know who signed a file. See
 * `docs/runtime.md`.
 */

import { atOnce } from '../../formats/in-steps.ts';
import type { BootState } from '../../verify/boot/boot-state.ts';
import type { ImaProblem, ProvenImaList } from '../../verify/ima/proven-list.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Aspect, AspectJudgement, JudgedNode, PreparedAspect } from '../aspect.ts';
import type { Finding } from '../finding.ts';
import { lastExpiry } from '../last-expiry.ts';
import { type Keyed, keyed, remembering, whenMade } from '../remembering.ts';
import { advice } from './advice.ts';
import { captureRuntime } from './capture.ts';
import { describeRuntime } from './describe.ts';
import { runtimeContradictions, runtimeDoubts } from './doubts.ts';
import { draftRuntime, observeRuntime } from './draft.ts';
import { type Example, mostExamples } from './examples.ts';
import { faultyList, noList, notFollowed, unreadList } from './findings.ts';
import { type JudgedBy, judgeTally } from './judge-tally.ts';
import { markOf, type RuntimeMemory, runtimeMemoryIn } from './memory.ts';
import { policyInForce } from './policy-in-force.ts';
import { prepareReferences } from './prepared-references.ts';
import { ListFollower, type ListProgress } from './progress.ts';
import { type RuntimeRules, runtimeRules, shownRuntime } from './rules.ts';
import { runtimeSchema } from './schema.ts';
import { type PreparedKeys, prepareSigners } from './signer-keys.ts';
import { entrySorter } from './sort-entry.ts';
import type { FileTally } from './tally.ts';

/** The programs and files of a machine since it booted, by the list of the kernel's IMA. */
export const runtime: Aspect<'runtime', RuntimeRules> = {
  name: 'runtime',
  schema: runtimeSchema,
  parts: ['ima'],
  readsHost: false,
  referenceKind: 'runtime',
  isOptIn: true,
  advice,
  rules: runtimeRules,
  named: ({ references }) => references,
  show: shownRuntime,
  contradictions: runtimeContradictions,
  doubts: runtimeDoubts,
  captureInSteps: captureRuntime,
  describe: describeRuntime,
  observe: observeRuntime,
  draft: draftRuntime,
  prepare(rules, context) {
    const { group, references } = context;
    const isRequired = group.require.includes('runtime');
    const isOurs = ({ name, group: its }: PreparedAspect['references'][number]) =>
      its === group.name || rules.references?.includes(name) === true;
    if (!isRequired && !rules.isWritten && !references.some(isOurs)) return unused;
    // A list is long: it is prepared when the first one comes that is compared with it.
    let ready: PreparedRuntime | null = null;
    function* getReady(): Generator<void, PreparedRuntime> {
      if (ready !== null) return ready;
      const made = yield* prepare(rules, context);
      // Another node's list came in between: what was judged there is not to be lost.
      ready ??= made;
      return ready;
    }
    return {
      judge(proven, node, at) {
        const { ima } = proven;
        if (ima === null) return unshown(null, proven, node, isRequired);
        if (!isProven(ima)) return unprovenList(ima, proven, node, isRequired);
        const its = atOnce(getReady());
        const progress = its.follower.follow(node.name, ima);
        return progress === null
          ? unclearedJudgement([notFollowed])
          : its.judged(proven, ima, progress, node, at);
      },
      *ahead({ ima }, { name }) {
        if (ima !== null && isProven(ima)) yield* (yield* getReady()).follower.ahead(name, ima);
      },
      judgedTo: (node) => ready?.follower.judgedTo(node) ?? null,
    };
  },
};

/** The most nodes whose list is followed, by group; the others send it from its beginning. */
const mostNodes = 65_536;
/** A step takes some milliseconds: signatures are expensive, and so are globs. Attack: a name of 4 KB, compared with hundreds. */
const entriesInStep = { plain: 4096, signed: 64 };

function stepOf({ exclude, violationsExcept, deny, containers }: RuntimeRules, keys: PreparedKeys): number {
  const lists = [exclude, violationsExcept, deny.globs, containers?.paths ?? []];
  const globs = lists.reduce((sum, { length }) => sum + length, 0);
  return Math.ceil((keys.size === 0 ? entriesInStep.plain : entriesInStep.signed) / (1 + 4 * globs));
}

interface PreparedRuntime extends JudgedBy {
  readonly follower: ListFollower;
  /** Milliseconds since the epoch. */
  readonly judged: (
    proven: Proven,
    list: ProvenImaList,
    progress: ListProgress,
    node: JudgedNode,
    at: number,
  ) => AspectJudgement;
}

function* prepare(
  rules: RuntimeRules,
  { group, references, remembers }: PreparedAspect,
): Generator<void, PreparedRuntime> {
  const prepared = yield* prepareReferences(group.name, rules, references);
  const keys = prepareSigners(rules.signers);
  const expiredAt = lastExpiry([...prepared.host, ...prepared.containers].map(({ expires }) => expires));
  const by: JudgedBy = { group: group.name, rules, references: prepared };
  const sort = entrySorter(rules, prepared, keys);
  return {
    ...by,
    follower: new ListFollower(sort, stepOf(rules, keys), remembers ? mostNodes : 1),
    judged: remembering(
      (proven, list, progress, node, at) => ({
        ...madeFrom(proven, list, progress, node),
        expiredBy: expiredAt(at),
        at: whenMade(at),
      }),
      (made) => judgeMade(made, by),
      { slot: ({ node }) => node, most: remembers ? mostNodes : 0 },
    ),
  };
}

/** All that one node's judgement is made from. */
interface RuntimeInputs {
  readonly node: string;
  readonly tally: Keyed<FileTally>;
  /** By its logs and the measured PCRs. Of a unified image the log has the digest of its command line alone: the line is what the node says. */
  readonly boot: Keyed<BootState | null>;
  readonly list: Keyed<Pick<ProvenImaList, 'aggregates' | 'elsewhere'>>;
  readonly memory: Keyed<JudgedNode['past']['memory']>;
  /** Milliseconds since the epoch: which references have expired. */
  readonly expiredBy: number;
  readonly at: Keyed<number>;
}

function madeFrom(
  { boot, measuredDigest, facts }: Proven,
  { aggregates, elsewhere }: ProvenImaList,
  { tally }: ListProgress,
  { name, past }: JudgedNode,
): Omit<RuntimeInputs, 'expiredBy' | 'at'> {
  const logs = [boot?.digest, boot?.userSpaceDigest, boot?.filesDigest, facts?.host?.commandLine];
  return {
    node: name,
    tally: keyed([tally.state], tally),
    boot: keyed([measuredDigest, ...logs.map((one) => one ?? null)], boot?.state ?? null),
    list: keyed([aggregates.length, elsewhere], { aggregates, elsewhere }),
    memory: keyed([JSON.stringify(past.memory.runtime) ?? null], past.memory),
  };
}

function judgeMade(
  { tally: { value: tally }, boot, list, memory, expiredBy, at }: RuntimeInputs,
  by: JudgedBy,
): AspectJudgement {
  const { since } = runtimeMemoryIn(memory.value);
  const now = new Date(at.value).toISOString();
  const sinceOf = (example: Example) => since[markOf(example)] ?? now;
  const loaded = by.references.host.flatMap(({ name, policies, expires }) =>
    [...policies].flatMap(([digest, covers]) =>
      tally.policies.has(digest) ? [{ covers: expiredBy < expires ? covers : [], of: name }] : [],
    ),
  );
  const policy = policyInForce(boot.value, list.value, loaded);
  const judged = judgeTally(tally, policy, by, expiredBy, sinceOf);
  const { findings, affirmed, references, against, unknown } = judged;
  const marks = against.slice(0, mostExamples).map((example) => [markOf(example), sinceOf(example)]);
  return {
    findings,
    affirmed,
    references,
    source: 'tpm',
    takesBack: { allBut: findings.some(isUnprovenPolicy) ? ['ima_policy_weak'] : [] },
    wants,
    next: { sent: true, since: Object.fromEntries(marks) } satisfies RuntimeMemory,
    ...(unknown !== null && { unknown }),
  };
}

/** The command line alone proves what the kernel measures. */
function isUnprovenPolicy({ code }: Finding): boolean {
  return code === 'facts_unavailable';
}

const wants = ['ima'] as const;

/** The outcome if nobody asks what these nodes run: the list is judged by no one, and followed nowhere. */
const unused = {
  judge: (): AspectJudgement => nothingSaid,
};

const nothingSaid: AspectJudgement = { findings: [], affirmed: false, source: 'tpm' };
const stillWanted: AspectJudgement = { ...nothingSaid, wants };

function unprovenList(
  problem: ImaProblem,
  proven: Proven,
  node: JudgedNode,
  isRequired: boolean,
): AspectJudgement {
  // What is wrong at one place is no accident of who reads.
  const isWhole = problem.code === 'ima_incomplete' && problem.entry === null && problem.offset === null;
  return isWhole
    ? unshown(problem.text, proven, node, isRequired)
    : unclearedJudgement([faultyList(problem)]);
}

/**
 * The judgement if nothing of the list counts, and nothing in it says why. A part that grows is read late, so that the node
 * says only with its next answer that it could not: the first time is reported as what could not be read. Attack: a node that
 * leaves its list out.
 * @param why null if nothing came
 */
function unshown(
  why: string | null,
  { facts }: Proven,
  node: JudgedNode,
  isRequired: boolean,
): AspectJudgement {
  const before = runtimeMemoryIn(node.past.memory);
  const cause = facts?.unavailable?.ima;
  if (!before.sent) return isRequired ? unclearedJudgement([noList(false, cause ?? why)]) : stillWanted;
  if (cause === undefined && before.missed === true) return unclearedJudgement([noList(true, why)]);
  const judgement = unclearedJudgement([unreadList(cause ?? why ?? 'the node sent none')]);
  return before.missed === true ? judgement : { ...judgement, next: { ...before, missed: true } };
}

/** The judgement without a list: nothing that was found in one is taken back without one. */
function unclearedJudgement(findings: readonly Finding[]): AspectJudgement {
  return { findings, affirmed: false, source: 'tpm', wants };
}

function isProven(list: ProvenImaList | ImaProblem): list is ProvenImaList {
  return 'head' in list;
}
