import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { globOfExclude, parseKeylime } from '../../../../../attest-server/cli/offline/runtime/keylime.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';

const [one, two, three] = ['1', '2', '3'].map((digit) => digit.repeat(64)) as [string, string, string];
const sha1 = '4'.repeat(40);

describe('a runtime policy of Keylime', () => {
  const policy = {
    meta: { version: 1, generator: 3, timestamp: '2026-11-01 10:00:00' },
    release: 0,
    digests: {
      boot_aggregate: [one],
      '/usr/bin/tool': [two, three],
      '/usr/bin/old': [sha1],
    },
    excludes: ['/tmp/.*', '/var/lib/([a-z]+)/x'],
    keyrings: { '.ima': [three.toUpperCase()] },
    ima: { ignored_keyrings: [], log_hash_alg: 'sha1', dm_policy: null },
    'ima-buf': { x: [one] },
    'verification-keys': '{"meta": {}}',
  };

  it('gives its files, keys and exclusions, and says what is not taken over', () => {
    const { files, keyrings, excludes, notes } = parseKeylime(JSON.stringify(policy));
    assert.deepEqual(
      files.map(({ digest, path, package: name }) => [digest.toString('hex'), path, name]),
      [
        [two, '/usr/bin/tool', null],
        [three, '/usr/bin/tool', null],
        [sha1, '/usr/bin/old', null],
      ],
    );
    assert.deepEqual(keyrings, [{ keyring: '.ima', digest: three }]);
    assert.deepEqual(excludes, policy.excludes);
    assert.deepEqual(
      notes.map((note) => note.split(':')[0]),
      ['ima-buf', 'verification-keys'],
    );
  });

  it('of before Keylime 6.5 calls its digests hashes', () => {
    const { files, notes } = parseKeylime(JSON.stringify({ hashes: { '/a': [one] }, exclude: ['/b'] }));
    assert.deepEqual(
      files.map(({ path }) => path),
      ['/a'],
    );
    assert.deepEqual(notes, []);
  });

  it('of lines gives digest and path of each, escapes undone', () => {
    const { files } = parseKeylime(
      `# made by hand\n${one}  boot_aggregate\n${two}  /usr/bin/a tool\r\n\n\\${three} */b\\nc\\\\d\n${sha1} /old`,
    );
    assert.deepEqual(
      files.map(({ digest, path }) => [digest.toString('hex'), path]),
      [
        [two, '/usr/bin/a tool'],
        [three, '/b\nc\\d'],
        [sha1, '/old'],
      ],
    );
  });

  const faults: readonly (readonly [string, string, string])[] = [
    ['that is no JSON', '{"digests": ', 'file'],
    ['that names __proto__', '{"digests": {}, "__proto__": {}}', 'file'],
    ['without digests', '{"excludes": []}', 'digests'],
    ['with a digest that is none', JSON.stringify({ digests: { '/a': ['12'] } }), 'digests./a.0'],
    ['with a list that is none', JSON.stringify({ digests: { '/a': one } }), 'digests./a'],
    ['with a path that is none', JSON.stringify({ digests: { '': [one] } }), 'digests.'],
    ['with a line of other text', `${one}  /a\nsomething\n`, 'line 2'],
    ['with a line of a short digest', `abcd  /a\n`, 'line 1'],
    ['with a line without a path', `${one}\n`, 'line 1'],
  ];
  for (const [what, text, field] of faults) {
    it(`${what} is refused whole`, () => {
      assert.throws(
        () => parseKeylime(text),
        (error) => error instanceof Rejection && error.code === 'malformed' && error.field === field,
      );
    });
  }
});

describe('what a policy of Keylime leaves out', () => {
  const globs: readonly (readonly [string, string | null])[] = [
    ['/tmp/.*', '/tmp/*'],
    ['^/tmp/.*', '/tmp/*'],
    ['/var/cache', '/var/cache*'],
    ['/var/cache(/.*)?', '/var/cache*'],
    ['/etc/mtab$', '/etc/mtab'],
    ['/usr/lib/python3\\.11/.*', '/usr/lib/python3.11/*'],
    ['/usr/lib/python3.11/.*', null],
    ['/var/(a|b)/.*', null],
    ['[a-z]+', null],
    ['/opt/a+', null],
    ['/usr/bin/g\\+\\+', '/usr/bin/g++*'],
    ['.*', null],
    ['/a*', null],
  ];
  for (const [expression, glob] of globs) {
    it(`is ${glob === null ? 'no glob' : `the glob ${glob}`} where it is ${expression}`, () => {
      assert.equal(globOfExclude(expression), glob);
    });
  }
});
