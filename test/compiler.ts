import { join } from 'node:path';

const tsc = join(import.meta.dirname, '../node_modules/typescript/bin/tsc');

/** Checks the types of the project in this folder. By itself it would have several threads check the same types of the packages. */
export const typeCheck = (folder: string) =>
  [tsc, '--noEmit', '--singleThreaded', '--pretty', 'false', '-p', folder] as const;

/** Nearly all that it makes is needed until it ends: collecting the rest takes as long as the check, and frees a tenth. */
export const typeCheckEnvironment = { GOGC: 'off' } as const;
