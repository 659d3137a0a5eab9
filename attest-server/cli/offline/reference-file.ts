import { parse } from 'yaml';
import { hasPrototype } from '../../protocol/prototype-key.ts';
import { type Reference, reference } from '../../protocol/reference.ts';
import { inOurWords } from '../../protocol/shape-fault.ts';
import { CliError, exit } from '../exit.ts';
import { readFile } from '../read-file.ts';
import { filesIn } from './files-in.ts';

const exporting = '  assay reference export NAME -f NAME.json';
const exportAgain = `Name a file that was exported or computed (docs/references.md):\n${exporting}`;

const ending = /\.(json|ya?ml)$/;

/** Whether a file is named, not a reference at the server. */
export function isReferenceFile(given: string): boolean {
  return given.includes('/') || ending.test(given);
}

/** Reads the reference files of the folder that `--references` names. @throws CliError, also where it has none */
export function readReferences(dir: string): readonly Reference[] {
  const paths = filesIn(dir, ending, '--references');
  // Judged with none, every node would seem to boot what nobody knows.
  if (paths.length === 0)
    throw new CliError(
      `${dir} holds no reference (*.json, *.yaml)`,
      `Name another folder with --references, or put references into it:\n${exporting}`,
    );
  return paths.map(readReference);
}

/** Reads a reference file, JSON or YAML. @throws CliError naming the file and the field */
export function readReference(path: string): Reference {
  const text = readFile(path).toString('utf8');
  let value: unknown;
  try {
    value = path.endsWith('.json') ? JSON.parse(text) : parse(text, { maxAliasCount: 0, logLevel: 'error' });
  } catch (cause) {
    throw new CliError(
      `${path} is no reference: it is neither JSON nor YAML`,
      exportAgain,
      exit.error,
      cause,
    );
  }
  if (hasPrototype(value)) throw new CliError(`${path} is no reference: it names __proto__`, exportAgain);
  const result = reference.safeParse(value, inOurWords);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new CliError(
    `${path} is no reference: ${issue?.path.join('.') || 'file'}: ${issue?.message}`,
    exportAgain,
  );
}
