import { kernelArguments } from './kernel-arguments.ts';

/** The description of a measured thing, of a log or of a reference. */
export interface MeasuredThing {
  /** The event's own description. */
  readonly describes: string;
  /** The word for an event that describes nothing. */
  readonly type: string;
}

/** The verb and its objects: what the event did, and what the reference has. */
export function changeOf(
  expected: MeasuredThing | null,
  actual: MeasuredThing | null,
  reference: string,
): string {
  const was = expected && quoted(nameOf(expected));
  const now = actual && quoted(nameOf(actual));
  if (was === null) return `measured ${now}, which is not in reference ${reference}`;
  if (now === null) return `lacks ${was}, which is in reference ${reference}`;
  if (was === now) return `measured ${now} with other content than in reference ${reference}`;
  return wordsOf(expected, actual, reference) ?? `measured ${now} where reference ${reference} has ${was}`;
}

/** Which words two command lines do not share; null if it is none, or the words are the same. */
function wordsOf(
  expected: MeasuredThing | null,
  actual: MeasuredThing | null,
  reference: string,
): string | null {
  const before = kernelArguments(expected?.describes ?? '')?.split(' ');
  const now = kernelArguments(actual?.describes ?? '')?.split(' ');
  if (before === undefined || now === undefined) return null;
  return argumentsChange(
    now.filter((word) => !before.includes(word)),
    before.filter((word) => !now.includes(word)),
    reference,
  );
}

/** Null if there is no such argument. */
export function argumentsChange(
  more: readonly string[],
  less: readonly string[],
  reference: string,
): string | null {
  const parts = [
    more.length === 0 ? '' : `adds ${quoted(more.join(' '))}`,
    less.length === 0 ? '' : `lacks ${quoted(less.join(' '))}`,
  ].filter((part) => part !== '');
  return parts.length === 0 ? null : `${parts.join(' and ')}, compared with reference ${reference}`;
}

/** Short enough to be read; the reason's `expected` and `actual` have it whole. */
export function quoted(text: string): string {
  return text.length <= 120 ? `"${text}"` : `"${text.slice(0, 119)}…"`;
}

export function nameOf({ describes, type }: MeasuredThing): string {
  return describes === '' ? type : describes;
}
