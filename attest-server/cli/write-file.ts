import { writeFileSync } from 'node:fs';
import { CliError, exit } from './exit.ts';

/** Writes a file that only its owner reads. @throws CliError */
export function writeFile(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    throw new CliError(`${path} cannot be written`, 'Name another file.', exit.error, cause);
  }
}
