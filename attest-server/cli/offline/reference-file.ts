import type { Reference } from '../../formats/reference.ts';
import { parseReferenceFile } from '../../policy/reference-file.ts';
import { Rejection } from '../../wire/rejection.ts';
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

/** Reads the reference files of the folder that `--references` names. @throws CliError, also if it has none */
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
  try {
    return parseReferenceFile(text, path);
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    throw new CliError(`${path} is no reference: ${error.message}`, exportAgain, exit.error, error);
  }
}
