import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { endOf } from '../swtpm-fixtures/end-of.ts';
import { compiler, copyProduct, differences, notKept } from './product-copy.ts';

const root = join(import.meta.dirname, '../..');

/** The toy, under a word that the contract does not know yet. */
const renamed = (text: string) => text.replace(/\binitrds\b/g, 'notes');

/** Its own three files: their place in the product, and the toy's. */
const added = {
  'agent/collectors/notes.ts': 'notes-collector.ts',
  'attest-server/attest/supplements/notes.ts': 'supplement/notes.ts',
  'attest-server/verify/listed-notes.ts': 'listed-notes.ts',
} as const;

/** Lists and words of the contract: what of each file is replaced, and by what. */
const edited: Readonly<Record<string, readonly (readonly [from: RegExp, to: string])[]>> = {
  'agent/collectors/list.ts': [
    [/^/, "import { notes } from './notes.ts';\n"],
    [/(?=^\];$)/m, '  notes,\n'],
  ],
  'attest-server/attest/supplements/list.ts': [
    [/^/, "import { Notes } from './notes.ts';\n"],
    [/(?=^ {2}\];$)/m, '    new Notes(readPart),\n'],
  ],
  'attest-server/protocol/evidence.ts': [
    [/(?<=^export const partNames = \[\n)/m, "  'notes',\n"],
    [/(?<=^export const partBytes[^{]*\{\n)/m, '  notes: 1024,\n'],
    [/(?<=^export const growingParts[^[]*\[)/m, "'notes', "],
  ],
  'attest-server/protocol/supplements.ts': [
    [/^/, "import { parseDigestLines } from './digest-lines.ts';\n"],
    [/(?<=^export const supplementNames = \[[^\]]*)(?=\])/m, ", 'notes'"],
    [
      /(?<=^export const supplementForms[^=]*= \{\n)/m,
      `  notes: {
    head: 'assay/notes/1\\n',
    listed: (part) => parseDigestLines({ head: 'assay/notes/1\\n', part: 'notes', count: 8 }, part),
    piece: 4096,
    pieces: 8,
    first: 32_768,
    most: 32_768,
    isReadAtOnce: true,
  },
`,
    ],
  ],
  'attest-server/verify/listed-parts.ts': [
    [/^/, "import { checkNotes } from './listed-notes.ts';\n"],
    [/(?<=^export interface ListedParts \{\n)/m, '  readonly notes: ReadonlyMap<string, string>;\n'],
    [/(?<=^ {2}return \{\n)/m, '    notes: checkNotes(check),\n'],
  ],
};

const touched = [...Object.keys(added), ...Object.keys(edited)].sort();

/** What CONTRIBUTING.md says of a new supplement is this: its own three files, and these of others. */
describe('a fourth supplement, whose words are new', () => {
  let folder = '';
  let copy = '';

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-fourth-'));
    copy = join(folder, 'product');
    await copyProduct(copy);
    for (const [place, toy] of Object.entries(added)) await put(place, renamed(await read(toy)));
    for (const [file, changes] of Object.entries(edited))
      await put(file, changes.reduce(replaced, await readFile(join(copy, file), 'utf8')));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const read = (toy: string) => readFile(join(import.meta.dirname, toy), 'utf8');
  async function put(place: string, text: string): Promise<void> {
    await mkdir(dirname(join(copy, place)), { recursive: true });
    await writeFile(join(copy, place), text);
  }

  it('fits the types of all others', async () => {
    assert.equal(await ran(...compiler(copy)), '');
  }).timeout(120_000);

  it('touches eight files of the product, each of which ARCHITECTURE.md names', async () => {
    assert.deepEqual(await differences(copy), touched);
    assert.equal(touched.length, 8);
    const page = await readFile(join(root, 'ARCHITECTURE.md'), 'utf8');
    const [, section = ''] = /^## The supplement is a unit\n([\s\S]*?)^## /m.exec(page) ?? [];
    const named = Object.keys(edited).map((file) => file.replace('attest-server/', ''));
    assert.deepEqual(
      named.filter((file) => !section.includes(file)),
      [],
    );
  });

  it('goes from a file of the node over the wire to what is verified, kept and exported', async () => {
    const note = 'the rack was moved\n';
    const digest = hash('sha256', note, 'hex');
    const sysroot = join(folder, 'node');
    for (const [file, text] of [
      ['etc/notes/one', note],
      ['etc/notes/other', 'that nobody asks for'],
      ['proc/sys/kernel/random/boot_id', '6f9619ff-8b86-d011-b42d-00cf4fc964ff\n'],
    ] as const) {
      await mkdir(dirname(join(sysroot, file)), { recursive: true });
      await writeFile(join(sysroot, file), text);
    }
    await put('test/toy/supplement/story.ts', renamed(await read('supplement/story.ts')));
    assert.deepEqual(JSON.parse(await ran(join(copy, 'test/toy/supplement/story.ts'), sysroot, digest)), {
      first: { is: 'more' },
      asked: { of: [digest], from: 0, bootId: null },
      verified: [[digest, note]],
      inBundle: note,
      wants: null,
    });
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
