import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { typeCheck, typeCheckEnvironment } from '../compiler.ts';
import { endOf } from '../swtpm-fixtures/end-of.ts';
import { differences, environmentOf, makeProductCopy, touched } from './product-copy.ts';

const root = join(import.meta.dirname, '../..');

/** What is added to the product, and touches eight of its files. */
interface Addition {
  /** Gives the toy the words that the contract does not know yet. */
  readonly renamed: (text: string) => string;
  /** Its own files: their place in the product, and the toy's. */
  readonly added: Readonly<Record<string, string>>;
  /** Lists and words of the contract: what of each file is replaced, and by what. */
  readonly edited: Readonly<Record<string, readonly (readonly [from: RegExp, to: string])[]>>;
  /** Of CONTRIBUTING.md. */
  readonly section: string;
}

/** Of the collectors. */
const listEnd = /(?<=^export const collectors = [^[]*\[\] => \[[^\]]*?),?\s*(?=\];$)/m;

const aspect: Addition = {
  renamed: (text) =>
    text
      .replace(/\b(?:runtime|listedPrograms)\b/g, 'programs')
      .replace(/\binventory\b/g, 'programs')
      .replaceAll('ima_unknown_file', 'program_unknown'),
  added: {
    'attest-server/policy/programs/programs.ts': 'aspect/runtime.ts',
    'agent/collectors/programs.ts': 'collector.ts',
  },
  edited: {
    'attest-server/policy/aspects.ts': [
      [/^/, "import { programs } from './programs/programs.ts';\n"],
      [/(?<=^const listed = \[[^\]]*)(?=\] as const;$)/m, ', programs'],
    ],
    'agent/collectors/list.ts': [
      [/^/, "import { programs } from './programs.ts';\n"],
      [listEnd, ', programs'],
    ],
    'attest-server/wire/verdict.ts': [[/(?<=^export const aspects = \[[^\]]*)(?=\])/m, ", 'programs'"]],
    'attest-server/wire/evidence.ts': [
      [/(?<=^export const partNames = \[\n)/m, "  'programs',\n"],
      [/(?<=^export const partBytes[^{]*\{\n)/m, '  programs: 65_536,\n'],
    ],
    'attest-server/wire/reasons.ts': [[/(?<=^ {2}drift: \[\n)/m, "    'program_unknown',\n"]],
    'attest-server/formats/reference.ts': [
      [/(?<=^export const referenceKinds = \[[^\]]*)(?=\])/m, ", 'programs'"],
      [
        /(?<=^export const kindWords[^=]*= \{\n)/m,
        "  programs: { one: 'runs', many: 'run', contents: 'programs' },\n",
      ],
      [/(?<=^export const reference = z\.strictObject\(\{\n)/m, '  programs: runtimeFiles.optional(),\n'],
    ],
  },
  section: 'Add an aspect',
};

const supplement: Addition = {
  renamed: (text) => text.replace(/\binitrds\b/g, 'notes'),
  added: {
    'agent/collectors/notes.ts': 'notes-collector.ts',
    'attest-server/attest/supplements/notes.ts': 'supplement/notes.ts',
    'attest-server/verify/listed-notes.ts': 'listed-notes.ts',
  },
  edited: {
    'agent/collectors/list.ts': [
      [/^/, "import { notes } from './notes.ts';\n"],
      [listEnd, ', notes'],
    ],
    'attest-server/attest/supplements/list.ts': [
      [/^/, "import { Notes } from './notes.ts';\n"],
      [/(?=^ {2}\];$)/m, '    new Notes(readPart),\n'],
    ],
    'attest-server/wire/evidence.ts': [
      [/(?<=^export const partNames = \[\n)/m, "  'notes',\n"],
      [/(?<=^export const partBytes[^{]*\{\n)/m, '  notes: 1024,\n'],
      [/(?<=^export const growingParts[^[]*\[)/m, "'notes', "],
    ],
    'attest-server/wire/supplements.ts': [
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
  },
  section: 'Add a supplement',
};

/** A role is a row of one file. */
const role: Addition = {
  renamed: (text) => text,
  added: {},
  edited: {
    'attest-server/wire/roles.ts': [
      [
        /(?=^\} satisfies)/m,
        `  survey: {
    sends: ['hello', 'activated', 'evidence', 'opened'],
    proves: ['identity', 'disk'],
    gets: [],
    makesTrusted: false,
    showsTokens: false,
    stays: false,
  },
`,
      ],
    ],
  },
  section: 'Add a role',
};

const touchedBy = ({ added, edited }: Addition) => [...Object.keys(added), ...Object.keys(edited)];

/** What CONTRIBUTING.md says of a new aspect and of a new supplement is this: their own files, and these of others. */
describe('a seventh aspect, a fourth supplement and a fourth role, all of whose words are new', () => {
  let folder = '';
  let copy = '';

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-new-words-'));
    copy = join(folder, 'product');
    await makeProductCopy(copy);
    for (const { renamed, added, edited } of [aspect, supplement, role]) {
      for (const [place, toy] of Object.entries(added)) await put(copy, place, renamed(await read(toy)));
      for (const [file, changes] of Object.entries(edited))
        await put(copy, file, changes.reduce(replaced, await readFile(join(copy, file), 'utf8')));
    }
  });
  after(() => rm(folder, { recursive: true, force: true }));

  // All at once, with the toy that has no new word: none knows of the others, and the product is checked once.
  it('fit the types of all others, as an aspect does that is four files', async () => {
    assert.equal(await ran(typeCheck(copy), typeCheckEnvironment), '');
  }).timeout(120_000);

  for (const [what, files, addition] of [
    ['the aspect', 8, aspect],
    ['the supplement', 8, supplement],
    ['the role', 1, role],
  ] as const)
    it(`touch so many files of the product, which CONTRIBUTING.md names: ${what} ${files}`, async () => {
      assert.equal(new Set(touchedBy(addition)).size, files);
      const page = await readFile(join(root, 'CONTRIBUTING.md'), 'utf8');
      const [, section = ''] = new RegExp(`^## ${addition.section}\n([\\s\\S]*?)^## `, 'm').exec(page) ?? [];
      const named = Object.keys(addition.edited).map((file) => file.replace('attest-server/', ''));
      assert.deepEqual(
        named.filter((file) => !section.includes(file)),
        [],
      );
    });

  it('touch no other file', async () => {
    const all = new Set([...touched, ...[aspect, supplement, role].flatMap(touchedBy)]);
    assert.deepEqual(await differences(copy), [...all].sort());
  });

  it('the aspect is in the grammar of policies', async () => {
    const schema = await ranIn(copy, join(copy, 'attest-server/cli/assay.mjs'), 'policy', 'schema');
    assert.match(schema, /the programs must be those of an active reference/);
  });

  it('the aspect launders no node, though it knows nothing of what stood against one (row 349)', async () => {
    assert.deepEqual(
      (await ranIn(copy, join(import.meta.dirname, 'hidden-programs.ts'), copy)).trim().split('\n'),
      [
        'changed: untrusted',
        'left out in silence: untrusted',
        'said to be unreadable: untrusted',
        'facts unavailable: untrusted',
        'again: untrusted',
        'good: trusted',
      ],
    );
  });

  it('the role may send, prove and get what its row says, and is never taken for another one', async () => {
    assert.deepEqual(JSON.parse(await ranIn(copy, join(import.meta.dirname, 'role-story.ts'), copy)), {
      allowed: ['identify', 'opened'],
      denied: ['identify', 'refuse role_denied'],
      unknown: 'refuse malformed',
      named: 'survey',
      judged: ['pending', 'rebooted', 'an answer of the survey'],
      agent: ['trusted', 'no_reference', null],
      withoutRow: ['rejected', 'malformed', null],
    });
  });

  it('the supplement goes from a file of the node over the wire to what is verified, kept and exported', async () => {
    const note = 'the rack was moved\n';
    const digest = hash('sha256', note, 'hex');
    const sysroot = join(folder, 'node');
    for (const [file, text] of [
      ['etc/notes/one', note],
      ['etc/notes/other', 'that nobody asks for'],
      ['proc/sys/kernel/random/boot_id', '6f9619ff-8b86-d011-b42d-00cf4fc964ff\n'],
    ] as const)
      await put(sysroot, file, text);
    await put(copy, 'test/toy/supplement/story.ts', supplement.renamed(await read('supplement/story.ts')));
    assert.deepEqual(
      JSON.parse(await ranIn(copy, join(copy, 'test/toy/supplement/story.ts'), sysroot, digest)),
      {
        first: { is: 'more' },
        asked: { of: [digest], from: 0, bootId: null },
        verified: [[digest, note]],
        inBundle: note,
        wants: null,
      },
    );
  });
});

const read = (toy: string) => readFile(join(import.meta.dirname, toy), 'utf8');

async function put(folder: string, place: string, text: string): Promise<void> {
  await mkdir(dirname(join(folder, place)), { recursive: true });
  await writeFile(join(folder, place), text);
}

function replaced(text: string, [from, to]: readonly [RegExp, string]): string {
  assert.match(text, from);
  return text.replace(from, to);
}

const ranIn = (copy: string, ...args: readonly string[]) => ran(args, environmentOf(copy));

/** What a program of this Node prints. */
async function ran(args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  const { stdout, stderr } = await endOf(args, env);
  assert.equal(stderr, '');
  return stdout;
}
