import type { Random } from '../random.ts';
import { changeBytes } from './bytes.ts';
import { changeRecords } from './records.ts';
import type { Words } from './words.ts';

/** One change to lines or to what stands between blanks. One character is a byte, so that any bytes are kept. */
export function changeText(bytes: Buffer, donor: Buffer, words: Words, random: Random): Buffer {
  if (bytes.length === 0 || random.once(8)) return changeBytes(bytes, donor, random);
  if (random.once(3)) return changeRecords(bytes, donor, linesOf, random);
  const text = bytes.toString('latin1');
  const token = tokenNear(text, random.below(text.length));
  const put = (by: string): Buffer =>
    Buffer.from(text.slice(0, token.from) + by + text.slice(token.end), 'latin1');
  const own = text.slice(token.from, token.end);
  switch (random.below(8)) {
    case 0:
      return put('');
    case 1:
      return put(`${own}${random.pick([' ', '\n', ',', '', '\t'])}${own}`);
    case 2:
      return put(own.repeat(Math.min(random.length(4096), Math.ceil(65_536 / own.length))));
    case 3:
      return put(random.pick(odd));
    case 4:
      return put(`${random.pick(odd)}${own}`);
    case 5:
      return put(`${own}${random.pick(odd)}`);
    case 6: {
      const other = donor.toString('latin1');
      const taken = tokenNear(other, random.below(other.length));
      return put(other.slice(taken.from, taken.end));
    }
    default:
      return put(random.pick(words) ?? own);
  }
}

/** What texts trip over. UTF-8 stands as its bytes. */
export const odd: readonly [string, ...string[]] = [
  '0',
  '-1',
  '1',
  '255',
  '256',
  '65535',
  '65536',
  '4294967295',
  '4294967296',
  '9007199254740993',
  '18446744073709551616',
  '1e400',
  '0x10',
  '00',
  '\0',
  '\r',
  '\n',
  '\n\n',
  '\t',
  ' ',
  '"',
  "'",
  '\\',
  '\\\n',
  '\\040',
  '\\x',
  '\\u0000',
  '#',
  '*',
  '!',
  '&a',
  '*a',
  '<<: ',
  '%',
  '%s',
  '-',
  '--',
  ':',
  '=',
  ',',
  ';',
  '/',
  '/../',
  '..',
  '[',
  ']',
  '{',
  '}',
  '(',
  ')',
  '__proto__',
  'constructor',
  'true',
  'null',
  'é',
  '\xff\xfe',
  '\xed\xa0\x80',
  '\xe2\x80\xae',
  '\xef\xbb\xbf',
  '\x1b[31m',
  '::',
  '0.0.0.0/0',
  '::/0',
];

function tokenNear(text: string, at: number): { readonly from: number; readonly end: number } {
  const isWord = (index: number) => /[\w.-]/.test(text[index] ?? '');
  let [from, end] = [at, Math.min(text.length, at + 1)];
  if (!isWord(at)) return { from, end };
  while (from > 0 && at - from < 64 && isWord(from - 1)) from--;
  while (end < text.length && end - at < 64 && isWord(end)) end++;
  return { from, end };
}

function linesOf(bytes: Buffer): readonly number[] {
  const begins: number[] = [];
  for (let from = 0; from < bytes.length; ) {
    begins.push(from);
    const end = bytes.indexOf(0x0a, from);
    if (end < 0) break;
    from = end + 1;
  }
  return begins;
}
