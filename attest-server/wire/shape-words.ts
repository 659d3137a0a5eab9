import type { z } from 'zod';

/**
 * Requirements on a value in our words, not in those of the library: the parameter `error` of a schema's parser. A schema's
 * own message comes first. Read after a field's name: `body.limit: must be at most 500`.
 */
export const shapeWords: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case 'invalid_type': {
      const wanted = kinds[issue.expected] ?? 'of another kind';
      return issue.input === undefined ? `is missing; it must be ${wanted}` : `must be ${wanted}`;
    }
    case 'too_small':
      return bound('at least', issue.minimum, issue.origin, issue.inclusive ?? true);
    case 'too_big':
      return bound('at most', issue.maximum, issue.origin, issue.inclusive ?? true);
    case 'invalid_value':
      return issue.values.length === 1
        ? `must be ${String(issue.values[0])}`
        : `must be one of ${issue.values.map(String).join(', ')}`;
    case 'invalid_format':
      return formats[issue.format] ?? 'has the wrong form';
    case 'unrecognized_keys': {
      const names = membersOf(issue.inst);
      return names.length === 0 ? 'must be empty' : `has an unknown name; allowed are ${names.join(', ')}`;
    }
    case 'invalid_union':
      return 'has none of the allowed forms';
    case 'invalid_key':
      return 'has a name of the wrong form';
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`;
    default:
      return 'is not valid';
  }
};

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'an object',
  record: 'an object',
  null: 'null',
};

const formats: Readonly<Record<string, string>> = {
  datetime: 'must be a moment in UTC, such as 2026-11-20T12:00:00Z',
  base64: 'must be base64',
};

function bound(how: string, limit: number | bigint, origin: string, isInclusive: boolean): string {
  const unit = units[origin];
  if (unit !== undefined) return `must have ${how} ${limit} ${unit[Number(limit) === 1 ? 0 : 1]}`;
  if (isInclusive) return `must be ${how} ${limit}`;
  return `must be ${how === 'at least' ? 'more' : 'less'} than ${limit}`;
}

const units: Readonly<Record<string, readonly [string, string]>> = {
  string: ['character', 'characters'],
  array: ['entry', 'entries'],
};

/** The names that a value may have by its schema. */
function membersOf(schema: object | undefined): readonly string[] {
  if (schema === undefined || !('_zod' in schema)) return [];
  // Zod says of a schema which one it is, and its type for any of them does not.
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if (def.type === 'object') return Object.keys(def.shape);
  return def.type === 'record' ? [...(def.keyType._zod.values ?? [])].map(String) : [];
}
