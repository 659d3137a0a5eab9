import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CliError, exit } from '../exit.ts';

/** The files of a folder whose names end so, in the order of their names. @throws CliError where there are none */
export function filesIn(dir: string, ending: RegExp, option: string): readonly string[] {
  try {
    const names = readdirSync(dir).filter((name) => ending.test(name));
    if (names.length === 0)
      throw new CliError(`${dir} holds no such file`, `Name another folder with ${option}.`);
    return names.sort().map((name) => join(dir, name));
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    const text = `${dir} is not a folder that can be read`;
    throw new CliError(text, `Name another one with ${option}.`, exit.error, cause);
  }
}
