import { parse } from 'yaml';
import { hasPrototype } from '../../protocol/prototype-key.ts';
import { type Reference, reference } from '../../protocol/reference.ts';
import { inOurWords } from '../../protocol/shape-fault.ts';
import { CliError, exit } from '../exit.ts';
import { readFile } from '../read-file.ts';
import { filesIn } from './files-in.ts';

const ending = /\.(json|ya?ml)$/;

/** Whether a file is named, not a reference at the server. */
export function isReferenceFile(given: string): boolean {
  return given.includes('/') || ending.test(given);
}

/** Reads the reference files of the folder that `--references` names. @throws CliError */
export function readReferences(dir: string): readonly Reference[] {
  return filesIn(dir, ending, '--references').map(readReference);
}

/** Reads a reference file, JSON or YAML. @throws CliError naming the file and the field */
export function readReference(path: string): Reference {
  const text = readFile(path).toString('utf8');
  let value: unknown;
  try {
    value = path.endsWith('.json') ? JSON.parse(text) : parse(text, { maxAliasCount: 0 });
  } catch (cause) {
    throw new CliError(`${path} is neither JSON nor YAML`, 'Export the reference again.', exit.error, cause);
  }
  if (hasPrototype(value)) throw new CliError(`${path} names __proto__`, 'Export the reference again.');
  const result = reference.safeParse(value, inOurWords);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new CliError(
    `${path} is no reference: ${issue?.path.join('.') || 'file'}: ${issue?.message}`,
    'Its shape is described under "Files that travel".',
  );
}
