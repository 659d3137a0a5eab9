import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';

const root = join(import.meta.dirname, '..');

/** Turns of phrase that no docstring comes back to, each with its plain word. */
const dullWords: readonly (readonly [RegExp, string])[] = [
  [/^What\b/, 'name the subject'],
  [/\b(?:null|undefined|absent|infinity|empty),? where\b/i, 'null if'],
  [/\bof before\b/, 'earlier'],
  [/\banew\b/, 'again'],
  [/\bnone any more\b/, 'no longer'],
  [/^Told\b/, 'called'],
  [/\btold nowhere\b/, 'is not reported'],
  [/\bfail alike\b/, 'fail the same way'],
  [/\bdear(?:er|est|ly)?\b/, 'expensive'],
  [/\bmend(?:s|ed|ing)?\b/, 'fix'],
  [/\bclock that nobody sets\b/, 'monotonic'],
  [/\bwhere these are taken\b/, 'if those are in use'],
];

/** Every page that people read, and so what `--help` prints; not what happened in earlier versions. */
const pages = ['*.md', 'docs/**/*.md', 'manifests/**/*.md'];

/** Turns of phrase in the order of another language, each with the plain one. */
const foreignPhrases: readonly (readonly [RegExp, string])[] = [
  [/(?<!-)\banew\b/, 'again'],
  [/\ball the same\b/, 'anyway'],
  [/\bfails? alike\b/, 'fail the same way'],
  [/\b(?:copy|version|run|server) of before\b/, 'earlier'],
  [/\bthe version before\b/i, 'the earlier version'],
  [/\btold nowhere\b/, 'is not reported'],
  [/\bwhere (?:these|they) are taken\b/, 'if those are in use'],
  [/\bis to be had\b/, 'is available'],
  [/\bnone any more\b/, 'no longer'],
  [/\bexits? with \d+ where\b/, 'exits with … if'],
  [/\b[Ee]nds with (?:\d|`?\d)/, 'exits with'],
  [/\bremoves none\b/, 'never deletes'],
  [/\bmend(?:s|ed|ing)?\b/i, 'fix'],
  [/\bis to be (?:done|seen|found)\b/, 'you need to do; shows'],
  [/\bin the place of\b/, 'in place of'],
  [/\b(?:is|are) told(?: by|$|[,;:.|])/, 'is reported'],
  [
    /(?:^|[.;:] )Who [a-z]+ [^|?.,]+ (?:may|can|is|has|needs|sees|gets|captures|begins)\b(?![^|?]*\?)/,
    'anyone who',
  ],
  [/\b[Ww]ere it\b/, 'even if it is'],
  [/\bhimself\b/, 'themselves'],
  [/\bshown to everybody else\b/, 'everybody else sees'],
  [/\boutside of (?:a|the) cluster\b/, 'outside the cluster'],
];

interface SourceFile {
  readonly path: string;
  readonly text: string;
}

function sourcesOf(side: 'agent' | 'attest-server'): readonly SourceFile[] {
  return globSync(join(side, '**/*.ts'), { cwd: root, exclude: ['**/node_modules'] }).map((path) => ({
    path,
    text: readFileSync(join(root, path), 'utf8'),
  }));
}

/** Names of types that several of these files declare, exported or not, with the files. */
function sharedTypes(files: readonly SourceFile[]): ReadonlyMap<string, readonly string[]> {
  const declared = new Map<string, Set<string>>();
  for (const { path, text } of files)
    for (const [, name = ''] of text.matchAll(
      /^(?:export )?(?:declare )?(?:abstract )?(?:interface|class|type) (\w+)(?=[^,}]*[{=])/gm,
    ))
      declared.set(name, (declared.get(name) ?? new Set()).add(path));
  return new Map(
    [...declared].flatMap(([name, paths]) => (paths.size > 1 ? [[name, [...paths].sort()] as const] : [])),
  );
}

/** One docstring's dull turns of phrase: the words to use instead. */
function dullIn(docstring: string): readonly string[] {
  const text = docstring
    .replace(/\s*\n\s*\*/g, '')
    .replace(/^\/\*\*|\*\/$/g, '')
    .trim();
  return dullWords.flatMap(([phrase, instead]) => (phrase.test(text) ? [instead] : []));
}

describe('the words of the code', () => {
  it('are compared as declared', () => {
    const files = [
      { path: 'a.ts', text: "import { type Place,\n type Known } from 'x';\ninterface Place {\n}" },
      { path: 'b.ts', text: 'export type Place = string;\nexport class Known<T> extends Place {' },
      { path: 'c.ts', text: 'export abstract class Known {' },
    ];
    assert.deepEqual(
      [...sharedTypes(files)],
      [
        ['Place', ['a.ts', 'b.ts']],
        ['Known', ['b.ts', 'c.ts']],
      ],
    );
    assert.deepEqual(dullIn('/**\n * What it is; null\n * where nobody says.\n */'), [
      'name the subject',
      'null if',
    ]);
    assert.deepEqual(dullIn('/** Whatever somewhere is null. */'), []);
  });

  for (const side of ['agent', 'attest-server'] as const) {
    it(`give one type of ${side} one name`, () => {
      assert.deepEqual([...sharedTypes(sourcesOf(side))], []);
    });

    it(`are plain in the docstrings of ${side}`, () => {
      const found = sourcesOf(side).flatMap(({ path, text }) =>
        [...text.matchAll(/\/\*\*.*?\*\//gs)].flatMap(({ index, 0: docstring }) =>
          dullIn(docstring).map(
            (instead) => `${path}:${text.slice(0, index).split('\n').length}: ${instead}`,
          ),
        ),
      );
      assert.deepEqual(found, []);
    });
  }
});

describe('the words of documents', () => {
  const foreignIn = (text: string) =>
    text
      .split('\n')
      .flatMap((line, at) =>
        foreignPhrases.flatMap(([phrase, instead]) => (phrase.test(line) ? [`${at + 1}: ${instead}`] : [])),
      );

  it('are found where they follow the order of another language', () => {
    assert.deepEqual(foreignIn('Begin\nanew where these are taken'), ['2: again', '2: if those are in use']);
    assert.deepEqual(
      foreignIn('Who rotates keys sees it. Mend it\nIt is told in the log, or in the place of'),
      ['1: fix', '1: anyone who', '2: in place of'],
    );
    assert.deepEqual(foreignIn('audit-key --start-anew\nWho may call this API. Who has it?'), []);
  });

  for (const page of globSync(pages, { cwd: root }).filter((file) => file !== 'CHANGELOG.md'))
    it(`are plain in ${page}`, () => {
      assert.deepEqual(foreignIn(readFileSync(join(root, page), 'utf8')), []);
    });
});
