import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { comparedMembers, type Member } from './answer.ts';

/** One row of the list: in which members the answers to some requests of a case differ, and why nothing can rest on it. */
export interface NamedDifference {
  readonly case: string;
  readonly steps: readonly number[];
  readonly members: readonly Member[];
  readonly why: string;
}

const folder = join(import.meta.dirname, '../../../../swtpm-fixtures/api-server/differences');

/** @throws Error for a row that cannot be read */
export function readNamedDifferences(): readonly NamedDifference[] {
  return ['writes.md', 'reads-and-rights.md'].flatMap((file) =>
    parseNamedDifferences(readFileSync(join(folder, file), 'utf8')),
  );
}

function parseNamedDifferences(text: string): readonly NamedDifference[] {
  const found: NamedDifference[] = [];
  let about = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('## ')) about = line.slice(3).replaceAll('`', '').trim();
    const [, steps, members, why] = /^\| ([\d, -]+) \| ([^|]+) \| (.+) \|$/.exec(line) ?? [];
    if (steps === undefined || members === undefined || why === undefined) continue;
    found.push({
      case: about,
      steps: steps.split(',').flatMap(parseSteps),
      members: members.split(',').map((name) => parseMember(name.trim())),
      why,
    });
  }
  return found;
}

/** `3`, or `3-7`. */
function parseSteps(text: string): readonly number[] {
  const [first = Number.NaN, last = first] = text.split('-').map(Number);
  if (!(last >= first)) throw new Error(`${text} is no step, and no first and last step`);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function parseMember(text: string): Member {
  const member = comparedMembers.find((name) => name === text);
  if (member === undefined) throw new Error(`${text} is no member that is compared`);
  return member;
}
