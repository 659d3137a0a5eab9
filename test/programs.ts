import { compiledIn, sources } from '../swtpm-fixtures/programs.ts';

/** Where `npm test` put what it compiled; else the programs run as their sources. */
const folder = process.env.ASSAY_TEST_PROGRAMS;

/** What a test that starts a program of ours gives to Node: the only place where that is decided. */
export const programs = folder === undefined ? sources : compiledIn(folder);

/** For the program of `npm start`, which starts others. */
export const storyArguments: readonly string[] = folder === undefined ? [] : ['--programs', folder];
