import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { tlsOfListeners } from '../attest-server/wire/tls.ts';

const root = join(import.meta.dirname, '..');
const page = readFileSync(join(root, 'docs/crypto.md'), 'utf8');
/** Files and folders in the last column, as paths from the root. */
const named = [...page.matchAll(/^\| [^|]+ \| [^|]+ \| ([^|]+) \|$/gm)]
  .flatMap(([, cell = '']) => [...cell.matchAll(/`([\w./-]+)`/g)].map(([, path = '']) => path))
  .map((path) => (/^(agent|manifests)\//.test(path) ? path : `attest-server/${path}`));

describe('docs/crypto.md', () => {
  const users = globSync('{agent,attest-server,manifests}/**/*.ts', { cwd: root }).filter(
    (file) =>
      !file.includes('node_modules/') &&
      /from 'node:(crypto|tls)'/.test(readFileSync(join(root, file), 'utf8')),
  );

  it('names the place of each file that uses cryptography', () => {
    assert.ok(users.length > 60);
    assert.deepEqual(
      users.filter((file) => !named.some((path) => file === path || file.startsWith(`${path}/`))),
      [],
    );
  });

  it('names no place that is not there', () => {
    const files = globSync('{agent,attest-server,manifests}/**', { cwd: root });
    assert.deepEqual(
      named.filter((path) => !files.includes(path)),
      [],
    );
  });

  it('has each hash, curve and cipher that the code names', () => {
    const code = users.map((file) => readFileSync(join(root, file), 'utf8')).join('\n');
    for (const [pattern, word] of [
      [/'sha1'/, 'SHA-1'],
      [/'sha256'/, 'SHA-256'],
      [/'sha384'/, 'SHA-384'],
      [/'sha512'/, 'SHA-512'],
      [/'ed25519'/, 'Ed25519'],
      [/createHmac/, 'HMAC'],
      [/aes-\$\{bits\}-cfb/, 'AES-CFB'],
      [/secp521r1/, 'P-521'],
    ] as const) {
      assert.match(code, pattern);
      assert.ok(page.includes(word), word);
    }
    assert.doesNotMatch(code, /'md5'|'rc4|des-ede|createCipher\(|'sha224'|scrypt|pbkdf2/i);
  });

  // An OpenSSL in FIPS mode has neither of them, and refuses a list that names one without the question mark.
  it('is right that a listener offers P-256 always, and the other key exchanges where there are any', () => {
    const groups = tlsOfListeners.ecdhCurve.split(':');
    assert.deepEqual(
      groups.filter((group) => !group.startsWith('?')),
      ['P-256'],
    );
    for (const group of groups) assert.ok(page.includes(group.replace('?', '')), group);
  });
});
