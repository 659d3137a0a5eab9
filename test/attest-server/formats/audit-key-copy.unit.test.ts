import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type AuditKeyCopy, faultOfCopy, showCopy } from '../../../attest-server/formats/audit-key-copy.ts';
import { madeKey } from '../audit/made-key.ts';

describe('a copy of the audit key', () => {
  const { origin, text, earlier } = madeKey();
  const other = madeKey();
  const shown = (of: string): AuditKeyCopy => showCopy(of) ?? assert.fail('no copy');

  it('shows itself without the private key', () => {
    const copy = shown(text);
    assert.equal(faultOfCopy(origin, copy), null);
    const file: unknown = JSON.parse(text);
    assert.ok(typeof file === 'object' && file !== null && 'privateKey' in file);
    const secret = String(file.privateKey).split('\n')[1] ?? assert.fail('no key');
    assert.ok(!JSON.stringify(copy).includes(secret));
    assert.deepEqual(Object.keys(copy), ['publicKey', 'signature']);
  });

  it('is none of this server where it is another one, an earlier one, or only looked at', () => {
    const good = shown(text);
    assert.match(faultOfCopy(origin, shown(other.text)) ?? '', /another installation/);
    assert.match(faultOfCopy(origin, shown(earlier)) ?? '', /replaced since/);
    // Anybody may read the public key.
    assert.match(
      faultOfCopy(origin, { ...good, signature: shown(other.text).signature }) ?? '',
      /signature is wrong/,
    );
    assert.match(faultOfCopy({ ...origin, origin: other.origin.origin }, good) ?? '', /signature is wrong/);
  });

  it('is none where the file is damaged, or its keys do not belong together', () => {
    const file = JSON.parse(text);
    const swapped = { ...file, privateKey: JSON.parse(other.text).privateKey };
    // A server that is restored from it would not start.
    const [first, ...rest] = file.keys;
    assert.ok(rest.length > 0);
    const unlinked = { ...file, keys: [JSON.parse(other.text).keys[0], ...rest] };
    const renamed = { ...file, installation: '0'.repeat(32) };
    assert.notDeepEqual(unlinked.keys[0], first);
    for (const bad of [
      '',
      '{',
      text.slice(0, -20),
      JSON.stringify(swapped),
      JSON.stringify(unlinked),
      JSON.stringify(renamed),
      JSON.stringify({ ...file, more: 1 }),
    ])
      assert.equal(showCopy(bad), null, bad.slice(0, 20));
  });
});
