import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { endOf } from '../swtpm-fixtures/end-of.ts';
import { compiler, copyProduct, differences, notKept } from './product-copy.ts';

const root = join(import.meta.dirname, '../..');

/** The toy, under words that the contract does not know yet. */
const renamed = (text: string) =>
  text
    .replace(/\bruntime\b/g, 'programs')
    .replace(/\binventory\b/g, 'programs')
    .replaceAll('ima_unknown_file', 'program_unknown');

/** Its own two files: their place in the product, and the toy's. */
const added = {
  'attest-server/policy/programs/programs.ts': 'aspect/runtime.ts',
  'agent/collectors/programs.ts': 'collector.ts',
} as const;

/** Lists and words of the contract: what of each file is replaced, and by what. */
const edited: Readonly<Record<string, readonly (readonly [from: RegExp, to: string])[]>> = {
  'attest-server/policy/aspects.ts': [
    [/^/, "import { programs } from './programs/programs.ts';\n"],
    [/(?<=^const listed = \[[^\]]*)(?=\] as const;$)/m, ', programs'],
  ],
  'agent/collectors/list.ts': [
    [/^/, "import { programs } from './programs.ts';\n"],
    [/(?=^\];$)/m, '  programs,\n'],
  ],
  'attest-server/protocol/verdict.ts': [[/(?<=^export const aspects = \[[^\]]*)(?=\])/m, ", 'programs'"]],
  'attest-server/protocol/evidence.ts': [
    [/(?<=^export const partNames = \[\n)/m, "  'programs',\n"],
    [/(?<=^export const partBytes[^{]*\{\n)/m, '  programs: 65_536,\n'],
  ],
  'attest-server/protocol/reasons.ts': [[/(?<=^ {2}drift: \[\n)/m, "    'program_unknown',\n"]],
  'attest-server/protocol/reference.ts': [
    [/(?<=^export const referenceKinds = \[[^\]]*)(?=\])/m, ", 'programs'"],
    [
      /(?<=^export const kindWords[^=]*= \{\n)/m,
      "  programs: { one: 'runs', many: 'run', contents: 'programs' },\n",
    ],
    [/(?<=^export const reference = z\.strictObject\(\{\n)/m, '  programs: runtimeFiles.optional(),\n'],
  ],
};

const touched = [...Object.keys(added), ...Object.keys(edited)].sort();

/** What CONTRIBUTING.md says of a new aspect is this: its own two files, and these of others. */
describe('a seventh aspect, all of whose words are new', () => {
  let copy = '';

  before(async () => {
    copy = await mkdtemp(join(tmpdir(), 'assay-seventh-'));
    await copyProduct(copy);
    for (const [place, toy] of Object.entries(added)) {
      await mkdir(dirname(join(copy, place)), { recursive: true });
      const text = await readFile(join(import.meta.dirname, toy), 'utf8');
      await writeFile(join(copy, place), renamed(text));
    }
    for (const [file, changes] of Object.entries(edited))
      await writeFile(join(copy, file), changes.reduce(replaced, await readFile(join(copy, file), 'utf8')));
  });
  after(() => rm(copy, { recursive: true, force: true }));

  it('fits the types of all others', async () => {
    assert.equal(await ran(...compiler(copy)), '');
  });

  it('is in the grammar of policies', async () => {
    const schema = await ran(join(copy, 'attest-server/cli/assay.mjs'), 'policy', 'schema');
    assert.match(schema, /the programs must be those of an active reference/);
  });

  it('launders no node, though it knows nothing of what stood against one (row 349)', async () => {
    assert.deepEqual((await ran(join(import.meta.dirname, 'hidden-programs.ts'), copy)).trim().split('\n'), [
      'changed: untrusted',
      'left out in silence: untrusted',
      'said to be unreadable: untrusted',
      'facts unavailable: untrusted',
      'again: untrusted',
      'good: trusted',
    ]);
  });

  it('touches eight files of the product, each of which ARCHITECTURE.md names', async () => {
    assert.deepEqual(await differences(copy), touched);
    assert.equal(touched.length, 8);
    const page = await readFile(join(root, 'ARCHITECTURE.md'), 'utf8');
    const [, section = ''] = /^## The aspect is the unit\n([\s\S]*?)^## /m.exec(page) ?? [];
    const named = Object.keys(edited).map((file) => file.replace('attest-server/', ''));
    assert.deepEqual(
      named.filter((file) => !section.includes(file)),
      [],
    );
  });
});

function replaced(text: string, [from, to]: readonly [RegExp, string]): string {
  assert.match(text, from);
  return text.replace(from, to);
}

/** What a program of this Node prints. */
async function ran(...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await endOf(args, notKept);
  assert.equal(stderr, '');
  return stdout;
}
