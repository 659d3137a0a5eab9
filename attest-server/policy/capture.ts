import type { Reference, ReferenceKind } from '../formats/reference.ts';
import type { Proven, ProvenPart } from '../verify/proven.ts';
import type { PartName } from '../wire/evidence.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import type { AspectName, Reason } from '../wire/verdict.ts';
import type { Aspect, CaptureLabel, Past } from './aspect.ts';
import { aspects } from './aspects.ts';
import { isMissingAggregate, provesStart } from './boot/aggregate.ts';
import { captureTogether } from './boot/capture-together.ts';
import { captureInitrds } from './boot/initrd/capture.ts';
import { CaptureError } from './capture-error.ts';
import { breaksPolicy, weigh } from './finding.ts';
import { judgedAlone } from './judged-alone.ts';
import type { PolicyGroup } from './policy.ts';
import { saysTheSame } from './reference-content.ts';
import { withFilesInSteps } from './reference-files.ts';
import { unavailable, unreadBy, unreadIn } from './unavailable.ts';

/** One node's answer that somebody vouches for. */
export interface VouchedAnswer {
  readonly node: string;
  readonly proven: Proven;
  /** The memory of the node; absent: none. */
  readonly memory?: Past['memory'];
}

/**
 * References of one kind that together cover what these nodes proved: one named NAME, and for each node that those
 * before it do not cover one more, NAME-2 and so on.
 * @throws CaptureError if a node shows nothing to compare with; Rejection where it is no model for others
 */
export function* captureReferencesInSteps(
  kind: ReferenceKind,
  answers: readonly VouchedAnswer[],
  group: PolicyGroup,
  {
    only,
    initrd = false,
    aggregate = true,
    ...about
  }: Pick<CaptureLabel, 'name' | 'state' | 'by' | 'at'> & {
    /** For kind `runtime`: the content of the initrds that the nodes booted, and not what they ran since. */
    readonly initrd?: boolean;
    /** For kind `boot`: boot_aggregate is demanded of others if one of the nodes gave it. Default true. */
    readonly aggregate?: boolean;
    /** For kind `runtime`: these files alone, by path or digest; null: all. */
    readonly only: readonly string[] | null;
  },
): Generator<void, readonly Reference[]> {
  if (kind === 'boot') {
    const boots = answers.map(({ node, proven, memory = {} }) => ({
      node,
      banks: proven.banks,
      boot: proven.boot,
      isDemanded: aggregate && provesStart(proven, memory),
    }));
    return captureTogether(boots, group, about);
  }
  if (kind === 'runtime' && initrd) return yield* initrdsOf(answers, only, { ...about, group });
  const aspect = aspects.find(({ referenceKind }) => referenceKind === kind);
  if (aspect === undefined)
    throw new CaptureError(`this version captures no references of kind ${kind}: choose ${capturedKinds()}`);
  return yield* captureBy(aspect, group.rules[aspect.name], answers, only, { ...about, group });
}

/** Codes with which a node is a model for no other, by the aspect of this kind of references. */
export function noModelOf(kind: ReferenceKind): readonly ReasonCode[] {
  return aspects.find(({ referenceKind }) => referenceKind === kind)?.noModel ?? [];
}

/** True if a proof of its boot is demanded that the node does not give. */
export function lacksProof(reasons: readonly Reason[]): boolean {
  return reasons.some((reason) => reason.severity === 'fail' && isMissingAggregate(reason));
}

/** Reasons against a node besides that nobody vouched for it yet. */
export function standingAgainst(reasons: readonly Reason[]): readonly Reason[] {
  return reasons.filter(({ severity, code }) => severity === 'fail' && code !== 'no_reference');
}

/** Reasons against a node in another group than its own, by the references that this group has in force; none if it has none. */
export function* standingInSteps(
  kind: ReferenceKind,
  { node, proven }: VouchedAnswer,
  group: PolicyGroup,
  references: readonly Reference[],
  at: number,
): Generator<void, readonly Reason[]> {
  const aspect = aspects.find(({ referenceKind }) => referenceKind === kind);
  if (aspect === undefined) return [];
  return standingAgainst(
    yield* reasonsBy(aspect, group.rules[aspect.name], { node, proven }, { group, references, at }),
  );
}

function initrdsOf(
  answers: readonly VouchedAnswer[],
  only: readonly string[] | null,
  about: Omit<CaptureLabel, 'node'>,
): Generator<void, readonly Reference[]> {
  return captureEach(answers, about, function* ({ node, proven }, as) {
    const whole = yield* captureInitrds(proven, as);
    return only === null ? whole : yield* withFilesInSteps(whole, only, `the initrd of ${node} has no file`);
  });
}

/** The capture of each node under the next name, except those that say the same as an earlier one. */
function* captureEach(
  answers: readonly VouchedAnswer[],
  about: Omit<CaptureLabel, 'node'>,
  capture: (answer: VouchedAnswer, as: CaptureLabel) => Generator<void, Reference>,
): Generator<void, readonly Reference[]> {
  const captured: Reference[] = [];
  for (const answer of answers) {
    const name = captured.length === 0 ? about.name : `${about.name}-${captured.length + 1}`;
    const reference = yield* capture(answer, { ...about, name, node: answer.node });
    if (!captured.some((one) => saysTheSame(one, reference))) captured.push(reference);
  }
  return captured;
}

function capturedKinds(): string {
  const others = aspects.flatMap(({ capture, captureInSteps, referenceKind }) =>
    capture || captureInSteps ? [referenceKind] : [],
  );
  return ['boot', ...others].join(', ');
}

/** By one aspect, for a group with these rules of it. */
function captureBy<Name extends AspectName, Rules>(
  aspect: Aspect<Name, Rules>,
  rules: Rules,
  answers: readonly VouchedAnswer[],
  only: readonly string[] | null,
  about: Omit<CaptureLabel, 'node'>,
): Generator<void, readonly Reference[]> {
  return captureEach(answers, about, function* ({ node, proven }, as) {
    checkShown(aspect, node, proven);
    const whole = aspect.captureInSteps
      ? yield* aspect.captureInSteps(proven, as)
      : aspect.capture?.(proven, as);
    if (whole === undefined)
      throw new CaptureError(
        `references of kind ${aspect.referenceKind} are written, not captured: import one`,
      );
    const reference =
      only === null ? whole : yield* withFilesInSteps(whole, only, `${node} measured no file`);
    yield* checkModel(aspect, rules, { node, proven }, reference, about);
    return reference;
  });
}

/** A part that a node did not show is never captured as nothing. */
function checkShown(
  aspect: Pick<Aspect<AspectName, unknown>, 'name' | 'parts' | 'readsHost'>,
  node: string,
  proven: Proven,
): void {
  const [unread] = unreadBy(aspect, unreadIn(proven));
  if (unread !== undefined) {
    const { code, text, actual } = unavailable(aspect.name, unread);
    throw new Rejection(code, `${node} cannot be captured: ${text} ${actual}`);
  }
  const parts: Readonly<Partial<Record<PartName, ProvenPart>>> = proven.parts;
  // IMA's list comes in pieces, and is no part as the others are: the aspect says itself what is missing of it.
  const missing = aspect.parts.find((part) => part !== 'ima' && (parts[part]?.bytes ?? null) === null);
  if (missing !== undefined)
    throw new CaptureError(
      `${node} cannot be captured: ${
        parts[missing] === undefined
          ? `its agent sent no part ${missing}`
          : `the bytes of its part ${missing} are not kept any more; wait for its next answer`
      }`,
    );
}

/** Attack: a node that broke the policy becomes the model. A reason that its own reference clears does not count. */
function* checkModel<Rules>(
  aspect: Aspect<AspectName, Rules>,
  rules: Rules,
  { node, proven }: VouchedAnswer,
  reference: Reference,
  { group, at }: Pick<CaptureLabel, 'group' | 'at'>,
): Generator<void> {
  const inForce: Reference = { ...reference, state: 'active' };
  const reasons = yield* reasonsBy(aspect, rules, { node, proven }, { group, references: [inForce], at });
  // A policy may name other references than the one that is just made: to differ from them is no fault.
  const against = reasons.find(
    (reason) => breaksPolicy(reason) && reason.class !== 'drift' && isNoModel(reason.code),
  );
  if (against !== undefined)
    throw new Rejection(against.code, `${node} cannot be a model for others: ${against.text}`);
}

/** As one aspect judges what the node shows, where it is required. */
function* reasonsBy<Rules>(
  aspect: Aspect<AspectName, Rules>,
  rules: Rules,
  { node, proven }: VouchedAnswer,
  {
    group,
    references,
    at,
  }: Pick<CaptureLabel, 'group' | 'at'> & { readonly references: readonly Reference[] },
): Generator<void, readonly Reason[]> {
  const judge = aspect.prepare(rules, { group, references, remembers: false });
  const alone = judgedAlone(node, proven);
  if (judge.ahead) yield* judge.ahead(proven, alone, at);
  const { findings } = judge.judge(proven, alone, at);
  return findings.map((finding) => weigh(finding, { require: [aspect.name], severity: {} }));
}

/** True for a broken rule by which a node is no model for others. Boots alone are captured whatever rule they break. */
export function isNoModel(code: ReasonCode): boolean {
  return !besides.has(code);
}

/**
 * Codes of no class `drift` that are no fault of what is captured: found by comparing with a reference, or about what the
 * kernel did not measure, and so is in none.
 */
const besides: ReadonlySet<ReasonCode> = new Set([
  'luks_header_changed',
  'luks_extra_keyslot',
  'ima_policy_weak',
  'ima_violation',
]);
