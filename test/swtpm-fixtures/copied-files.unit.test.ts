import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { copyFiles, withoutDeadLinks } from '../../swtpm-fixtures/set-up/copied-files.ts';
import { checkPacked } from '../release/packed.ts';

const root = join(import.meta.dirname, '../..');

describe('what the package has of this tree as it is', () => {
  it('are files that somebody meant, and every link in them leads to a file', () => {
    const out = mkdtempSync(join(tmpdir(), 'assay-copied-'));
    try {
      copyFiles(root, out);
      assert.deepEqual(checkPacked(out, root), []);
      assert.ok(!existsSync(join(out, 'CONTRIBUTING.md')));
      const page = (folder: string) => readFileSync(join(folder, 'docs/reference-commands.md'), 'utf8');
      assert.match(page(root), /\[CONTRIBUTING\.md\]\(/);
      assert.equal(page(out), page(root).replace(/\[(CONTRIBUTING\.md)\]\([^)]*\)/g, '$1'));
    } finally {
      rmSync(out, { recursive: true });
    }
  });

  for (const [given, wanted] of [
    ['See [a test](../test/a.ts#b) and [a page](there.md#c).', 'See a test and [a page](there.md#c).'],
    ['[`code`](../test/a.ts), [two\nlines](gone.md)', '`code`, two\nlines'],
    ['![a picture\nof it](gone.svg) ![another](there.md)', 'a picture\nof it ![another](there.md)'],
    [
      '[a list [1]](gone.md) [own](#part) [site](https://host.example/a)',
      'a list [1] [own](#part) [site](https://host.example/a)',
    ],
    [
      '`[a](gone.md)`\n```text\n[a](gone.md)\n```\n[a](gone.md)',
      '`[a](gone.md)`\n```text\n[a](gone.md)\n```\na',
    ],
  ] as const)
    it(`keep of ${JSON.stringify(given)} what leads somewhere, and code`, () => {
      assert.equal(
        withoutDeadLinks(given, (path) => path === 'there.md'),
        wanted,
      );
    });
});
