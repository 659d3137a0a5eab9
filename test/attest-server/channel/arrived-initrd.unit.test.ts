import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { ArrivedInitrd } from '../../../attest-server/channel/arrived-pieces.ts';
import { freshChallenge } from '../../../attest-server/channel/challenge.ts';
import { limits } from '../../../attest-server/protocol/limits.ts';
import {
  type EvidenceMessage,
  type Introduction,
  spokenWords,
} from '../../../attest-server/protocol/messages.ts';

const { piece, pieces: most } = limits.initrd;
const asked = { digest: 'ab'.repeat(32), from: 100, most: limits.initrd.inAnswer };
type Said = NonNullable<EvidenceMessage['initrd']>;

function arrive(came: readonly Buffer[], said: Readonly<Partial<Said>> | null = {}) {
  const arrived = new ArrivedInitrd(asked);
  for (const each of came) arrived.add(each);
  const pieces = came.map((each) => hash('sha256', each, 'hex'));
  const initrd = { digest: asked.digest, from: 100, more: false, pieces, ...said };
  const message = { type: 'evidence', nonce: '', channel: '', quotes: [], facts: '', parts: {} } as const;
  return arrived.named({ ...message, quotes: [], ...(said !== null && { initrd }) });
}

describe('the pieces of an initrd that come for a challenge', () => {
  const one = Buffer.from('one');
  it('are those that the answer names, of the image and from the byte that were asked for', () => {
    assert.deepEqual(arrive([one], { more: true }), {
      digest: asked.digest,
      from: 100,
      more: true,
      pieces: [one],
    });
    assert.equal(arrive([], null), null);
  });

  const bad: readonly (readonly [string, readonly Buffer[], Partial<Said> | null])[] = [
    ['of another image', [one], { digest: 'cd'.repeat(32) }],
    ['from its begin', [one], { from: 0 }],
    ['that did not come', [], { pieces: ['ab'.repeat(32)] }],
    ['that the answer does not name', [one], null],
    ['that are none, where there is more', [], { more: true }],
    ['that are empty', [Buffer.alloc(0)], {}],
  ];
  for (const [what, came, said] of bad)
    it(`are refused ${what}`, () => {
      assert.throws(() => arrive(came, said), { code: 'malformed' });
    });

  it('are refused where they are larger, or more, than was asked for', () => {
    assert.throws(() => arrive([Buffer.alloc(piece + 1)]), { code: 'too_large' });
    assert.throws(() => arrive(Array.from({ length: most + 1 }, () => one)), { code: 'too_large' });
    const small = new ArrivedInitrd({ ...asked, most: 2 });
    assert.throws(() => small.add(one), { code: 'too_large' });
  });

  it('are asked for of agents alone that understand it', () => {
    const initrd = { digest: asked.digest, from: 100 };
    const question = { selection: {}, holds: [], parts: [], paths: [], ima: null, initrd };
    const occasion = { within: 1000, files: [], mostOfIma: 1, mostOfInitrd: piece };
    const askedOf = (speaks: Introduction['speaks']) =>
      freshChallenge(question, { ...hello, speaks }, occasion)[0].initrd;
    assert.deepEqual(askedOf(spokenWords), { ...initrd, most: piece });
    assert.equal(askedOf(spokenWords.filter((word) => word !== 'initrd')), undefined);
  });
});

const hello: Introduction = {
  type: 'hello',
  versions: { protocol: [1, 1], program: '0' },
  role: 'agent',
  node: 'node-1',
  banks: ['sha256'],
  speaks: [],
};
