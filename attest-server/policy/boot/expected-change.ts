import { LRUCache } from 'lru-cache';
import { type Announcement, type Reference, saysNothing } from '../../formats/reference.ts';
import { classOf } from '../../wire/reasons.ts';
import type { AspectJudgement, Judge, JudgedNode, PreparedAspect } from '../aspect.ts';
import { breaksPolicy, type Finding, weigh } from '../finding.ts';
import type { GroupBase } from '../group.ts';
import { isMissingAggregate } from './aggregate.ts';
import { isComparedBy } from './reference-set.ts';
import type { BootRules } from './rules.ts';

/** A reference that is staged, and that somebody expects nodes to boot. */
interface ExpectedReference {
  readonly reference: Reference;
  readonly announced: Announcement;
  /** Milliseconds since the epoch. */
  readonly from: number;
  readonly until: number;
  /** Once it is approved it counts; else the policy names others. */
  readonly isNamed: boolean;
  /** As if it were approved. */
  readonly active: Reference;
}

/**
 * The same judge, but that a change which somebody announced is not held against a node: one that boots what was announced is
 * judged as if that were approved, and one that is on the way there is `change_expected`. On the way only drift is excused.
 * @param judgeBy makes a judge of these references
 */
export function expectingChanges(
  judge: Judge,
  rules: Pick<BootRules, 'references'>,
  { group, references }: Pick<PreparedAspect, 'group' | 'references'>,
  judgeBy: (references: readonly Reference[]) => Judge,
): Judge {
  const expected = references.flatMap((reference) => expectedBy(reference, rules, group));
  if (expected.length === 0) return judge;
  const judgeWith = jointJudges(references, judgeBy);
  return {
    ...judge,
    judge(proven, node, at) {
      const own = judge.judge(proven, node, at);
      const against = breaking(own, group);
      // Where no reference is in force at all nothing is against a node, and nothing affirms it either.
      if ((against.length === 0 && own.affirmed) || against.some(isNeverExcused)) return own;
      const open = expected.filter((one) => isOpenFor(one, node, at));
      const [first] = open;
      if (first === undefined) return own;
      const named = open.filter(({ reference }) => !saysNothing(reference));
      const [wanted] = named;
      if (wanted !== undefined) {
        const other = judgeWith(named).judge(proven, node, at);
        const left = breaking(other, group);
        const used = named.find(({ reference: { name } }) => other.references?.includes(name)) ?? wanted;
        if (left.length === 0 && other.affirmed) return arrived(other, own, used);
        const isOnTheWay = explainsSome(against, left) && left.every(isMadeByNode);
        if (isOnTheWay && [...against, ...left].every(isDrift)) return onTheWay(own, against, used);
      }
      if (against.length === 0) return own;
      const any = open.find(({ reference }) => saysNothing(reference));
      return any !== undefined && against.every(isDrift)
        ? onTheWay(own, against, any)
        : somethingElse(own, against, first);
    },
  };
}

function expectedBy(
  reference: Reference,
  rules: Pick<BootRules, 'references'>,
  group: GroupBase,
): readonly ExpectedReference[] {
  const { announced, state } = reference;
  if (announced === undefined || state !== 'staged' || reference.group !== group.name) return [];
  const [from, until] = [Date.parse(announced.at), Date.parse(announced.until)];
  const isNamed = isComparedBy(group.name, rules, reference);
  return [{ reference, announced, from, until, isNamed, active: { ...reference, state: 'active' } }];
}

/** Which announcements are open together: few, unless each node has one of its own. */
const mostJudges = 16;

/** Judges as if all of these were active: an update may bring what two people announced. */
function jointJudges(
  references: readonly Reference[],
  judgeBy: (references: readonly Reference[]) => Judge,
): (open: readonly ExpectedReference[]) => Judge {
  const judges = new LRUCache<string, Judge>({ max: mostJudges });
  return (open) => {
    const key = open.map(({ reference: { name } }) => name).join(' ');
    const known = judges.get(key);
    if (known !== undefined) return known;
    const active = new Map(open.map((one) => [one.reference, one.active]));
    const made = judgeBy(references.map((one) => active.get(one) ?? one));
    judges.set(key, made);
    return made;
  };
}

function isOpenFor(
  { announced: { nodes }, from, until }: ExpectedReference,
  { name }: JudgedNode,
  at: number,
): boolean {
  return from <= at && at < until && (nodes === null || nodes.includes(name));
}

/** Without a proof that is missing: it leaves the node pending besides, whatever was announced, and is no other change. */
function breaking({ findings }: AspectJudgement, group: GroupBase): readonly Finding[] {
  return findings.filter((finding) => !isMissingAggregate(finding) && breaksPolicy(weigh(finding, group)));
}

/** Attack: a kernel that was revoked is announced, or the log of an announced boot is altered. */
function isNeverExcused({ code }: Finding): boolean {
  return classOf(code) === 'failed' || code === 'revoked_reference';
}

/** A legitimate update changes that, too. */
function isDrift({ code }: Finding): boolean {
  return classOf(code) === 'drift';
}

/** Whether the announced reference explains something: the kernel is there. */
function explainsSome(against: readonly Finding[], left: readonly Finding[]): boolean {
  return against.some(({ code }) => !left.some((other) => other.code === code));
}

/** Attack: another loader beside the kernel that was announced. What nodes make for themselves nobody can announce. */
function isMadeByNode({ code, ofNode }: Finding): boolean {
  return ofNode === true || code === 'initrd_unknown' || code === 'no_reference';
}

function codesOf(findings: readonly Finding[]): readonly string[] {
  return findings.map(({ code }) => code);
}

/** @param own by what is in force: its unknown things wait for an approval, since the announcement ends */
function arrived(
  judgement: AspectJudgement,
  { unknown }: AspectJudgement,
  expected: ExpectedReference,
): AspectJudgement {
  const { name } = expected.reference;
  const text = `This boot is the announced one, as in reference ${name}: ${announcedBy(expected)} When that ends, it counts only if ${name} is approved${expected.isNamed ? '' : ', and if the policy names it (boot.references)'}.`;
  const finding: Finding = { ...expectedFinding(expected, 'a boot like that', text), severity: 'info' };
  const waiting = unknown === undefined ? {} : { unknown };
  return { ...judgement, findings: [...judgement.findings, finding], ...waiting };
}

function onTheWay(
  judgement: AspectJudgement,
  drift: readonly Finding[],
  expected: ExpectedReference,
): AspectJudgement {
  const what = saysNothing(expected.reference)
    ? 'A change of this boot was announced'
    : `This boot is on the way to the announced one, as in reference ${expected.reference.name}`;
  const finding: Finding = {
    ...expectedFinding(expected, codesOf(drift).join(', '), `${what}: ${announcedBy(expected)}`),
    detail: drift.map(({ code, text }) => `${code}: ${text}`),
  };
  const others = judgement.findings.filter((one) => !drift.includes(one));
  return { ...judgement, findings: [finding, ...others], affirmed: false };
}

/** The finding stays what it is, and says that this is not what was announced. */
function somethingElse(
  judgement: AspectJudgement,
  drift: readonly Finding[],
  expected: ExpectedReference,
): AspectJudgement {
  const [first] = drift;
  const text = `${first!.text} Another change was announced: reference ${expected.reference.name}. ${announcedBy(expected)}`;
  return {
    ...judgement,
    findings: judgement.findings.map((finding) => (finding === first ? { ...finding, text } : finding)),
  };
}

function expectedFinding({ announced, reference }: ExpectedReference, actual: string, text: string): Finding {
  const isAny = saysNothing(reference);
  return {
    code: 'change_expected',
    aspect: 'boot',
    source: 'server',
    expected: isAny ? `a change until ${announced.until}` : reference.name,
    actual,
    text,
    evidence: null,
    // One that names nothing is not to be approved: it would make no node trusted, and be announced no more.
    ...(!isAny && { reference: reference.name }),
  };
}

function announcedBy({ announced: { by, until, reason } }: ExpectedReference): string {
  return `${by} announced it until ${until} (${reason}).`;
}
