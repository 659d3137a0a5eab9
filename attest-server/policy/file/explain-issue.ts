import type { z } from 'zod';
import { suggestion } from '../../formats/nearest.ts';
import { builtAspects } from '../aspects.ts';
import type { LocatedFault } from './policy-error.ts';
import { knownKeys, unsupported } from './policy-schema.ts';

type Path = LocatedFault['path'];

/** Suggestions of one file: a file of nothing but unknown words must not keep a server busy. */
const mostSuggestions = 128;
type Suggest = typeof suggestion;

/** Says what the schema found wrong, in words for whoever wrote the file. One for each file. */
export function issueExplainer(): (issue: z.core.$ZodIssue) => LocatedFault[] {
  let left = mostSuggestions;
  return (issue) => explain(issue, (word, known) => (left-- > 0 ? suggestion(word, known) : ''));
}

function explain(issue: z.core.$ZodIssue, suggest: Suggest): LocatedFault[] {
  const { path, input } = issue;
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({ path: [...path, key], text: unknownKey(path, key, suggest) }));
  if (path[0] === 'groups' && path[2] === 'require' && path.length === 4)
    return [{ path, text: notRequirable(input, suggest) }];
  if (input === undefined) return [{ path, text: 'missing' }];
  if (issue.code === 'invalid_value' && !issue.message.startsWith(unsupported)) {
    const words = issue.values.map(String);
    const wanted = words.length === 1 ? words[0] : `one of ${words.join(', ')}`;
    const near = typeof input === 'string' ? suggest(input, words) : '';
    return [{ path, text: `not ${wanted}${near}` }];
  }
  if (issue.code === 'invalid_key') return issue.issues.map(({ message }) => ({ path, text: message }));
  if (issue.code === 'invalid_type' && issue.expected === 'array')
    return [{ path, text: `not a list: write ${typeof input === 'string' ? shownAsList(input) : '[…]'}` }];
  return [{ path, text: issue.message }];
}

/** The list of one entry that somebody wrote as a text, as it should stand. */
function shownAsList(text: string): string {
  return `[${JSON.stringify(text.slice(0, 64))}]`;
}

function unknownKey(path: Path, key: string, suggest: Suggest): string {
  const known = knownKeys(path);
  if (path[0] === 'groups' && path[2] === 'severity' && path.length === 3)
    return `no reason code${suggest(key, known)}`;
  return `unknown key${suggest(key, known)}`;
}

function notRequirable(input: unknown, suggest: Suggest): string {
  const isDemand = typeof input === 'object' && input !== null;
  if (isDemand) return 'not an aspect with the source that it demands, as {boot: tpm}';
  const near = typeof input === 'string' ? suggest(input, builtAspects) : '';
  return `not an aspect that can be required: ${builtAspects.join(', ')}${near}`;
}
