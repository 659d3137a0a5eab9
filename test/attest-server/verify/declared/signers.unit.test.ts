import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { parseManifest } from '../../../../attest-server/verify/declared/manifest.ts';
import { parseSigners, verifyManifest } from '../../../../attest-server/verify/declared/signers.ts';
import { rejectionOf } from '../rejection-of.ts';

/** Of ssh-keygen (OpenSSH 10.0) and minisign 0.12. */
const recorded = (name: string) =>
  readFileSync(join(import.meta.dirname, '../../../fuzz/seeds/declared', name));
const manifest = recorded('manifest');
const keyOf = (name: string) => parseSigners(recorded(name).toString('utf8'));
const ssh = ['ed25519', 'ecdsa-256', 'ecdsa-384', 'ecdsa-521', 'rsa'];
const ofSsh = (name: string) => ({ ssh: recorded(`${name}.sig`), minisign: null });

describe('the signature of a manifest', () => {
  for (const name of ssh)
    it(`by ssh-keygen with ${name} counts, and counts for no other text and no other key (row 210)`, () => {
      const { signer, serial, restored, files } = verifyManifest(manifest, ofSsh(name), keyOf(`${name}.pub`));
      assert.match(signer.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
      assert.deepEqual([signer.name, serial, files.length], ['merge', 7, 4]);
      assert.deepEqual([...restored], [['workers-2026-10', 6]]);
      for (let at = 0; at < manifest.length; at += 37) {
        const changed = Buffer.from(manifest);
        changed[at] = (changed[at] ?? 0) ^ 1;
        assert.equal(
          rejectionOf(() => verifyManifest(changed, ofSsh(name), keyOf(`${name}.pub`)))?.code,
          'sig_invalid',
        );
      }
      const others = ssh.filter((other) => other !== name).flatMap((other) => keyOf(`${other}.pub`));
      assert.equal(rejectionOf(() => verifyManifest(manifest, ofSsh(name), others))?.code, 'sig_invalid');
    });

  for (const name of ['prehashed', 'legacy'])
    it(`by minisign, ${name}, counts, with its trusted comment (row 210)`, () => {
      const keys = keyOf('minisign.pub');
      const signature = recorded(`${name}.minisig`);
      const { signer } = verifyManifest(manifest, { ssh: null, minisign: signature }, keys);
      assert.equal(signer.name, '4D4D199E1D743456');
      const otherComment = Buffer.from(
        signature.toString('latin1').replace('serial 7', 'serial 8'),
        'latin1',
      );
      for (const [text, minisign] of [
        [Buffer.concat([manifest, Buffer.from('\n')]), signature],
        [manifest, otherComment],
      ] as const)
        assert.equal(
          rejectionOf(() => verifyManifest(text, { ssh: null, minisign }, keys))?.code,
          'sig_invalid',
        );
    });

  it('is of a key that is long enough, and of a type that is known', () => {
    const [, rsa = ''] = recorded('rsa.pub').toString('utf8').split(' ');
    const blob = Buffer.from(rsa, 'base64');
    // ssh-rsa, e, and a modulus of 1024 bits.
    const short = Buffer.concat([
      blob.subarray(0, 18),
      Buffer.from([0, 0, 0, 128 + 1, 0]),
      blob.subarray(23, 23 + 128),
    ]);
    assert.equal(rejectionOf(() => parseSigners(`ssh-rsa ${short.toString('base64')} x`))?.code, 'weak_key');
    for (const line of [
      'ssh-dss AAAAB3NzaC1kc3M= x',
      `ssh-ed25519 ${rsa} x`,
      'ssh-ed25519 !!! x',
      'RWabc',
      'x',
    ])
      assert.equal(rejectionOf(() => parseSigners(line))?.code, 'malformed', line);
  });
});

describe('a manifest', () => {
  const text = manifest.toString('latin1');
  const sha = '0'.repeat(64);
  for (const [what, changed] of [
    ['another beginning', text.replace('declared 1', 'declared 2')],
    ['no serial', text.replace(/serial.*\n/, '')],
    ['a serial of 0', text.replace('serial 7', 'serial 0')],
    ['a serial beyond what a number holds', text.replace('serial 7', 'serial 9999999999999999')],
    ['a restoration in a serial to come', text.replace('2026-10 6', '2026-10 8')],
    ['no end of its last line', text.slice(0, -1)],
    ['no file', text.replace(/^[0-9a-f]{64}.*\n/gm, '')],
    ['a file twice', `${text}${sha}  references/workers-2026-11.yaml\n`],
    ['files that are out of order', `${text}${sha}  a.json\n`],
    ['a path that leads up', `${text}${sha}  x/../y.json\n`],
    ['an absolute path', `${text}${sha}  /etc/y.json\n`],
    ['a hidden file', `${text}${sha}  x/.y.json\n`],
    ['a file that is no part', `${text}${sha}  x/y.sh\n`],
    ['a line end of another system', text.replaceAll('\n', '\r\n')],
    ['a byte of zero in it', text.replace('pins.csv', 'pins\0.csv')],
  ] as const)
    it(`that has ${what} is none (row 212)`, () => {
      assert.notEqual(changed, text);
      assert.equal(rejectionOf(() => parseManifest(Buffer.from(changed, 'latin1')))?.code, 'malformed');
    });
});
