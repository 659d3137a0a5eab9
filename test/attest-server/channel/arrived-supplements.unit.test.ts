import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { ArrivedSupplements } from '../../../attest-server/channel/arrived-supplements.ts';
import { freshChallenge } from '../../../attest-server/channel/challenge.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import {
  type Challenge,
  type Introduction,
  parseServerMessage,
  type SentSupplement,
  spokenWords,
} from '../../../attest-server/wire/messages.ts';

const { piece, pieces: most } = limits.initrd;
const asked = { of: ['ab'.repeat(32)], from: 100, bootId: null, most: limits.initrd.inAnswer };
const message = { type: 'evidence', nonce: '', channel: '', quotes: [], facts: '', parts: {} } as const;

function arrive(came: readonly Buffer[], said: Readonly<Partial<SentSupplement>> | null = {}) {
  const arrived = new ArrivedSupplements({ supplements: { initrds: asked } });
  for (const each of came) arrived.add('initrds', each);
  const pieces = came.map((each) => hash('sha256', each, 'hex'));
  const initrds = { from: 100, more: false, pieces, ...said };
  const evidence = { ...message, quotes: [], ...(said !== null && { supplements: { initrds } }) };
  return arrived.answered(evidence, { parts: [] }, spokenWords).initrds?.came;
}

/** What an agent reads of a challenge that asks so. */
function read(supplements: object): Challenge['supplements'] {
  const rest = { selection: {}, purpose: 'attest', holds: [], parts: [], within: 1 };
  const challenge = { type: 'challenge', nonce: 'bm9uY2U=', ...rest, supplements };
  const message = parseServerMessage(JSON.stringify(challenge));
  return message.type === 'challenge' ? message.supplements : assert.fail(message.type);
}

describe('the pieces of an initrd that come for a challenge', () => {
  const one = Buffer.from('one');
  it('are those that the answer names, of the image and from the byte that were asked for', () => {
    assert.deepEqual(arrive([one], { more: true }), { from: 100, more: true, pieces: [one] });
    assert.equal(arrive([], null), null);
  });

  const bad: readonly (readonly [string, readonly Buffer[], Partial<SentSupplement> | null])[] = [
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
    const small = new ArrivedSupplements({ supplements: { initrds: { ...asked, most: 2 } } });
    assert.throws(() => small.add('initrds', one), { code: 'too_large' });
  });

  it('are no more than an agent may have in memory, whatever a server asks for', () => {
    const asks = (amount: number) => read({ initrds: { ...asked, most: amount } });
    assert.deepEqual(asks(limits.initrd.inAnswer), { initrds: asked });
    assert.throws(() => asks(limits.initrd.inAnswer + 1), {
      code: 'malformed',
      field: 'supplements.initrds.most',
    });
  });

  it('are asked for beside what only a later agent knows, in whichever form', () => {
    const ofLater = { ...asked, of: ['by another word'], most: 2 ** 40, more: {} };
    assert.deepEqual(read({ initrds: asked, ofLater }), { initrds: asked });
    assert.deepEqual(read({ ofLater, toString: null }), {});
  });

  it('are asked for of agents alone that understand it', () => {
    const { most: _, ...place } = asked;
    const question = { selection: {}, holds: [], parts: [], paths: [], supplements: { initrds: place } };
    const askedOf = (speaks: Introduction['speaks'], isProven = true) =>
      freshChallenge(question, { ...hello, speaks }, { within: 1000, isProven, most: () => piece })[0]
        .supplements;
    assert.deepEqual(askedOf(spokenWords), { initrds: { ...place, most: piece } });
    assert.equal(askedOf(spokenWords.filter((word) => word !== 'supplements')), undefined);
    assert.equal(askedOf(spokenWords, false), undefined, 'who has proven nothing');
  });

  it('are none of the files that an agent of 0.3.0 is asked for, once it has proven itself', () => {
    const { most: _, ...place } = asked;
    const question = {
      selection: {},
      holds: [],
      parts: ['ima'],
      paths: [],
      supplements: { loaderFiles: place, initrds: place, ima: { ...place, of: [] } },
    };
    const speaks: Introduction['speaks'] = ['parts', 'codes', 'files', 'paths'];
    const filesOf = (isProven: boolean) =>
      freshChallenge(question, { ...hello, speaks }, { within: 1000, isProven, most: () => piece })[0];
    const { files, parts, supplements } = filesOf(true);
    assert.deepEqual([files, parts, supplements], [place.of, ['ima'], undefined]);
    assert.equal(filesOf(false).files, undefined, 'who has proven nothing');
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
