import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import {
  type AppraisedNode,
  createAppraiser,
  type NodePast,
  noPast,
} from '../../../../attest-server/policy/appraise.ts';
import { disk } from '../../../../attest-server/policy/disk/disk.ts';
import type { DiskPart } from '../../../../attest-server/wire/disk.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { policyOf } from '../made-proof.ts';
import { group, headerOtherwise, proofWith, recordedPart } from './made-disk.ts';

interface Answer {
  /** Default: its volume is open. */
  readonly shows?: 'closed' | 'nothing' | 'damaged' | 'renewed';
  /** It is untrusted, whatever its disks are. */
  readonly broken?: true;
  readonly boot?: number;
  readonly by?: AppraisedNode['by'];
  readonly concurrent?: true;
  /** Default: that of its volume. */
  readonly references?: readonly Reference[];
}

const required = policyOf('require: [identity, disk]', 'disk: {paths: [docker]}');

let open: DiskPart;
let closed: DiskPart;
/** Encrypted by another volume key. */
let renewed: DiskPart;
let leased: Reference;
/** Captured of that. */
let recaptured: Reference;
before(async () => {
  open = await recordedPart('01-luks2');
  closed = { ...open, devices: open.devices.map((device) => ({ ...device, mapping: null })) };
  renewed = headerOtherwise(open, (text) => text.replace(/("digest":\s*")[^"]+/, '$1AAAA'));
  const about = { name: 'r', state: 'active', group, node: 'n', by: 'server', at: 0 } as const;
  leased = changed(disk.capture!(proofWith(open), about), { path: '/var/lib/docker' });
  recaptured = disk.capture!(proofWith(renewed), about);
});

type EnrolledVolume = NonNullable<Reference['disk']>['volumes'][number];
/** The reference with its only volume changed. */
function changed(reference: Reference, change: Partial<EnrolledVolume>): Reference {
  const [volume = assert.fail()] = reference.disk?.volumes ?? [];
  return { ...reference, disk: { volumes: [{ ...volume, ...change }] } };
}

/** Its state, and what its exposure weighs, answer by answer, each with what is remembered of those before. */
function inTurn(answers: readonly Answer[], policy = required): readonly string[] {
  let memory: NodePast['memory'] = {};
  return answers.map(({ shows, broken, boot = 1, by, concurrent = false, references = [leased] }) => {
    const parts = { closed, nothing: null, damaged: Buffer.from('{'), renewed };
    const shown = proofWith(shows === undefined ? open : parts[shows]);
    const clock = { ...shown.clock, resetCount: boot };
    // A TPM that is another node, too, breaks any policy, and says nothing of disks.
    const past = { ...noPast, memory, concurrent, twins: broken ? ['other'] : [] };
    const node = { name: 'n', past, ...(by && { by }) };
    const { verdict, next } = createAppraiser(policy, references)(provenByHand(shown, { clock }), node, 0);
    memory = JSON.parse(JSON.stringify(next.memory));
    const exposed = verdict.reasons.filter(({ code }) => code === 'volume_exposed');
    return [verdict.state, ...exposed.map(({ severity }) => severity)].join(' ');
  });
}

describe('a volume whose key is leased', () => {
  const cases: readonly (readonly [string, () => readonly Answer[], readonly string[]])[] = [
    ['is not exposed on a trusted node', () => [{}, { boot: 2 }], ['trusted', 'trusted']],
    [
      'is exposed by the verdict that finds the node untrusted, and for good',
      () => [{}, { broken: true }, {}, { boot: 2 }, { boot: 3 }],
      ['trusted', 'untrusted warn', 'trusted warn', 'trusted warn', 'trusted warn'],
    ],
    [
      'is exposed where it is opened on a node that is untrusted already',
      () => [{ shows: 'closed', broken: true }, { broken: true }, {}],
      ['untrusted', 'untrusted warn', 'trusted warn'],
    ],
    [
      'is not exposed in a boot that never opened it, and told of where it is open',
      () => [{}, { shows: 'closed', broken: true, boot: 2 }, { boot: 3 }],
      ['trusted', 'untrusted', 'trusted'],
    ],
    [
      'is exposed where the node shows it closed from then on (row 441)',
      () => [{}, { shows: 'closed', broken: true }, { boot: 2 }],
      ['trusted', 'untrusted', 'trusted warn'],
    ],
    [
      'is exposed where the node hides its disks from then on, or what it shows is damaged (row 441)',
      () => [{}, { shows: 'nothing', broken: true, boot: 2 }, { shows: 'damaged', boot: 3 }, { boot: 4 }],
      ['trusted', 'untrusted warn', 'pending warn', 'trusted warn'],
    ],
    [
      'is not exposed by an answer of an earlier boot that comes late',
      () => [
        { shows: 'closed', boot: 2 },
        { boot: 1, concurrent: true, shows: 'closed', broken: true },
        { boot: 2 },
      ],
      ['untrusted', 'untrusted', 'trusted'],
    ],
    [
      'is not exposed by what its gate proves',
      () => [{}, { broken: true, by: 'gate' }, {}],
      ['trusted', 'untrusted', 'trusted'],
    ],
    [
      'stays exposed with another keyslot, and where its reference is retired',
      () => {
        const rotated = changed(leased, { keyslots: { 7: '{}' } });
        const retired = { ...leased, state: 'retired' } as const;
        return [{ broken: true }, { references: [rotated] }, { references: [retired] }];
      },
      ['untrusted warn', 'untrusted warn', 'trusted warn'],
    ],
    [
      'is exposed no more with another volume key, and again with the earlier one',
      () => {
        const references = [{ ...leased, state: 'retired' } as const, recaptured];
        return [{ broken: true }, { shows: 'renewed' }, { shows: 'renewed', references }, {}];
      },
      ['untrusted warn', 'untrusted warn', 'trusted', 'trusted warn'],
    ],
    [
      'is said of no volume whose key the server does not have',
      () => [{ broken: true, references: [changed(leased, { path: undefined })] }, {}],
      ['untrusted', 'trusted'],
    ],
  ];
  for (const [name, answers, expected] of cases)
    it(name, () => assert.deepEqual(inTurn(answers()), expected));

  it('weighs what the policy says, and exposes no other by that', () => {
    const strict = policyOf(
      'require: [identity, disk]',
      'disk: {paths: [docker]}',
      'severity: {volume_exposed: fail}',
    );
    const next = changed(recaptured, { path: '/var/lib/docker' });
    const found = inTurn(
      [
        { broken: true },
        {},
        { shows: 'renewed', references: [next, leased] },
        { shows: 'renewed', references: [next] },
      ],
      strict,
    );
    assert.deepEqual(found, ['untrusted fail', 'untrusted fail', 'untrusted fail', 'trusted']);
    assert.deepEqual(inTurn([{ broken: true }, {}], policyOf('require: [identity]')), [
      'untrusted info',
      'trusted info',
    ]);
  });

  it('counts for nothing in a memory that nobody wrote', () => {
    for (const volumeKeys of [null, 7, {}, { boot: 1, open: [7], exposed: [] }]) {
      const past = { ...noPast, memory: { volumeKeys } };
      const { verdict } = createAppraiser(required, [leased])(proofWith(open), { name: 'n', past }, 0);
      assert.equal(verdict.state, 'trusted', JSON.stringify(volumeKeys));
    }
  });
});
