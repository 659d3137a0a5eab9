import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { atOnce } from '../../../../../attest-server/formats/in-steps.ts';
import {
  contentFaultInSteps,
  parseFiles,
  type Reference,
  reference,
} from '../../../../../attest-server/formats/reference.ts';
import { runAssay } from '../../cli-fixture.ts';
import { madeDeb } from './made-archives.ts';
import { recordedRpm } from './recorded-packages.ts';

const contents = {
  'usr/bin/tool': 'a tool',
  'bin/old': 'an old one',
  'etc/tool.conf': '',
  'usr/lib/large': 'large '.repeat(200_000),
  [`usr/share/${'deep/'.repeat(30)}file`]: 'deep',
};

describe('a reference of files', () => {
  let dir = '';
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-runtime-'));
    for (const kind of ['none', 'gzip', 'xz', 'zstd']) await buildDeb(dir, `tool-${kind}`, kind);
    mkdirSync(join(dir, 'rpms/below'), { recursive: true });
    copyFileSync(recordedRpm, join(dir, 'rpms/below/a.rpm'));
    writeFileSync(join(dir, 'ima-policy'), 'measure func=BPRM_CHECK\nmeasure func=MODULE_CHECK\n');
    writeFileSync(join(dir, 'list.txt'), `${hash('sha256', 'x')}  /usr/local/x\n`);
  });
  after(() => rmSync(dir, { recursive: true }));

  const assay = (...args: readonly string[]) =>
    runAssay(['reference', 'runtime', '--name', 'r', '--group', 'workers', ...args], { cwd: dir });

  function readFile(name: string): Reference {
    const made = reference.parse(JSON.parse(readFileSync(join(dir, name), 'utf8')));
    assert.equal(atOnce(contentFaultInSteps(made)), null);
    return made;
  }

  const filesOf = ({ runtime }: Reference) =>
    [...parseFiles(runtime ?? assert.fail('it lists no files')).files()].map(
      ({ path, digest, package: name }) => `${path} ${digest.toString('hex')} ${name}`,
    );

  for (const kind of ['none', 'gzip', 'xz', 'zstd']) {
    it(`lists the files and links that dpkg-deb packed with ${kind}`, async () => {
      const { code, err } = await assay('--from-dpkg', `tool-${kind}`, '-f', 'out.json');
      assert.equal(code, 0, err);
      const files = Object.entries({ ...contents, 'usr/bin/hard': contents['usr/bin/tool'] }).map(
        ([path, content]) =>
          `/${path.replace(/^bin/, 'usr/bin')} ${hash('sha256', content)} tool-${kind} 1:1.0-1`,
      );
      const link = `/usr/bin/link ${hash('sha256', 'link\0tool')} tool-${kind} 1:1.0-1`;
      assert.deepEqual(filesOf(readFile('out.json')), [...files, link].sort());
    });
  }

  it('is made of packages below folders, lists, other references and policies at once, and each file once', async () => {
    await assay('--from-rpm', 'rpms', '-f', 'first.json');
    const { code, err } = await assay(
      ...['--from-dpkg', 'tool-gzip', '--from-dpkg', 'tool-gzip', '--from-rpm', 'rpms'],
      ...['--from-keylime', 'list.txt', '--from-reference', 'first.json', '--policy', 'ima-policy'],
      ...['--state', 'active', '-o', 'yaml', '-f', 'out.yaml'],
    );
    assert.equal(code, 0, err);
    const again = await assay('--from-reference', './out.yaml', '-f', 'out.json');
    assert.equal(again.code, 0, again.err);
    const made = readFile('out.json');
    assert.equal(filesOf(made).length, 7 + 5 + 1);
    assert.deepEqual(made.runtime?.policies, [
      {
        digest: hash('sha256', readFileSync(join(dir, 'ima-policy'))),
        covers: ['exec', 'modules'],
        description: 'ima-policy',
      },
    ]);
  });

  it('goes to standard output where no file or - is named, and what is told to standard error', async () => {
    for (const args of [[], ['-f', '-']]) {
      const { out, err } = await assay('--from-keylime', 'list.txt', ...args);
      assert.equal(reference.parse(JSON.parse(out)).runtime?.count, 1);
      assert.match(err, /1 file of list\.txt/);
    }
  });

  const refused: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ['nothing', [], 2, /nothing is given/],
    ['a folder without packages', ['--from-dpkg', 'rpms'], 1, /holds no package/],
    ['a folder that is not there', ['--from-rpm', 'nowhere'], 1, /nowhere is not a folder/],
    ['a package with a fault', ['--from-dpkg', 'faulty'], 1, /faulty\/b\.deb cannot be read: field magic/],
    [
      'a package with a path that is none',
      ['--from-dpkg', 'long'],
      1,
      /long\/a\.deb cannot be read: field path/,
    ],
    ['a list with a fault', ['--from-keylime', 'ima-policy'], 1, /ima-policy cannot be read: field line 1/],
    ['a list that lists nothing', ['--from-keylime', 'nothing.txt'], 1, /lists no file/],
    ['more keys than one may have', ['--from-keylime', 'keys.json'], 1, /runtime\.keyrings/],
    ['a policy that is none', ['--policy', 'list.txt'], 1, /list\.txt is no policy/],
    ['an unknown state', ['--from-rpm', 'rpms', '--state', 'revoked'], 2, /--state revoked/],
  ];
  for (const [what, args, expected, text] of refused) {
    it(`is not made of ${what}`, async () => {
      mkdirSync(join(dir, 'faulty'), { recursive: true });
      writeFileSync(join(dir, 'faulty/b.deb'), 'no package');
      writeFileSync(join(dir, 'nothing.txt'), '# none\n');
      const keys = Array.from({ length: 1025 }, (_, index) => hash('sha256', `${index}`));
      writeFileSync(join(dir, 'keys.json'), JSON.stringify({ digests: {}, keyrings: { '.ima': keys } }));
      mkdirSync(join(dir, 'long'), { recursive: true });
      const path = `./${'a'.repeat(5000)}`;
      writeFileSync(join(dir, 'long/a.deb'), madeDeb({ name: 'x', type: 'L', content: path }, { name: 'x' }));
      const { code, out, err } = await assay(...args);
      assert.equal(code, expected, err);
      assert.equal(out, '');
      assert.match(err, text);
    });
  }
});

async function buildDeb(dir: string, name: string, compression: string): Promise<void> {
  const root = join(dir, 'root', name);
  for (const [path, content] of Object.entries(contents)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  linkSync(join(root, 'usr/bin/tool'), join(root, 'usr/bin/hard'));
  symlinkSync('tool', join(root, 'usr/bin/link'));
  mkdirSync(join(root, 'DEBIAN'));
  writeFileSync(
    join(root, 'DEBIAN/control'),
    `Package: ${name}\nVersion: 1:1.0-1\nArchitecture: all\nMaintainer: none <none@example.org>\nDescription: none\n`,
  );
  chmodSync(join(root, 'DEBIAN'), 0o755);
  mkdirSync(join(dir, name));
  await run('dpkg-deb', ['--build', `-Z${compression}`, '--root-owner-group', root, join(dir, name)], {
    timeoutMs: 60_000,
    maxOutputBytes: 1 << 20,
  });
}
