import { parse } from 'yaml';
import { type Reference, reference } from '../formats/reference.ts';
import { hasPrototype } from '../wire/prototype-key.ts';
import { Rejection } from '../wire/rejection.ts';
import { inOurWords } from '../wire/shape-fault.ts';

/**
 * Parses a reference as people keep it in a file: JSON, or YAML where the path does not end in .json.
 * @throws Rejection `malformed` naming the field; `file` for the whole
 */
export function parseReferenceFile(text: string, path: string): Reference {
  let value: unknown;
  try {
    value = path.endsWith('.json') ? JSON.parse(text) : parse(text, { maxAliasCount: 0, logLevel: 'error' });
  } catch (cause) {
    throw new Rejection('malformed', 'it is neither JSON nor YAML', { field: 'file', cause });
  }
  if (hasPrototype(value)) throw new Rejection('malformed', 'it names __proto__', { field: 'file' });
  const result = reference.safeParse(value, inOurWords);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue?.path.join('.') || 'file';
  throw new Rejection('malformed', `${field}: ${issue?.message}`, { field });
}
