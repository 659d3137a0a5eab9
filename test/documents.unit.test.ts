import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'mocha';
import { netfilterConfig } from '../agent/netfilter/config.ts';
import { builtAspects } from '../attest-server/policy/aspects.ts';
import { knownKeys } from '../attest-server/policy/file/policy-schema.ts';
import { schemaVersion } from '../attest-server/store/sqlite/migrations.ts';
import { partNames } from '../attest-server/wire/evidence.ts';
import { facts } from '../attest-server/wire/facts.ts';

const root = join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const documents = globSync('{*,{docs,manifests}/*,manifests/*/*,docs/runbooks/*}.md', { cwd: root }).sort();

describe('docs/privileges.md', () => {
  const sectionOf = (heading: string) =>
    read('docs/privileges.md')
      .split(/\n(?=## )/)
      .find((text) => text.startsWith(`## ${heading}\n`)) ?? '';

  it('has every setting of netfilter, with the variable and the default that it has', () => {
    const rows = [
      ...sectionOf('Netfilter').matchAll(
        /^\| `(\w+)` \| `(\w+)`, `(--[\w-]+)` \| (?:`([^`]+)`|its own|none) \|/gm,
      ),
    ];
    const defaults: Readonly<Record<string, unknown>> = { ...netfilterConfig({}, {}) };
    assert.deepEqual(
      rows.map(([, key]) => key),
      Object.keys(defaults),
    );
    for (const [, key = '', variable = '', , shown] of rows) {
      assert.equal(shown ?? null, defaults[key], key);
      const given = key === 'logLevel' ? 'debug' : '/tmp/given';
      assert.equal({ ...netfilterConfig({ [variable]: given }, {}) }[key as keyof typeof defaults], given);
    }
  });

  it('has a source for every part of evidence and for all that a node says of its host', () => {
    const named = sectionOf('Facts');
    const host = Object.keys(facts.shape.host.unwrap().shape).filter((name) => name !== 'kernel');
    assert.deepEqual(
      [...partNames, ...host].filter((name) => !named.includes(`\`${name}\``)),
      [],
    );
  });
});

describe('docs/policy.md', () => {
  const page = read('docs/policy.md');
  const keysIn = (text: string) => [...text.matchAll(/^\| `([\w.]+)` \|/gm)].map(([, key = '']) => key);

  it('has each key of a group once: in the table, or among those that are not built', () => {
    const [section = ''] = /^## A group$[\s\S]*?^## /m.exec(page) ?? [];
    const [unbuilt = ''] = /not built yet:[^.]*\./.exec(section) ?? [];
    const named = [...unbuilt.matchAll(/`(\w+)/g)].map(([, key = '']) => key);
    assert.deepEqual([...keysIn(section), ...named].sort(), [...knownKeys(['groups', 0])].sort());
  });

  it('has each key of the aspects for which the node itself vouches, once', () => {
    const wanted = ['disk', 'firewall', 'host'].flatMap((aspect) =>
      knownKeys(['groups', 0, aspect]).map((key) => `${aspect}.${key}`),
    );
    assert.deepEqual(
      keysIn(page)
        .filter((key) => key.includes('.'))
        .sort(),
      wanted.sort(),
    );
  });
});

describe('README.md', () => {
  it('has at most 200 lines, none of prose longer than 150 characters', () => {
    const lines = read('README.md').trimEnd().split('\n');
    assert.ok(lines.length <= 200, String(lines.length));
    assert.deepEqual(
      lines.filter((line) => line.length > 150 && !line.startsWith('|')),
      [],
    );
  });

  it('leads to the map of docs, and that to each page', () => {
    const pages = globSync('*.md', { cwd: join(root, 'docs') }).filter((page) => page !== 'README.md');
    const linked = linksIn(read('docs/README.md')).map((link) => link.replace(/#.*/, ''));
    assert.deepEqual(
      pages.filter((page) => !linked.includes(page)),
      [],
    );
    assert.ok(linksIn(read('README.md')).includes('docs/README.md'));
  });
});

describe('docs/comparison.md', () => {
  it('names its sources for each of the other tools', () => {
    const rows = read('docs/comparison.md')
      .split('\n')
      .filter((line) => /^\| \*\*(?!Assay)/.test(line));
    assert.equal(rows.length, 7);
    for (const row of rows) assert.ok((row.match(/\]\(https:/g) ?? []).length >= 3, row);
  });
});

describe('the tour in README.md', () => {
  it('writes files where no check of this repository reads them', () => {
    const [, tour = ''] = /^## A tour[^\n]*$([\s\S]*?)^## /m.exec(read('README.md')) ?? [];
    const written = [...tour.matchAll(/ (?:-f|export) ([^\s`]+)/g)].map(([, file = '']) => file);
    assert(written.length > 0);
    assert.deepEqual(
      written.filter((file) => !file.startsWith('.assay/')),
      [],
    );
    assert.match(read('.gitignore'), /^\.assay\/$/m);
    assert.match(read('biome.json'), /"useIgnoreFile": true/);
    assert.match(read('cspell.json'), /"useGitignore": true/);
  });
});

describe('the documents', () => {
  it('count the aspects that are built as they are', () => {
    const named = builtAspects.map((name) => `\`${name}\``);
    const list = `${named.slice(0, -1).join(', ')} and ${named.at(-1)}`;
    assert.ok(read('ARCHITECTURE.md').includes(`The contract knows six aspects: ${list}.`));
    const [notBuilt = ''] = /^Not built yet:$[\s\S]*/m.exec(read('docs/concepts.md')) ?? [];
    assert.notEqual(notBuilt, '');
    assert.deepEqual(
      named.filter((name) => notBuilt.includes(name)),
      [],
    );
  });

  it('tell whoever upgrades which schema the database then has', () => {
    const [, latest] = /brings the database to schema (\d+)/.exec(read('CHANGELOG.md')) ?? [];
    assert.equal(latest, String(schemaVersion));
  });

  for (const document of documents)
    it(`${document} has no row of a table twice`, () => {
      const rows = read(document)
        .replace(/^```[\s\S]*?^```/gm, '')
        // A table that is made of the chart has a row for each right of one program; its own test compares it.
        .replace(/^<!-- made of the chart -->[\s\S]*?^<!-- end -->/gm, '')
        .split('\n\n')
        .flatMap((table) => repeated(table.split('\n').filter((line) => /^\| [^|]+ \|/.test(line))));
      assert.deepEqual(rows, []);
    });

  for (const document of documents)
    it(`${document} links to what is there`, () => {
      const faults = linksIn(read(document)).filter((link) => !leadsSomewhere(document, link));
      assert.deepEqual(faults, []);
    });

  // Outside of a clone npx asks a registry for the package, and runs what a stranger has put there.
  for (const document of documents)
    it(`${document} types npx in a clone alone`, () => {
      const faults = read(document)
        .split(/\n(?=#)/)
        .filter((section) => !section.startsWith('## A tour'))
        .flatMap((section) => section.split('\n\n'))
        .filter((paragraph) => /\bnpx\b/.test(paragraph) && !/\bin a clone\b/i.test(paragraph));
      assert.deepEqual(faults, []);
    });

  it('are found to link to nothing where a file or a heading is missing', () => {
    for (const link of ['docs/none.md', '#no-such-heading', 'docs/policy.md#no-such-heading'])
      assert.equal(leadsSomewhere('README.md', link), false, link);
    assert.deepEqual(linksIn('[a](b.md) `[c](d.md)` [e](f.md#g) <https://h.example>'), ['b.md', 'f.md#g']);
  });
});

function repeated(lines: readonly string[]): readonly string[] {
  const heads = lines.map((line) => line.split('|')[1]);
  return lines.filter((_, index) => heads.indexOf(heads[index]) !== index);
}

/** Targets of the links to this repository, without those in code. */
function linksIn(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target));
}

function leadsSomewhere(document: string, link: string): boolean {
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? document : join(dirname(document), path);
  if (!existsSync(join(root, target))) return false;
  return anchor === undefined || anchorsIn(read(target)).includes(anchor);
}

/** As GitHub makes them of headings. */
function anchorsIn(text: string): string[] {
  const seen = new Map<string, number>();
  const prose = text.replace(/^```[\s\S]*?^```/gm, '');
  return [...prose.matchAll(/^#{1,6} (.*)$/gm)].map(([, heading = '']) => {
    const anchor = heading
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
}
