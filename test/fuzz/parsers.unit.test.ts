import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { parsers } from './parsers.ts';

const root = join(import.meta.dirname, '../..');
const read = (name: string) => readFileSync(join(root, name), 'utf8');

/** What no fuzzed parser names, and why. */
const apart: ReadonlyMap<string, string> = new Map([
  ['parseHeader', 'of an archive: inside of InitrdReader'],
  ['parseRawLog', 'inside of parseEventLog'],
  ['parseRawLogSoFar', 'inside of parseEventLogSoFar'],
  ['parsePackedListInSteps', 'inside of DigestList.fromBytes'],
  ['parseDigestLines', 'inside of parseFileList and parseInitrdList'],
  ['parseFilesInSteps', 'inside of parseFiles'],
  ['parseFiles', 'of a reference that was checked: inside of its schema'],
  ['parseNft', 'inside of rulesetOf'],
  ['parseNftRule', 'inside of rulesetOfBaseline'],
  ['parseIptablesSave', 'inside of rulesetOf'],
  ['parseSavedRule', 'inside of rulesetOfBaseline'],
  ['parseLuksHeader', 'asked for piece by piece, by parsedBytes'],
  ['parseMounts', 'inside of judgeDisk'],
  ['parsePolicy', 'checkPolicy is the same, and says more'],
  ['parseShape', 'a schema of each route: zod alone'],
  ['parseJson', 'inside of all that read JSON'],
  ['parseTcti', 'a setting of the one who runs the agent'],
  ['parseDuration', 'an argument of the command line'],
  ['parseJsonPath', 'an argument of the command line: template.property.test.ts'],
  ['parseCustomColumns', 'an argument of the command line: template.property.test.ts'],
  ['parseBackupName', 'one regular expression, of a name of a file'],
  ['parseHeaderFrame', 'cuts 16 bytes off; what is left goes to luks-header'],
  ['parseOwner', 'asks parsePlace and parseForm of each text'],
  ['parseVerdict', 'a row of our own database'],
  ['parseParts', 'a row of our own database'],
  ['parseRow', 'rows of our own database'],
  ['parseRows', 'rows of our own database'],
  ['parseAwsMachine', 'one regular expression: test/manifests/cloud'],
  ['parseGceMachine', 'one regular expression: test/manifests/cloud'],
]);

describe('the list of fuzzed parsers', () => {
  const fuzzed = globSync('test/fuzz/parsers/*.ts', { cwd: root }).map(read).join('\n');

  it('names each function that parses, or says why it does not', () => {
    const names = globSync('{agent,attest-server,manifests/cloud}/**/*.ts', {
      cwd: root,
      exclude: ['**/node_modules/**'],
    }).flatMap((name) =>
      [...read(name).matchAll(/^export (?:function\*?|const) (parse[A-Z]\w*)/gm)].map(
        ([, found = '']) => found,
      ),
    );
    assert.ok(names.length > 60);
    assert.deepEqual(
      [...new Set(names)].filter((name) => !apart.has(name) && !new RegExp(`\\b${name}\\b`).test(fuzzed)),
      [],
    );
  });

  it('gives no reason for a function that is not there, or that is fuzzed all the same', () => {
    const all = globSync('{agent,attest-server,manifests/cloud}/**/*.ts', {
      cwd: root,
      exclude: ['**/node_modules/**'],
    })
      .map(read)
      .join('\n');
    for (const name of apart.keys())
      assert.match(all, new RegExp(`^export (?:function\\*?|const) ${name}\\b`, 'm'), name);
  });

  it('is that of docs/fuzzing.md, and has recordings and sources for each', async () => {
    const [, page = ''] = read('docs/fuzzing.md').split('\n## The parsers\n');
    const [table = ''] = page.split('\n## ');
    const rows = [...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name]) => name);
    assert.deepEqual(new Set(rows), new Set(Object.keys(parsers)));
    for (const [name, load] of Object.entries(parsers)) {
      const { seeds, most, sources } = await load();
      assert.ok(
        seeds().some(({ length }) => length <= most),
        name,
      );
      for (const source of sources) assert.ok(read(source).length > 0, source);
    }
  }).timeout(60_000);
});
