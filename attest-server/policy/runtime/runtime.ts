import { LRUCache } from 'lru-cache';
import { atMost } from '../../protocol/at-most.ts';
import { atOnce } from '../../protocol/in-steps.ts';
import type { ImaProblem, ProvenImaList } from '../../verify/ima/proven-list.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Aspect, JudgedNode, Judgement, Prepared } from '../aspect.ts';
import { spanAround } from '../expiry-span.ts';
import type { Finding } from '../finding.ts';
import { advice } from './advice.ts';
import { captureRuntime } from './capture.ts';
import { describeRuntime } from './describe.ts';
import { runtimeContradictions, runtimeDoubts } from './doubts.ts';
import { draftRuntime, observeRuntime } from './draft.ts';
import { type Example, mostExamples } from './examples.ts';
import { faultyList, noList, notFollowed, unreadList } from './findings.ts';
import { judgeTally } from './judge-tally.ts';
import { markOf, type RuntimeMemory, runtimeMemoryIn } from './memory.ts';
import { policyInForce } from './policy-in-force.ts';
import { type PreparedReferences, prepareReferences } from './prepared-references.ts';
import { ListFollower, type Progress } from './progress.ts';
import { type RuntimeRules, runtimeRules, shownRuntime } from './rules.ts';
import { runtimeSchema } from './schema.ts';
import { type PreparedKeys, prepareSigners } from './signer-keys.ts';
import { entrySorter } from './sort-entry.ts';

/** What a machine ran since it booted, by the list of the kernel's IMA. */
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
    const { group, references, remembers } = context;
    const isRequired = group.require.includes('runtime');
    const isOurs = ({ name, group: its }: Prepared['references'][number]) =>
      its === group.name || rules.references?.includes(name) === true;
    if (!isRequired && !rules.isWritten && !references.some(isOurs)) return unused;
    // A list is long: it is made ready when the first one comes that is compared with it.
    let ready: Ready | null = null;
    function* getReady(): Generator<void, Ready> {
      if (ready !== null) return ready;
      const made = yield* prepare(rules, context);
      // Another node's list came in between: what was judged there is not to be lost.
      ready ??= made;
      return ready;
    }
    const remembered = new LRUCache<string, Remembered>(atMost(remembers ? mostNodes : 1));
    return {
      judge(proven, node, at) {
        const { ima } = proven;
        if (ima === null) return unshown(null, proven, node, isRequired);
        if (!isProven(ima)) return unprovenList(ima, proven, node, isRequired);
        const its = atOnce(getReady());
        const progress = its.follower.follow(node.name, ima);
        if (progress === null) return told([notFollowed]);
        const { state } = progress.tally;
        const made = madeFrom(proven, ima, node);
        const known = remembered.get(node.name);
        if (known?.state === state && known.made === made && at >= known.from && at < known.until)
          return known.judgement;
        const judged = judgeAnew(proven, ima, progress, node, its, at);
        remembered.set(node.name, { state, made, ...judged });
        return judged.judgement;
      },
      *ahead({ ima }, { name }) {
        if (ima !== null && isProven(ima)) yield* (yield* getReady()).follower.ahead(name, ima);
      },
      judgedTo: (node) => ready?.follower.judgedTo(node) ?? null,
    };
  },
};

/** Of which node the list is followed, by group; the others send it from its begin. */
const mostNodes = 65_536;
/** A step takes some milliseconds: signatures are dear, and so are globs. Attack: a name of 4 KB, compared with hundreds. */
const entriesInStep = { plain: 4096, signed: 64 };

function stepOf({ exclude, violationsExcept, deny, containers }: RuntimeRules, keys: PreparedKeys): number {
  const lists = [exclude, violationsExcept, deny.globs, containers?.paths ?? []];
  const globs = lists.reduce((sum, { length }) => sum + length, 0);
  return Math.ceil((keys.size === 0 ? entriesInStep.plain : entriesInStep.signed) / (1 + 4 * globs));
}

interface Ready {
  readonly group: string;
  readonly rules: RuntimeRules;
  readonly references: PreparedReferences;
  readonly follower: ListFollower;
  /** When references expire, those that do. */
  readonly expiries: readonly number[];
}

function* prepare(rules: RuntimeRules, { group, references, remembers }: Prepared): Generator<void, Ready> {
  const prepared = yield* prepareReferences(group.name, rules, references);
  const keys = prepareSigners(rules.signers);
  return {
    group: group.name,
    rules,
    references: prepared,
    follower: new ListFollower(
      entrySorter(rules, prepared, keys),
      stepOf(rules, keys),
      remembers ? mostNodes : 1,
    ),
    expiries: [...prepared.host, ...prepared.containers]
      .map(({ expires }) => expires)
      .filter(Number.isFinite),
  };
}

/** One node's latest judgement, under all that it was made from. */
interface Remembered {
  /** Of the tally. */
  readonly state: symbol;
  readonly made: string;
  /** Milliseconds since the epoch: no reference expires from `from` until before `until`. */
  readonly from: number;
  readonly until: number;
  readonly judgement: Judgement;
}

function madeFrom(
  { boot, measuredDigest, facts }: Proven,
  { aggregates, elsewhere }: ProvenImaList,
  { past }: JudgedNode,
): string {
  const booted = `${measuredDigest} ${boot?.digest} ${boot?.userSpaceDigest} ${boot?.filesDigest}`;
  // Of a unified image the log has the digest of its command line alone: the line is what the node says.
  const said = JSON.stringify([facts?.host?.commandLine, past.memory.runtime]);
  return `${booted} ${aggregates.length} ${elsewhere} ${said}`;
}

function judgeAnew(
  { boot }: Proven,
  list: ProvenImaList,
  { tally }: Progress,
  node: JudgedNode,
  ready: Ready,
  at: number,
): Omit<Remembered, 'state' | 'made'> {
  const before = runtimeMemoryIn(node.past.memory);
  const now = new Date(at).toISOString();
  const sinceOf = (example: Example) => before.since[markOf(example)] ?? now;
  const loaded = ready.references.host.flatMap(({ name, policies, expires }) =>
    [...policies].flatMap(([digest, covers]) =>
      tally.policies.has(digest) ? [{ covers: at < expires ? covers : [], of: name }] : [],
    ),
  );
  const policy = policyInForce(boot?.state ?? null, list, loaded);
  const { findings, affirmed, references, against, unknown } = judgeTally(tally, policy, ready, at, sinceOf);
  const next: RuntimeMemory = {
    sent: true,
    since: Object.fromEntries(
      against.slice(0, mostExamples).map((example) => [markOf(example), sinceOf(example)]),
    ),
  };
  const [from, until] = spanAround(ready.expiries, at);
  const isKept = JSON.stringify(next) === JSON.stringify(before);
  return {
    from,
    until,
    judgement: {
      findings,
      affirmed,
      references,
      source: 'tpm',
      // What the kernel measures is proven by its command line.
      takesBack: { allBut: policy.isProven ? [] : ['ima_policy_weak'] },
      wants,
      ...(!isKept && { next }),
      ...(unknown !== null && { unknown }),
    },
  };
}

const wants = ['ima'] as const;

/** Nobody asks what these nodes run: the list is judged by no one, and followed nowhere. */
const unused = {
  judge: (): Judgement => nothingSaid,
};

const nothingSaid: Judgement = { findings: [], affirmed: false, source: 'tpm' };
const stillWanted: Judgement = { ...nothingSaid, wants };

function unprovenList(problem: ImaProblem, proven: Proven, node: JudgedNode, isRequired: boolean): Judgement {
  // What is wrong at one place is no accident of who reads.
  const isWhole = problem.code === 'ima_incomplete' && problem.entry === null && problem.offset === null;
  return isWhole ? unshown(problem.text, proven, node, isRequired) : told([faultyList(problem)]);
}

/**
 * Nothing of the list counts, and nothing in it says why. What grows is read late, so that the node says only with its next
 * answer that it could not: the first time is told as what could not be read. Attack: a node that leaves its list out.
 * @param why null where nothing came
 */
function unshown(why: string | null, { facts }: Proven, node: JudgedNode, isRequired: boolean): Judgement {
  const before = runtimeMemoryIn(node.past.memory);
  const cause = facts?.unavailable?.ima;
  if (!before.sent) return isRequired ? told([noList(false, cause ?? why)]) : stillWanted;
  if (cause === undefined && before.missed === true) return told([noList(true, why)]);
  const judgement = told([unreadList(cause ?? why ?? 'the node sent none')]);
  return before.missed === true ? judgement : { ...judgement, next: { ...before, missed: true } };
}

/** Nothing that was found in a list is taken back without one. */
function told(findings: readonly Finding[]): Judgement {
  return { findings, affirmed: false, source: 'tpm', wants };
}

function isProven(list: ProvenImaList | ImaProblem): list is ProvenImaList {
  return 'head' in list;
}
