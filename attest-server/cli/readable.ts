import { type Advice, isCommand } from '../wire/advice.ts';
import { printable } from '../wire/printable.ts';
import type { CliIo } from './io.ts';
import { relative, utc } from './moment.ts';

/** How texts are shown to a person. */
export interface TextFormat {
  /** Instants without how long ago they were. */
  readonly utc: boolean;
  readonly now: number;
  /** Columns that prose may take. */
  readonly width: number;
}

/** Columns of prose where nobody says how many there are. */
const usualWidth = 100;
/** On less, nothing could be read. */
const leastWidth = 40;

export function readingOf({ columns, now }: CliIo, absolute = false): TextFormat {
  return { utc: absolute, now: now(), width: Math.max(leastWidth, columns ?? usualWidth) };
}

/** The digits of a digest by which it is shown, and looked up. */
export const shownDigits = 12;

/** Digests in a text by their first digits; -o json has them whole. */
export function withShortDigests(text: string): string {
  return text.replace(/\b[0-9a-f]{40,128}\b/g, (digest) => digest.slice(0, shownDigits));
}

/** A text for a person: printable, its digests short, and how long ago each of its instants was. */
export function readable(text: string, textFormat: Pick<TextFormat, 'utc' | 'now'>): string {
  return withAges(withShortDigests(printable(text)), textFormat);
}

/** Each instant of a text without fractions of a second, and how long ago it was. */
export function withAges(text: string, { utc: absolute, now }: Pick<TextFormat, 'utc' | 'now'>): string {
  const instant = /\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g;
  return text.replace(instant, (at) => (absolute ? utc(at) : `${utc(at)} (${relative(at, now)})`));
}

/** A label and the lines of its text beside it, each wrapped. */
export function field(
  label: string,
  text: string,
  indent: number,
  { width }: Pick<TextFormat, 'width'>,
): string {
  const lines = text.split('\n').flatMap((line) => wrapped(printable(line), widthBeside(indent, width)));
  return beside(label, lines, indent);
}

/** The same for advice: each step has a mark where there are several, and a command stands alone on its line, whole. */
export function steps(
  label: string,
  advice: Advice,
  indent: number,
  { width }: Pick<TextFormat, 'width'>,
): string {
  const given = advice.split('\n');
  const isOne = given.filter((line) => !isCommand(line)).length === 1;
  const [mark, below] = isOne ? ['', ''] : ['- ', '  '];
  const lines = given.flatMap((line) => {
    if (isCommand(line)) return [`${below}${printable(line)}`];
    const [first, ...others] = wrapped(printable(line), widthBeside(indent + mark.length, width));
    return [`${mark}${first}`, ...others.map((other) => `${below}${other}`)];
  });
  return beside(label, lines, indent);
}

function beside(label: string, [first = '', ...others]: readonly string[], indent: number): string {
  const lines = [label.padEnd(indent) + first, ...others.map((line) => ' '.repeat(indent) + line)];
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}

function widthBeside(indent: number, width: number): number {
  return Math.max(leastWidth / 2, width - indent);
}

/**
 * Breaks at blanks, and a word that is too long within it: a terminal would go on at the start of its next line, where
 * what others wrote could look like a line of ours.
 */
export function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ').flatMap((each) => pieces(each, width))) {
    if (line !== '' && [...line].length + 1 + [...word].length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

function pieces(word: string, width: number): readonly string[] {
  if (word.length <= width) return [word];
  const characters = [...word];
  const count = Math.ceil(characters.length / width);
  return Array.from({ length: count }, (_, at) => characters.slice(at * width, (at + 1) * width).join(''));
}
