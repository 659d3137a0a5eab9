import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import {
  type AppraisedNode,
  createAppraiser,
  type NodePast,
  noPast,
} from '../../../../attest-server/policy/appraise.ts';
import type { BootCap, CapState } from '../../../../attest-server/verify/boot-cap.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { Facts } from '../../../../attest-server/wire/facts.ts';
import type { PcrBank } from '../../../../attest-server/wire/messages.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { policyOf } from '../made-proof.ts';
import { proofWith, recordedPart } from './made-disk.ts';

type Banks = Readonly<Partial<Record<PcrBank, CapState>>>;
const open: Banks = { sha1: 'open', sha256: 'open' };
const capped: Banks = { sha1: 'capped', sha256: 'capped' };
const half: Banks = { sha1: 'open', sha256: 'capped' };
const unknown: Banks = { sha1: 'unexplained', sha256: 'unexplained' };

interface Answer {
  readonly cap: Banks;
  /** Seconds since the TPM had power. */
  readonly second?: number;
  readonly boot?: number;
  readonly hasLease?: boolean;
  readonly concurrent?: boolean;
  readonly by?: AppraisedNode['by'];
  /** It could not read its disks. */
  readonly unread?: true;
}

const required = policyOf('require: [identity, disk]', 'disk: {lease: required}');
const notRequired = policyOf('require: [identity, disk]');
const notOfDisks = policyOf('require: [identity]');

let shown: Proven;
let unread: Proven;
before(async () => {
  shown = proofWith(await recordedPart('01-luks2'));
  const unavailable = { disk: 'EACCES' };
  const facts: Facts = {
    purpose: 'attest',
    node: 'n',
    bootId: '0'.repeat(36),
    helloDigest: '0'.repeat(64),
    unavailable,
  };
  unread = provenByHand(proofWith(null), { facts });
});

function capOf(banks: Banks): BootCap {
  const each = Object.entries(banks) as [PcrBank, CapState][];
  return new Map(each.map(([bank, state]) => [bank, { state, before: null, userSpace: [] }]));
}

/** What a node is, answer by answer, each with what is remembered of those before. */
function inTurn(answers: readonly Answer[], policy = required): readonly string[] {
  return verdicts(answers, policy).map(({ state, reasons }) => {
    const codes = reasons.filter(({ aspect }) => aspect === 'disk');
    return [state, ...codes.map(({ code, severity }) => `${code} ${severity}`)].join(' ');
  });
}

function verdicts(answers: readonly Answer[], policy = required): readonly Verdict[] {
  const judge = createAppraiser(policy, []);
  let past: NodePast = noPast;
  return answers.map(
    ({ cap, second = 0, boot = 1, hasLease = false, concurrent = false, by, unread: is }) => {
      const clock = { ...shown.clock, resetCount: boot, clock: BigInt(second * 1000) };
      const proven = provenByHand(is ? unread : shown, { cap: capOf(cap), clock });
      const node = { name: 'n', past: { ...past, hasLease, concurrent }, ...(by && { by }) };
      const { verdict, next } = judge(proven, node, 0);
      past = { ...noPast, sequence: next.sequence, memory: JSON.parse(JSON.stringify(next.memory)) };
      return verdict;
    },
  );
}

const [good, missing, reverted] = [
  'trusted',
  'untrusted cap_missing fail',
  'untrusted cap_reverted fail',
] as const;

describe('a boot that must be capped', () => {
  it('has a minute for it, by the clock of its TPM, from its first answer on (row 91)', () => {
    const later = (cap: Banks, second: number): Answer => ({ cap, second, boot: 2 });
    assert.deepEqual(
      inTurn([{ cap: capped }, later(open, 100), later(open, 159), later(open, 160), later(open, 9000)]),
      [good, good, good, missing, missing],
    );
    assert.deepEqual(inTurn([{ cap: capped }, later(open, 100), later(capped, 159), later(capped, 160)]), [
      good,
      good,
      good,
      good,
    ]);
  });

  it('is one that began after the node was capped once, or had a key (row 91)', () => {
    const boots = (cap: Banks, hasLease = false): Answer[] =>
      [1, 2, 3].flatMap((boot) => [0, 100].map((second) => ({ cap, second, boot, hasLease })));
    assert.deepEqual(inTurn(boots(open)), Array(6).fill(good));
    const [one, two, three, ...later] = inTurn(boots(open, true));
    assert.deepEqual([one, two, three], [good, good, good]);
    // The boot after is untrusted at once: nothing has shown yet that it is another.
    assert.deepEqual(later, [missing, missing, missing]);
    assert.deepEqual(
      inTurn([
        { cap: open, second: 1000 },
        { cap: open, second: 2000, hasLease: true },
        { cap: open, second: 9000, hasLease: true },
      ]),
      [good, good, good],
    );
  });

  it('is so only by the rule, and of agents alone', () => {
    const answers: readonly Answer[] = [
      { cap: capped },
      { cap: open, boot: 2 },
      { cap: open, boot: 2, second: 100 },
    ];
    assert.deepEqual(inTurn(answers, notRequired), [good, good, good]);
    assert.deepEqual(inTurn(answers, notOfDisks), [good, good, good]);
    const asked = inTurn(answers.map((one) => ({ ...one, by: 'unlock' as const })));
    assert.deepEqual(asked, Array(3).fill('pending'));
    const info = policyOf('require: [identity]', 'disk: {lease: required}');
    assert.deepEqual(inTurn(answers, info), [good, good, 'trusted cap_missing info']);
  });

  it('is so in each quoted bank, and not while a log explains PCR 15 no more (row 91)', () => {
    for (const cap of [half, unknown])
      assert.deepEqual(
        inTurn([{ cap: capped }, { cap, boot: 2 }, { cap, boot: 2, second: 60 }]),
        [good, good, missing],
        JSON.stringify(cap),
      );
    const [, , found] = verdicts([
      { cap: capped },
      { cap: half, boot: 2 },
      { cap: half, boot: 2, second: 60 },
    ]);
    assert.equal(found?.reasons[0]?.actual, 'sha1 open');
    assert.equal(found?.reasons[0]?.source, 'tpm');
  });

  it('stays untrusted until it is capped, whatever the node no longer shows', () => {
    const later = (cap: Banks, second: number): Answer => ({ cap, second, boot: 2 });
    const hidden: Answer = { cap: open, second: 200, boot: 2, unread: true };
    const states = inTurn([{ cap: capped }, later(open, 0), later(open, 60), hidden, later(capped, 300)]);
    assert.deepEqual(
      states.map((state) => state.split(' ')[0]),
      ['trusted', 'trusted', 'untrusted', 'untrusted', 'trusted'],
    );
    assert.deepEqual(inTurn([{ cap: capped }, later(open, 0), later(open, 60), { cap: open, boot: 3 }]), [
      good,
      good,
      missing,
      missing,
    ]);
    const hiding = [0, 60].map((second): Answer => ({ ...hidden, second }));
    assert.equal(
      inTurn([{ cap: capped }, ...hiding])[2],
      'untrusted cap_missing fail facts_unavailable fail',
    );
  });
});

describe('a cap that is gone within one boot', () => {
  const gone: readonly Answer[] = [
    { cap: capped, second: 1 },
    { cap: open, second: 2 },
  ];

  it('is found at once, by any policy, and stays so until the next boot (row 91)', () => {
    const all: readonly Answer[] = [...gone, { cap: capped, second: 3 }, { cap: capped, boot: 2 }];
    for (const policy of [required, notRequired, notOfDisks])
      assert.deepEqual(inTurn(all, policy), [good, reverted, reverted, good]);
  });

  it('is found in a single bank', () => {
    assert.deepEqual(inTurn([{ cap: capped }, { cap: half, second: 1 }]), [good, reverted]);
    assert.deepEqual(inTurn([{ cap: half }, { cap: open, second: 1 }]), [good, reverted]);
  });

  it('is found with the missing one from the next boot on', () => {
    const second = gone.map((one): Answer => ({ ...one, boot: 2, second: (one.second ?? 0) * 60 }));
    assert.deepEqual(inTurn([{ cap: capped }, ...second]), [good, good, `${reverted} cap_missing fail`]);
  });

  it('is none where no log explains PCR 15: only the TPM can have lost it', () => {
    assert.deepEqual(inTurn([{ cap: capped }, { cap: unknown, second: 1 }]), [good, good]);
  });

  it('is none in an answer that is older than the one that showed it', () => {
    const late: Answer = { cap: open, second: 9, concurrent: true };
    assert.deepEqual(inTurn([{ cap: open, second: 8 }, { cap: capped, second: 10 }, late]), [
      good,
      good,
      good,
    ]);
    assert.deepEqual(inTurn([{ cap: capped, second: 8 }, late]), [good, reverted]);
  });

  it('is found however its clock was put back', () => {
    const [, state = ''] = inTurn([
      { cap: capped, second: 10 },
      { cap: open, second: 5 },
    ]);
    assert.match(state, /cap_reverted fail/);
  });

  it('is none in another boot, which has its own', () => {
    assert.deepEqual(inTurn([{ cap: capped }, { cap: open, boot: 2 }, { cap: capped, boot: 2 }]), [
      good,
      good,
      good,
    ]);
  });
});

describe('what is remembered of caps', () => {
  const memoryAfter = (answers: readonly Answer[]) => {
    const judge = createAppraiser(required, []);
    let memory: NodePast['memory'] = {};
    const each = answers.map(({ cap, second = 0, boot = 1 }) => {
      const clock = { ...shown.clock, resetCount: boot, clock: BigInt(second * 1000) };
      const proven = provenByHand(shown, { cap: capOf(cap), clock });
      memory = judge(proven, { name: 'n', past: { ...noPast, memory } }, 0).next.memory;
      return memory;
    });
    return each;
  };

  it('is nothing of a node that was never capped and has no lease', () =>
    assert.deepEqual(
      memoryAfter([{ cap: open }, { cap: unknown, second: 1 }]).map(({ cap }) => cap),
      [undefined, undefined],
    ));

  it('is the same while nothing moves', () => {
    const [first, second] = memoryAfter([{ cap: capped }, { cap: capped, second: 1 }]);
    assert.notEqual(first?.cap, undefined);
    assert.equal(first?.cap, second?.cap);
  });

  it('counts for nothing in a form that nobody wrote', () => {
    const judge = createAppraiser(required, []);
    for (const cap of [null, 7, {}, { boot: 'x' }, { capped: ['md5'] }]) {
      const past = { ...noPast, memory: { cap } };
      const proven = provenByHand(shown, { cap: capOf(open) });
      assert.equal(judge(proven, { name: 'n', past }, 0).verdict.state, 'trusted');
    }
  });
});
