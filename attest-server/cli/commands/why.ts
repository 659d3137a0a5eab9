import type { NodeView, ReasonView, RefusedKeyView } from '../../api/node-api.ts';
import { type FoldedCause, foldedReasons } from '../../formats/folded-reasons.ts';
import { type Advice, adviceOn, joinedAdvice } from '../../wire/advice.ts';
import { printable } from '../../wire/printable.ts';
import { componentOf } from '../component.ts';
import type { CliContext } from '../context.ts';
import { stateText } from '../node-table.ts';
import { field, readable, shownDigits, steps, type TextFormat, withAges, wrapped } from '../readable.ts';
import { type ShowOptions, showNodes } from '../show-nodes.ts';
import { nodeFacts } from './node-facts.ts';

/** `why N...`: each reason with what was expected, what was found, who says so, and what to do; exits by the worst state. */
export function explainNodes(
  context: CliContext,
  names: readonly string[],
  options: ShowOptions,
): Promise<void> {
  return showNodes(context, names, options, explanation, '');
}

function explanation(node: NodeView, textFormat: TextFormat): string {
  const turned =
    node.turned === null
      ? ''
      : wrapped(readable(node.turned.text, textFormat), textFormat.width - 2)
          .map((line) => `  ${line}\n`)
          .join('');
  const past = untrustedBefore(node, textFormat);
  const head = `${printable(node.name)} is ${stateText(node)}\n${turned}${past === null ? '' : steps('', past, 2, textFormat)}`;
  const keys = node.refusedKeys.map((refused) => refusedKey(refused, textFormat)).join('');
  const reasons =
    node.reasons.length === 0 && keys === ''
      ? '  no problem was found\n'
      : paragraphs(node.reasons, textFormat, node.name);
  return head + reasons + keys + nextBootText(node.nextBoot, textFormat) + nodeFacts(node, textFormat);
}

/** It is no reason: a node without a key is in the state that it proved. */
function refusedKey({ volume, name, code, text, at, next }: RefusedKeyView, textFormat: TextFormat): string {
  const which = name === null ? `${volume}, which is none of this node` : name;
  const head = `no key for volume ${which}: ${code}: ${text}`;
  return [
    ...wrapped(readable(head, textFormat), textFormat.width - 2).map((line) => `  ${line}\n`),
    field('    since', readable(at, textFormat), 15, textFormat),
    steps('    next', next, 15, textFormat),
  ].join('');
}

const nextBoots = {
  would: ['the next boot would be affirmed', 'the next boot would get the key of its disks'],
  would_not: ['it would not be trusted after its next boot', 'it would get no key at its next boot'],
  unknown: [
    'whether it would be trusted after its next boot is not known',
    'whether it would get a key at its next boot is not known',
  ],
} as const;

/** The forecast, which is no reason: the node may lie, and nothing rests on it. Each step once. */
function nextBootText(nextBoot: NodeView['nextBoot'], textFormat: TextFormat): string {
  if (nextBoot === null) return '';
  const { answer, hasLease, causes } = nextBoot;
  const head = `${nextBoots[answer][hasLease ? 1 : 0]}, by what the node says lies on its disk`;
  return [
    ...wrapped(head, textFormat.width - 2).map((line) => `  ${line}\n`),
    ...causes.map(({ text, since }) =>
      field(
        '    because',
        readable(since === null ? text : `${text} It lies there since ${since}.`, textFormat),
        15,
        textFormat,
      ),
    ),
    ...(causes.length === 0
      ? []
      : [steps('    next', joinedAdvice(causes.map(({ next }) => next)), 15, textFormat)]),
  ].join('');
}

/** An alarm ends with the state that caused it, and whoever comes for it looks later. */
const saysFor = 24 * 3600_000;

/** That a node which is not untrusted any more was it a short time ago, and how to see why; null if it was not. */
function untrustedBefore({ name, state, transitions }: NodeView, textFormat: TextFormat): Advice | null {
  const at = transitions.findIndex((one) => one.state === 'untrusted');
  const [was, next] = [transitions[at], transitions[at - 1]];
  if (state === 'untrusted' || was === undefined || next === undefined) return null;
  if (textFormat.now - Date.parse(next.at) > saysFor) return null;
  const why = was.reason === null ? '' : ` (${was.reason})`;
  return [
    readable(`It was untrusted${why} from ${was.at} until ${next.at}. See what it showed then:`, textFormat),
    `  assay history ${name} --transitions`,
  ].join('\n');
}

const sources = {
  tpm: 'tpm (signed by the TPM)',
  host: 'host (the node says so)',
  server: 'server (observed by the server)',
} as const;

/** A cause with what to do about it; `next` is null if a later one says the same. */
interface AdvisedCause extends FoldedCause<ReasonView> {
  readonly next: Advice | null;
}

/** Reasons by their causes. A step for several is said once, with the last of them. */
export function advisedCauses(reasons: readonly ReasonView[], node: string | null): readonly AdvisedCause[] {
  const causes = foldedReasons(reasons);
  const advice = causes.map(({ cause, follows }) =>
    joinedAdvice(
      [cause, ...follows.filter(({ code }) => code !== cause.code)].map(
        (reason) => reason.next ?? adviceOn(reason.code, { node }),
      ),
    ),
  );
  return causes.map((one, at) => ({
    ...one,
    next: advice.lastIndexOf(advice[at]!) === at ? advice[at]! : null,
  }));
}

/** Reasons for a person; also for the offline `verify`: what follows from one cause stands below it. */
export function paragraphs(
  reasons: readonly ReasonView[],
  textFormat: TextFormat,
  node: string | null = null,
): string {
  return advisedCauses(reasons, node)
    .map(({ cause, follows, next }) =>
      [
        paragraph(cause, textFormat),
        ...follows.map((one) => following(one, textFormat)),
        next === null ? '' : steps('    next', next, 15, textFormat),
      ].join(''),
    )
    .join('');
}

/** A reason that follows from the one above it, in a line. */
function following({ code, text, severity }: ReasonView, textFormat: TextFormat): string {
  return field('    so', `${code}: ${readable(text, textFormat)} (${severity})`, 15, textFormat);
}

/** Without what to do about it. */
export function paragraph(reason: ReasonView, textFormat: TextFormat): string {
  const kind = reason.class === 'drift' ? 'changed' : reason.class;
  const { expected, actual, evidence, aspect } = reason;
  const component = componentOf(reason);
  const of = component === aspect ? '' : `${aspect}; `;
  const lines: readonly (readonly [string, string | null])[] = [
    ['component', `${component} (${of}${kind}, ${reason.severity})`],
    ['expected', expected && readable(expected, textFormat)],
    ['actual', actual && readable(actual, textFormat)],
    ['source', sources[reason.source]],
    ['evidence', evidence && evidenceText(evidence)],
  ];
  const head = wrapped(`${reason.code}: ${readable(reason.text, textFormat)}`, textFormat.width - 2);
  const body = lines
    .map(([label, text]) => (text === null ? '' : field(`    ${label}`, text, 15, textFormat)))
    .join('');
  const detail = (reason.detail ?? [])
    .map((line) => `      ${withAges(printable(line), textFormat)}\n`)
    .join('');
  return `${head.map((line) => `  ${line}\n`).join('')}${body}${detail}`;
}

/** By the digest that `bundle` and `boot diff` take; a part's own where that is not known, and of a file that ran its own. */
export function evidenceText({ bundle, digest, position }: NonNullable<ReasonView['evidence']>): string {
  if (position.startsWith('entry ')) {
    const file = digest === '' ? '' : `, file ${digest.slice(0, shownDigits)}`;
    return `${position} of IMA’s list${file}`;
  }
  const whole = bundle ?? null;
  const which = whole === null ? `part ${digest.slice(0, shownDigits)}` : whole.slice(0, shownDigits);
  return `${which} at ${position}`;
}
