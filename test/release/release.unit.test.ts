import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import type { Fault } from './fault.ts';
import { checkGenerated, makeGenerated } from './generated.ts';
import { checkGit } from './git.ts';
import { checkLicences } from './licences.ts';
import { checkLockfile } from './lockfile.ts';
import { checkPacked } from './packed.ts';
import { checkRecordings } from './recordings.ts';
import { checkVersions } from './versions.ts';

const root = join(import.meta.dirname, '../..');

/** What the checks read of this tree, as a copy that a test may spoil. */
describe('a release', () => {
  let tree = '';
  const changelog = (version: string) =>
    `# Changelog\n\n## Unreleased\n\n## ${version} - 2026-11-27\n\n- A change.\n`;
  beforeEach(() => {
    tree = mkdtempSync(join(tmpdir(), 'assay-release-'));
    const files = ['package.json', 'package-lock.json', 'README.md', 'THIRD-PARTY-LICENSES.txt', 'docs'];
    for (const file of [...files, 'agent/node-tpm2/package.json', 'attest-server/version.ts'])
      cpSync(join(root, file), join(tree, file), { recursive: true });
    for (const folder of ['manifests', 'swtpm-fixtures', 'node_modules'])
      symlinkSync(join(root, folder), join(tree, folder));
    const { version } = JSON.parse(read('package.json'));
    write('CHANGELOG.md', changelog(version));
  });
  afterEach(() => rmSync(tree, { recursive: true }));

  const read = (file: string) => readFileSync(join(tree, file), 'utf8');
  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(tree, file)), { recursive: true });
    writeFileSync(join(tree, file), text);
  };
  /** Replaces the first such text. */
  const spoil = (file: string, from: string | RegExp, to: string) => {
    const text = read(file);
    const spoilt = text.replace(from, to);
    assert.notEqual(spoilt, text, `${file} has no ${from}`);
    writeFileSync(join(tree, file), spoilt);
  };
  const whats = (faults: readonly Fault[]) => faults.map(({ what }) => what);

  describe('has one version', () => {
    it('as it is', () => assert.deepEqual(checkVersions(tree), []));

    for (const [file, from, named] of [
      ['package-lock.json', /"version": "[^"]*"/, /^package-lock\.json, version is 9\.9\.9/],
      [
        'agent/node-tpm2/package.json',
        /"version": "[^"]*"/,
        /^agent\/node-tpm2\/package\.json, version is 9\.9\.9/,
      ],
      ['attest-server/version.ts', /version = '[^']*'/, /^attest-server\/version\.ts is 9\.9\.9/],
      ['README.md', /assay-\d+\.\d+\.\d+\.tgz/, /^README\.md, assay-… is 9\.9\.9/],
      ['docs/images.md', /assay-agent:\d+\.\d+\.\d+/, /^docs\/images\.md, assay-agent:… is 9\.9\.9/],
    ] as const)
      it(`or ${file} is named`, () => {
        spoil(file, from, String(from.exec(read(file))?.[0]).replace(/\d+\.\d+\.\d+/, '9.9.9'));
        const [what, ...more] = whats(checkVersions(tree));
        assert.match(what ?? '', named);
        assert.deepEqual(more, []);
      });

    it('or the chart is named', () => {
      rmSync(join(tree, 'manifests'));
      write('manifests/chart/Chart.yaml', 'name: assay\nversion: 9.9.9\nappVersion: "9.9.9"\n');
      assert.deepEqual(
        whats(checkVersions(tree)).map((what) => what.split(' is ')[0]),
        ['manifests/chart/Chart.yaml, version', 'manifests/chart/Chart.yaml, appVersion'],
      );
      rmSync(join(tree, 'manifests'), { recursive: true });
      assert.match(whats(checkVersions(tree))[0] ?? '', /^manifests\/chart\/Chart\.yaml, version is missing/);
    });

    it('or the section of the changelog is: without a date, of another version, or with something left over', () => {
      const good = read('CHANGELOG.md');
      spoil('CHANGELOG.md', /^## (\S+) - \S+$/m, '## $1');
      assert.match(whats(checkVersions(tree))[0] ?? '', /the newest section is "## \d/);
      write('CHANGELOG.md', good);
      spoil('CHANGELOG.md', /^## \S+ - /m, '## 9.9.9 - ');
      assert.match(whats(checkVersions(tree))[0] ?? '', /the newest section is "## 9\.9\.9 - /);
      write('CHANGELOG.md', good);
      spoil('CHANGELOG.md', '## Unreleased\n', '## Unreleased\n\n- A change.\n');
      assert.match(whats(checkVersions(tree))[0] ?? '', /something stands under Unreleased/);
    });
  });

  describe('has a lockfile', () => {
    it('as it is', () => assert.deepEqual(checkLockfile(tree), []));

    for (const [what, from, to, named] of [
      ['without the bytes of a package', /\n +"integrity": "[^"]*",/, '', /has no SHA-512 of its bytes/],
      ['with a weak digest', /"integrity": "sha512-/, '"integrity": "sha1-', /has no SHA-512 of its bytes/],
      [
        'that names a host',
        /("node_modules\/zod": \{\n)/,
        '$1      "resolved": "https://example.net/zod.tgz",\n',
        /node_modules\/zod names a host/,
      ],
      ['of another form', '"lockfileVersion": 3', '"lockfileVersion": 2', /lockfileVersion is 2/],
    ] as const)
      it(`and not one ${what}`, () => {
        spoil('package-lock.json', from, to);
        const [fault, ...more] = whats(checkLockfile(tree));
        assert.match(fault ?? '', named);
        assert.deepEqual(more, []);
      });

    it('of the versions that it asks for', () => {
      spoil('package.json', /"zod": "[^"]*"/, '"zod": "^4.0.0"');
      assert.match(whats(checkLockfile(tree))[0] ?? '', /zod is \^4\.0\.0, and the lockfile has 4\./);
    });
  });

  describe('passes on only what may be', () => {
    it('as it is', () => assert.deepEqual(checkLicences(tree), []));

    const withPackage = (license: string, text: string | null) => {
      rmSync(join(tree, 'node_modules'));
      mkdirSync(join(tree, 'node_modules'));
      write(
        'package-lock.json',
        JSON.stringify({ packages: { 'node_modules/taken': { version: '1.0.0' } } }),
      );
      write('node_modules/taken/package.json', JSON.stringify({ license }));
      if (text !== null) write('node_modules/taken/LICENSE', text);
      return whats(checkLicences(tree)).filter((what) => what.startsWith('taken '));
    };
    for (const [license, text, isAllowed] of [
      ['MIT', 'Permission', true],
      ['(MIT OR GPL-3.0-only)', 'Permission', true],
      ['Unlicense', null, true],
      ['GPL-3.0-only', 'Permission', false],
      ['MIT AND GPL-3.0-only', 'Permission', false],
      ['SEE LICENSE IN FILE', 'Permission', false],
      ['MIT', null, false],
    ] as const)
      it(`${isAllowed ? '' : 'and not '}${license} ${text === null ? 'without' : 'with'} its text`, () => {
        const faults = withPackage(license, text);
        assert.equal(faults.length === 0, isAllowed, faults.join());
      });

    it('with the texts of all of it', () => {
      spoil('THIRD-PARTY-LICENSES.txt', 'zod ', 'zod 0.');
      assert.deepEqual(whats(checkLicences(tree)), ['THIRD-PARTY-LICENSES.txt is not what the packages say']);
    });
  });

  describe('is written down', () => {
    it('in schemas and pages of this version', async function () {
      this.timeout(60_000);
      const made = await makeGenerated();
      assert.deepEqual(checkGenerated(root, made), []);
      for (const file of made.keys())
        if (!file.startsWith('manifests/')) cpSync(join(root, file), join(tree, file));
      const spoilt = ['agent/gate/config.schema.json', 'docs/reference-configuration.md'];
      for (const file of spoilt) spoil(file, 'folder', 'file');
      assert.deepEqual(
        whats(checkGenerated(tree, made)),
        spoilt.map((file) => `${file} is out of date`),
      );
    });

    it('in recordings', () => {
      spoil('package.json', /"version": "[^"]*"/, '"version": "9.9.9"');
      assert.deepEqual(whats(checkRecordings(tree)), [
        'swtpm-fixtures/conversations/9.9.9 is missing',
        'swtpm-fixtures/databases/9.9.9 is missing',
        'swtpm-fixtures/charts/9.9.9 is missing',
      ]);
    });

    it('and committed, under a tag of its own', async () => {
      const repository = join(tree, 'repository');
      mkdirSync(repository);
      const who = ['-c', 'user.name=Assay', '-c', 'user.email=assay@example.net'];
      const git = (...args: readonly string[]) =>
        run('git', ['-C', repository, ...who, ...args], { timeoutMs: 30_000, maxOutputBytes: 65_536 });
      const commit = async (version: string) => {
        writeFileSync(join(repository, 'package.json'), JSON.stringify({ version }));
        await git('add', '-A');
        await git('commit', '-q', '-m', version);
      };
      await git('init', '-q');
      await commit('1.0.0');
      assert.deepEqual(await checkGit(repository), []);
      await git('tag', 'v1.0.0');
      assert.deepEqual(await checkGit(repository), [], 'its own tag');
      writeFileSync(join(repository, 'more'), '');
      assert.match(
        whats(await checkGit(repository))[0] ?? '',
        /1 files are not as they are committed: \?\? more/,
      );
      await git('add', '-A');
      await git('commit', '-q', '-m', 'more');
      assert.deepEqual(whats(await checkGit(repository)), ['the tag v1.0.0 is another commit']);
    });
  });

  describe('packs only what is meant', () => {
    const packed = (files: Readonly<Record<string, string>>) => {
      rmSync(join(tree, 'node_modules'));
      write('package-lock.json', JSON.stringify({ packages: { 'node_modules/zod': { version: '1.0.0' } } }));
      write('node_modules/zod/package.json', '{}');
      rmSync(join(tree, 'manifests'));
      const good = {
        'package.json': '{}',
        'bin/assay': '',
        'attest-server/main.js': '',
        'attest-server/server-2I2NSQOY.js': '',
        'bundled-packages.json': '{}',
        'docs/policy.md': '',
        'docs/runbooks/AssayNodeSilent.md': '',
        'agent/gate/config.schema.json': '{}',
        'manifests/base/server/service.yaml': '',
        'manifests/chart/.helmignore': '',
        'manifests/chart/templates/rbac/_names.tpl': '',
        'manifests/prometheus/dashboard.json': '{}',
      };
      for (const [file, text] of Object.entries({ ...good, ...files })) write(`built/${file}`, text);
      return whats(checkPacked(join(tree, 'built'), tree));
    };

    it('as the build makes it', () => assert.deepEqual(packed({}), []));

    for (const [file, text, named] of [
      ['manifests/chart/values.yaml.orig', '', /^manifests\/chart\/values\.yaml\.orig is packed, and nobody/],
      ['manifests/chart/.secret.yaml', '', /^manifests\/chart\/\.secret\.yaml is packed, and nobody/],
      ['manifests/images/recipe.yaml', '', /^manifests\/images\/recipe\.yaml is packed, and nobody/],
      ['notes.txt', '', /^notes\.txt is packed, and nobody said/],
      ['attest-server/nowhere.js', '', /^attest-server\/nowhere\.js is packed, and nobody said/],
      ['node_modules/mocha/index.js', '', /^node_modules\/mocha\/index\.js is packed, and nobody said/],
      ['attest-server/fast.node', '', /^attest-server\/fast\.node is machine code/],
      ['docs/test/policy.test.js', '', /^docs\/test\/policy\.test\.js is a test/],
      [
        'docs/policy.md',
        `-----BEGIN PRIVATE KEY-----\n${'A'.repeat(40)}\n`,
        /^docs\/policy\.md holds a private key/,
      ],
      [
        'docs/policy.md',
        'See [tests](../test/a.ts#b).',
        /^docs\/policy\.md links to \.\.\/test\/a\.ts, which/,
      ],
      ['docs/policy.md', null, /^docs\/policy\.md names a folder of this machine/],
    ] as const)
      it(`and says ${named.source}`, () => {
        const faults = packed({ [file]: text ?? join(tree, 'package.json') });
        assert.ok(
          faults.some((what) => named.test(what)),
          faults.join('\n'),
        );
      });
  });
});
