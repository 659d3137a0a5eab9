import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { CliError, exit } from '../exit.ts';

/** The files of a folder whose names end so, in the order of their names. @throws CliError if it cannot be read */
export function filesIn(dir: string, ending: RegExp, option: string): readonly string[] {
  try {
    return readdirSync(dir)
      .filter((name) => ending.test(name))
      .sort()
      .map((name) => join(dir, name));
  } catch (cause) {
    const text = `${dir} is not a folder that can be read`;
    throw new CliError(text, `Name another one with ${option}.`, exit.error, cause);
  }
}

/** The bundles of a folder. @throws CliError if there are none: nothing would be said of nobody */
export function bundlesIn(dir: string): readonly string[] {
  const paths = filesIn(dir, /\.json$/, '--bundles');
  if (paths.length === 0)
    throw new CliError(`${dir} holds no bundle (*.json)`, 'Name another folder with --bundles.');
  return paths;
}
