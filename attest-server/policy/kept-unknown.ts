import { z } from 'zod';
import type { ReferenceKind } from '../formats/reference.ts';
import { classOf, isReasonCode, type ReasonCode } from '../wire/reasons.ts';
import { type AspectName, aspects as aspectNames, aspectSchema } from '../wire/verdict.ts';
import type { AspectJudgement, Past } from './aspect.ts';
import type { Finding } from './finding.ts';
import type { UnknownThing, UnknownThings } from './unknown.ts';

/** An `Unknown` as it is remembered of a node, with what its latest verdict says of it. */
export interface KeptUnknown extends UnknownThings {
  /** When the node showed it first: milliseconds since the epoch. */
  readonly since: number;
  /** Of its findings, those that count against the node. */
  readonly codes: readonly ReasonCode[];
  /** Of these, rules of the policy that are broken: no reference changes that. */
  readonly rules: readonly ReasonCode[];
  /** An allowed signer vouches for all of it. */
  readonly signed: boolean;
  /** Findings of any aspect that say that somebody lies, or that a person has decided against it: nothing of it is offered. */
  readonly held: readonly ReasonCode[];
}

export type UnknownByAspect = Readonly<Partial<Record<AspectName, KeptUnknown>>>;

/** Beside what the aspects remember of a node, under a name that is none of theirs. */
const key = 'unknown';
const codes = z.array(z.string().refine((word): word is ReasonCode => isReasonCode(word))).readonly();
const kept = z.object({
  set: z.string(),
  things: z
    .array(
      z.object({ what: z.string(), name: z.string(), digest: z.string().nullable(), more: z.int().min(0) }),
    )
    .readonly(),
  own: z.boolean(),
  lacks: z.string().nullable(),
  only: z.array(z.string()).readonly().exactOptional(),
  inInitrd: z.literal(true).exactOptional(),
  since: z.int(),
  codes,
  rules: codes,
  knownBy: z.string().nullable(),
  signed: z.boolean(),
  held: codes,
}) satisfies z.ZodType<KeptUnknown>;
const memory = z.partialRecord(aspectSchema, kept);

/** The unknown things of a node as they were remembered; another version's word on them counts for nothing. */
export function unknownIn(remembered: Past['memory']): UnknownByAspect {
  const given = remembered[key];
  return given === undefined ? nothing : (memory.safeParse(given).data ?? nothing);
}

/** Things that a capture of this kind would add to the references in force. */
export function newOfKind(
  remembered: Past['memory'],
  { kind, initrd = false }: { readonly kind: ReferenceKind; readonly initrd?: boolean },
): readonly UnknownThing[] {
  const aspects: Readonly<Partial<Record<AspectName, KeptUnknown>>> = unknownIn(remembered);
  return Object.entries(aspects).flatMap(([name, { things, inInitrd = false }]) =>
    (inInitrd ? initrd : name === kind && !initrd) ? things : [],
  );
}

/** Enough of it to put thousands of nodes together; `unknownIn` looks at the rest. */
export interface UnknownMark {
  readonly aspect: AspectName;
  /** Nodes with the same show the same, and the same can be done about it. */
  readonly key: string;
  readonly since: number;
  readonly isHeld: boolean;
  readonly inInitrd: boolean;
}

export function unknownMarks(remembered: Past['memory']): readonly UnknownMark[] {
  const given = remembered[key];
  if (!isObject(given)) return noMarks;
  return Object.entries(given).flatMap(([name, one]: [string, unknown]) => {
    const aspect = aspectNames.find((each) => each === name);
    if (aspect === undefined || !isMarked(one)) return [];
    const { set, since, held, knownBy, codes: against, signed } = one;
    const key = JSON.stringify([set, knownBy, against, signed]);
    return [{ aspect, key, since, isHeld: held.length > 0, inInitrd: 'inInitrd' in one }];
  });
}

interface Marked {
  readonly set: string;
  readonly since: number;
  readonly held: readonly unknown[];
  readonly knownBy: unknown;
  readonly codes: unknown;
  readonly signed: unknown;
}

function isMarked(one: unknown): one is Marked {
  if (!isObject(one) || !('set' in one && 'since' in one && 'held' in one && 'knownBy' in one)) return false;
  return typeof one.set === 'string' && Number.isInteger(one.since) && Array.isArray(one.held);
}

const noMarks: readonly UnknownMark[] = [];

function isObject(given: unknown): given is object {
  return typeof given === 'object' && given !== null;
}

function isAspect(name: string): boolean {
  return aspectNames.some((each) => each === name);
}

/** The memory of a node without it: no judgement is made from it. */
export function withoutUnknown(remembered: Past['memory']): Past['memory'] {
  if (!(key in remembered)) return remembered;
  const { [key]: _, ...others } = remembered;
  return others;
}

/** The unknown things of one answer, by each aspect that was judged by it; null if there are none. */
export type ShownUnknown = readonly (readonly [AspectName, Omit<KeptUnknown, 'since'> | null])[];

/** One for all nodes: of most of them nothing is unknown. */
const nothingOf = new Map(aspectNames.map((name) => [name, [name, null] as const]));

/** @param judged each aspect that was judged by this answer */
export function shownUnknown(judged: readonly (readonly [AspectName, AspectJudgement])[]): ShownUnknown {
  const isUnknown = judged.some(([, { unknown }]) => unknown !== undefined);
  const held = isUnknown ? unique(judged.flatMap(([, { findings }]) => findings.filter(isHeldBy))) : [];
  return judged.map(([aspect, { unknown, findings }]) => {
    if (unknown === undefined) return nothingOf.get(aspect) ?? ([aspect, null] as const);
    const against = findings.filter(
      ({ severity = 'fail', code }) => severity === 'fail' && isOfReference(code),
    );
    const drift = against.filter(({ code }) => classOf(code) === 'drift');
    const shown = {
      ...unknown,
      codes: unique(against),
      rules: unique(
        against.filter(({ code, reference }) => classOf(code) === 'posture' && reference === undefined),
      ),
      signed: drift.length > 0 && against.every(({ signed }) => signed === true),
      held,
    };
    return [aspect, shown] as const;
  });
}

/**
 * The memory of a node once an answer is judged. Of aspects that were not, what is remembered stays.
 * @param at milliseconds since the epoch
 */
export function withUnknown(remembered: Past['memory'], shown: ShownUnknown, at: number): Past['memory'] {
  if (!(key in remembered) && shown.every(([, unknown]) => unknown === null)) return remembered;
  const given = remembered[key];
  const before = new Map<string, unknown>(isObject(given) ? Object.entries(given) : []);
  const next = new Map([...before].filter(([name]) => isAspect(name)));
  for (const [aspect, unknown] of shown) {
    const known = before.get(aspect);
    if (unknown === null) next.delete(aspect);
    else
      next.set(aspect, {
        ...unknown,
        since: isMarked(known) && known.set === unknown.set ? known.since : at,
      });
  }
  const others = withoutUnknown(remembered);
  return next.size === 0 ? others : { ...others, [key]: Object.fromEntries(next) };
}

function isOfReference(code: ReasonCode): boolean {
  const is = classOf(code);
  return is === 'drift' || is === 'posture' || code === 'change_expected';
}

/** Attack: a node caught lying gets what it runs among the candidates for an approval. */
function isHeldBy({ code, severity = 'fail' }: Finding): boolean {
  return code === 'revoked_reference' || (severity === 'fail' && classOf(code) === 'failed');
}

function unique(findings: readonly Finding[]): readonly ReasonCode[] {
  return [...new Set(findings.map(({ code }) => code))].slice(0, 16);
}

const nothing: UnknownByAspect = {};
