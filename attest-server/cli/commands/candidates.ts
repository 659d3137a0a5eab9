import {
  type ReferenceCandidate,
  type ReferenceCandidates,
  referenceCandidates,
} from '../../api/candidates-api.ts';
import { kindWords } from '../../formats/reference.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { type Format, print } from '../output.ts';
import { field, readable, readingOf, type TextFormat, withShortDigests, wrapped } from '../readable.ts';
import { counted, listed } from '../sentence.ts';
import { checkKind } from './reference.ts';

export interface CandidatesOptions {
  readonly group?: string;
  readonly kind?: string;
  readonly output: Format;
  readonly utc?: boolean;
}

/** More are in `-o json`. */
const mostShown = 32;
const mostNamed = 8;
const mostHeld = 8;

/** `reference candidates`: what nodes show and no reference in force has, and the command for each. */
export async function showCandidates(
  { io, server }: CliContext,
  { group, kind, output: format, utc = false }: CandidatesOptions,
): Promise<void> {
  checkKind(kind);
  const query = new URLSearchParams({
    ...(group !== undefined && { group }),
    ...(kind !== undefined && { kind }),
  });
  const path = query.size === 0 ? '/v1/references/candidates' : `/v1/references/candidates?${query}`;
  const found = await (await server()).get(path, referenceCandidates);
  await print(io, format, found, () => candidatesText(found, readingOf(io, utc)));
}

/** One sentence for all, then each candidate with its command, then who is held. */
export function candidatesText(found: ReferenceCandidates, textFormat: TextFormat): string {
  const shown = found.items.slice(0, mostShown);
  const left = found.items.length - shown.length + found.more.candidates;
  return [
    `${sumOf(found)}\n`,
    ...shown.map((one, index) => `\n${candidateText(one, index + 1, textFormat)}`),
    left === 0
      ? ''
      : `\n… and ${counted(left, 'thing')} more: -o json has ${found.more.candidates === 0 ? 'all' : 'more'} of them, --group and --kind choose\n`,
    heldText(found, textFormat),
  ].join('');
}

function sumOf({ items, more, nodes, unknown }: ReferenceCandidates): string {
  const all = counted(nodes, 'node');
  if (unknown === 0) return `0 of ${all} show anything that no reference has`;
  const things = items.length + more.candidates;
  const kinds = new Set(items.map(({ kind }) => kind));
  const [kind] = kinds;
  const { one, many } =
    kinds.size === 1 && kind !== undefined ? kindWords[kind] : { one: 'shows', many: 'show' };
  return `${unknown} of ${all} ${unknown === 1 ? one : many} ${counted(things, 'thing')} that no reference has`;
}

function candidateText(one: ReferenceCandidate, number: number, textFormat: TextFormat): string {
  const { text, codes, things, nodes, firstSeen, lastSeen, signed, notes, command } = one;
  const against = codes.length === 0 ? '' : ` (${codes.join(', ')})`;
  const head = wrapped(`${number}. ${printable(text)}${against}`, textFormat.width);
  const lines: readonly (readonly [string, string])[] = [
    ...things.map(({ what, name, digest, more }) => {
      const others = more === 0 ? '' : `, and ${more} more`;
      return [
        printable(what),
        withShortDigests(`${name}${digest === null ? '' : ` ${digest}`}${others}`),
      ] as const;
    }),
    ['nodes', listed(nodes, mostNamed)],
    [
      'seen',
      readable(
        lastSeen === null || lastSeen === firstSeen ? firstSeen : `${firstSeen}, last ${lastSeen}`,
        textFormat,
      ),
    ],
    ...(signed ? [['signed', 'an allowed signer vouches for all of it'] as const] : []),
    ...notes.map((note) => ['note', note] as const),
  ];
  const body = lines.map(([label, said]) => field(`     ${label}`, said, 27, textFormat)).join('');
  return `${head.join('\n   ')}\n${body}${command === null ? '' : `   ${printable(command)}\n`}`;
}

function heldText({ held }: ReferenceCandidates, textFormat: TextFormat): string {
  if (held.length === 0) return '';
  const named = held.slice(0, mostHeld).map(({ node, codes }) => `${node} (${codes.join(', ')})`);
  const are = held.length === 1 ? 'is' : 'are';
  const text = `not offered: ${counted(held.length, 'node')} ${are} held for other reasons: ${listed(named, mostHeld, held.length)}`;
  return `\n${wrapped(text, textFormat.width).join('\n')}\n`;
}
