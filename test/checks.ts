export interface Check {
  readonly name: string;
  /** A script, as seen from node_modules, started with the running Node, and its arguments. */
  readonly command: readonly [string, ...string[]];
}

/** What they found of files whose content is the same. */
const kept = 'node_modules/.cache/checks';

/** What `npm run check` and `npm test` run; each must end with status 0. */
export const checks: readonly Check[] = [
  { name: 'format and lint', command: ['@biomejs/biome/bin/biome', 'ci', '--colors=off'] },
  {
    name: 'types',
    // By itself it would have several threads check the same types of the packages.
    command: [
      'typescript/bin/tsc',
      ...['--pretty', 'false', '--singleThreaded'],
      ...['--incremental', '--tsBuildInfoFile', `${kept}/types.tsbuildinfo`],
    ],
  },
  {
    name: 'spelling',
    command: [
      'cspell/bin.mjs',
      ...['--no-progress', '--no-color', '--quiet'],
      ...['--cache', '--cache-strategy', 'content', '--cache-location', `${kept}/spelling`, '.'],
    ],
  },
  { name: 'description of the API', command: ['../test/lint-openapi.ts'] },
  { name: 'unused exports, files and dependencies', command: ['knip/bin/knip.js', '--no-progress'] },
];

/** Part of the unit tests, and of `npm run check`. */
export const importRules: Check = {
  name: 'import rules',
  command: ['mocha/bin/mocha.js', '--reporter', 'dot', 'test/architecture.unit.test.ts'],
};

/** What `npm run fix` runs. */
export const fixes: readonly Check[] = [
  { name: 'format and lint', command: ['@biomejs/biome/bin/biome', 'check', '--write', '--colors=off'] },
];
