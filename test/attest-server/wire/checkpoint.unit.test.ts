import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { followRotations, signRotation } from '../../../attest-server/wire/audit-key.ts';
import {
  auditKeyId,
  formatCheckpoint,
  parseCheckpoint,
  verifyCheckpoint,
} from '../../../attest-server/wire/checkpoint.ts';
import { knownAuditKey, madeAuditKey, madeOrigin } from '../formats/made-audit-key.ts';

const key = knownAuditKey();
const checkpoint = { origin: madeOrigin, size: 7, head: 'ab'.repeat(32) };
/** Computed by another program from the key of RFC 8032. */
const note = `${madeOrigin}
7
q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=

\u2014 ${madeOrigin} qlobHdhGD1DpZEsHCmVuDybYTwyNy5JFzBrAHvfzrYHFj/2t4a9kkMGUwdbN9n7XLLGhR3Xo1aAEChnBRmzWAjh06Q8=
`;

describe('a checkpoint', () => {
  it('is written as a signed note, byte for byte', () => {
    assert.equal(formatCheckpoint(checkpoint, key), note);
    assert.equal(auditKeyId(madeOrigin, key.publicKey), 'aa5a1b1d');
    assert.deepEqual(verifyCheckpoint(note, key.publicKey), checkpoint);
  });

  for (const [what, changed] of [
    ['another size', note.replace('\n7\n', '\n8\n')],
    ['another head', note.replace('q6ur', 'r6ur')],
    ['another installation', note.replaceAll(madeOrigin, `assay/${'0'.repeat(31)}2`)],
    ['another signature', note.replace('qlobHd', 'qlobHe')],
  ] as const)
    it(`does not verify with ${what}`, () => {
      assert.throws(() => verifyCheckpoint(changed, key.publicKey), { code: 'sig_invalid' });
    });

  it('does not verify under another key', () => {
    assert.throws(() => verifyCheckpoint(note, madeAuditKey().publicKey), { code: 'sig_invalid' });
  });

  for (const [what, changed] of [
    ['nothing', ''],
    ['a size with a leading zero', note.replace('\n7\n', '\n07\n')],
    ['a size of zero', note.replace('\n7\n', '\n0\n')],
    ['a size past the safe integers', note.replace('\n7\n', '\n9999999999999999\n')],
    ['an extension line', note.replace('6s=\n\n', '6s=\nmore\n\n')],
    ['a second signature', note + note.slice(note.indexOf('\u2014'))],
    ['no newline at its end', note.slice(0, -1)],
    ['carriage returns', note.replaceAll('\n', '\r\n')],
    ['a hyphen for the dash', note.replace('\u2014', '-')],
    ['base64 whose last bits are not zero', note.replace('6s=', '6t=')],
    ['another name in its signature', note.replace(`\u2014 ${madeOrigin}`, `\u2014 assay/${'f'.repeat(32)}`)],
    ['an origin of another kind', note.replaceAll(madeOrigin, 'example.org/log')],
  ] as const)
    it(`is refused with ${what}`, () => {
      assert.throws(() => parseCheckpoint(changed), { code: 'malformed' });
    });

  it('is refused unread where it is too long', () => {
    assert.throws(() => parseCheckpoint(note.padEnd(513)), { code: 'too_large' });
  });
});

describe('the keys of an audit log', () => {
  const [first, second, third] = [madeAuditKey(), madeAuditKey(), madeAuditKey()];
  const text = ({ publicKey }: { publicKey: Buffer }) => publicKey.toString('base64');
  const keys = [
    { publicKey: text(first), signature: null },
    signRotation(madeOrigin, text(second), first.privateKey),
    signRotation(madeOrigin, text(third), second.privateKey),
  ];

  it('lead from a trusted one to the one that signs now', () => {
    assert.deepEqual(followRotations(madeOrigin, keys, text(second)), [second.publicKey, third.publicKey]);
    assert.equal(followRotations(madeOrigin, keys, null).length, 3);
    assert.deepEqual(followRotations(madeOrigin, keys, text(third)), [third.publicKey]);
  });

  it('lead nowhere from a key that is not among them', () => {
    const trusted = text(madeAuditKey());
    assert.throws(() => followRotations(madeOrigin, keys, trusted), { code: 'sig_invalid' });
    assert.throws(() => followRotations(madeOrigin, [], null), { code: 'sig_invalid' });
  });

  it('do not pass over one that nobody, or somebody else, signed', () => {
    const stranger = madeAuditKey();
    for (const made of [
      { publicKey: text(stranger), signature: null },
      signRotation(madeOrigin, text(stranger), stranger.privateKey),
      signRotation(`assay/${'f'.repeat(32)}`, text(stranger), third.privateKey),
    ])
      assert.throws(() => followRotations(madeOrigin, [...keys, made], text(first)), {
        code: 'sig_invalid',
      });
  });
});
