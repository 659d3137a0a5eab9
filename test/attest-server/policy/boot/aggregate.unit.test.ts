import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { appraise, type NodePast, noPast } from '../../../../attest-server/policy/appraise.ts';
import { hashPart } from '../../../../attest-server/verify/hashed-part.ts';
import { measureBoot } from '../../../../attest-server/verify/measured-boot.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { Facts } from '../../../../attest-server/wire/facts.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { bankByHand, provenByHand } from '../../verify/made-by-hand.ts';
import { aggregateOf, capturedFrom, madeProof, policyOf, replayedValues } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const good = madeProof({ log });
const references = [capturedFrom(good)];
const values = replayedValues(log, 'sha256');
const covered = aggregateOf(values, 'sha256');
const other = aggregateOf(Buffer.alloc(24 * 32, 1), 'sha256');
const bootId = (digit: string) => `${digit.repeat(8)}-8b86-d011-b42d-00cf4fc964ff`;

const rules = policyOf('require: [identity, boot]');
const required = policyOf('require: [identity, boot]', 'boot: {aggregate: required}');

interface Answered {
  readonly aggregate: Proven['aggregate'];
  readonly boot?: string;
  readonly resetCount?: number;
  readonly restartCount?: number;
  readonly unavailable?: Facts['unavailable'];
}

function answer({ aggregate, boot = 'a', resetCount = 7, restartCount = 1, unavailable }: Answered): Proven {
  const facts = {
    purpose: 'attest' as const,
    node: 'n',
    bootId: bootId(boot),
    helloDigest: '00'.repeat(32),
    ...(unavailable !== undefined && { unavailable }),
  };
  return provenByHand(good, { aggregate, facts, clock: { ...good.clock, resetCount, restartCount } });
}

/** Judges answers of one node in turn, each with what is remembered since the one before. */
function judgedInTurn(answers: readonly Answered[], policy = rules): readonly string[] {
  let past: NodePast = noPast;
  return answers.map((each) => {
    const { verdict, next } = appraise(answer(each), policy, { name: 'n', past }, references, 0);
    past = { ...noPast, sequence: next.sequence, memory: JSON.parse(JSON.stringify(next.memory)) };
    const codes = verdict.reasons.flatMap(({ code, severity }) =>
      code === 'rebooted' || code === 'resumed' ? [] : `${code} ${severity}`,
    );
    return [verdict.state, ...codes].join(', ');
  });
}

const [fits, told, withheld, remeasured] = [
  'trusted',
  'trusted, facts_unavailable info',
  'pending, facts_unavailable fail',
  'untrusted, boot_remeasured fail',
];

describe('what the kernel found when it started', () => {
  it('is compared with PCRs 0 to 9', () => {
    assert.deepEqual(judgedInTurn([{ aggregate: covered }]), [fits]);
    assert.deepEqual(judgedInTurn([{ aggregate: other }]), [remeasured]);
    assert.deepEqual(judgedInTurn([{ aggregate: 'not_replayed' }]), [remeasured]);
  });

  it('is what the log leaves in PCR 9 where systemd from 259 on extended that later, and only then', () => {
    const text = 'nvpcr-init:hardware:0x1800421:sha256:00ff';
    const digests = [{ hashAlg: 'sha256', digest: hash('sha256', text) }];
    const content = { eventType: 'nvpcr-init', string: text };
    const said = Buffer.from(`\x1e${JSON.stringify({ pcr: 9, digests, content })}\n`);
    const later = Buffer.from(values);
    const pcr9 = later.subarray(9 * 32, 10 * 32);
    hash('sha256', Buffer.concat([pcr9, hash('sha256', text, 'buffer')]), 'buffer').copy(pcr9);
    const banks = [bankByHand({ bank: 'sha256', mask: 0xffffff, values: later })];
    const boot = measureBoot(hashPart(log), banks, hashPart(said));
    const judged = (aggregate: Proven['aggregate'], of = boot) => {
      const proven = provenByHand(answer({ aggregate }), { banks, boot: of });
      const { state, reasons } = appraise(proven, required, { name: 'n' }, references, 0).verdict;
      return [state, ...reasons.map(({ code }) => code)].join(' ');
    };
    assert.equal(judged(covered), 'trusted');
    assert.equal(judged(aggregateOf(later, 'sha256')), 'untrusted boot_remeasured');
    assert.match(judged(covered, measureBoot(hashPart(log), banks)), /^untrusted .*boot_remeasured/);
  });

  it('is told to be missing, and demanded where the policy says so (row 133)', () => {
    const missing = [null, 'unextended', 'unreadable', 'no_aggregate', 'unquoted'] as const;
    for (const aggregate of missing) {
      assert.deepEqual(judgedInTurn([{ aggregate }, { aggregate }]), [told, told], `${aggregate}`);
      assert.deepEqual(judgedInTurn([{ aggregate }], required), [withheld], `${aggregate}`);
    }
    assert.deepEqual(judgedInTurn([{ aggregate: covered }], required), [fits]);
  });

  it('counts as missing where it leaves PCRs 8 and 9 out, or is of SHA-1', () => {
    const sha1 = aggregateOf(replayedValues(log, 'sha1'), 'sha1', 7);
    for (const aggregate of [aggregateOf(values, 'sha256', 7), sha1]) {
      assert.deepEqual(judgedInTurn([{ aggregate }, { aggregate: null }]), [told, told], aggregate);
      assert.deepEqual(judgedInTurn([{ aggregate }], required), [withheld], aggregate);
    }
  });

  it('is compared where it is of SHA-1 and that bank was quoted, and covers PCRs 0 to 7 at most', () => {
    const bank = 'sha1' as const;
    const own = replayedValues(log, bank);
    const both = (aggregate: Proven['aggregate']) => {
      const [quoted] = madeProof({ log, bank: 'sha256' }).banks;
      const banks = [
        ...(quoted === undefined ? [] : [quoted]),
        { ...quoted, bank, mask: 0xffffff, values: own },
      ];
      return provenByHand(answer({ aggregate }), { banks: banks as Proven['banks'] });
    };
    const codes = (aggregate: Proven['aggregate']) =>
      appraise(both(aggregate), rules, { name: 'n' }, references, 0).verdict.reasons.map(
        ({ code, severity }) => `${code} ${severity}`,
      );
    assert.deepEqual(codes(aggregateOf(own, bank, 7)), ['facts_unavailable info']);
    assert.deepEqual(codes(aggregateOf(own, bank, 9)), ['boot_remeasured fail']);
    assert.deepEqual(codes(aggregateOf(Buffer.alloc(480, 1), bank, 7)), ['boot_remeasured fail']);
  });

  it('is remembered for its boot, also where the list outgrew its bound', () => {
    const unavailable = { ima: 'longer than 262144 bytes' };
    const later = { aggregate: null, unavailable };
    assert.deepEqual(judgedInTurn([{ aggregate: covered }, { aggregate: null }, later], required), [
      fits,
      fits,
      fits,
    ]);
    // A list that leads nowhere, or to nothing, changes nothing of it.
    for (const aggregate of ['not_replayed', 'unreadable'] as const)
      assert.deepEqual(judgedInTurn([{ aggregate: covered }, { aggregate }]), [fits, fits]);
  });

  it('is remembered where it speaks against the node, whatever is shown afterwards in this boot (row 132)', () => {
    assert.deepEqual(judgedInTurn([{ aggregate: other }, { aggregate: null }, { aggregate: 'unreadable' }]), [
      remeasured,
      remeasured,
      remeasured,
    ]);
    const hidden = judgedInTurn([{ aggregate: 'not_replayed' }, { aggregate: 'unreadable' }]);
    assert.deepEqual(hidden, [remeasured, remeasured]);
    assert.deepEqual(
      judgedInTurn([{ aggregate: 'not_replayed' }, { aggregate: null }, { aggregate: covered }]),
      [remeasured, remeasured, fits],
    );
  });

  it('is pending from a node that gave it before and withholds it now (row 133)', () => {
    const next = { aggregate: null, boot: 'b', resetCount: 8 };
    assert.deepEqual(judgedInTurn([{ aggregate: covered }, next, next]), [fits, withheld, withheld]);
    // What stood against the boot before stands until a list proves this one.
    const stands = 'untrusted, boot_remeasured fail, facts_unavailable fail';
    const proven = { ...next, aggregate: covered };
    assert.deepEqual(judgedInTurn([{ aggregate: other }, next, proven]), [remeasured, stands, fits]);
    const again = { ...next, aggregate: covered };
    assert.deepEqual(judgedInTurn([{ aggregate: covered }, next, again]), [fits, withheld, fits]);
    const sha1 = aggregateOf(replayedValues(log, 'sha1'), 'sha1', 7);
    assert.deepEqual(judgedInTurn([{ aggregate: covered }, { ...next, aggregate: sha1 }]), [fits, withheld]);
  });

  it('is of one boot: a reset, a resume and another kernel each ask for it anew', () => {
    for (const change of [{ boot: 'b' }, { resetCount: 8, boot: 'b' }, { restartCount: 2 }]) {
      const [, second] = judgedInTurn([{ aggregate: covered }, { aggregate: null, ...change }]);
      assert.match(second ?? '', /^pending.*facts_unavailable fail/, JSON.stringify(change));
    }
  });

  it('is not held against a kernel that another one was started by', () => {
    const second = judgedInTurn([{ aggregate: covered }, { aggregate: 'not_replayed', boot: 'b' }])[1] ?? '';
    assert.match(second, /^pending, .*kexec_detected fail/);
    assert.doesNotMatch(second, /boot_remeasured/);
  });

  it('is judged as it was where what is remembered is something else', () => {
    const judged = (memory: unknown) =>
      appraise(
        answer({ aggregate: null }),
        rules,
        { name: 'n', past: { ...noPast, memory: { boot: memory } } },
        references,
        0,
      ).verdict.reasons.map(({ code, severity }) => `${code} ${severity}`);
    const known = { resetCount: 7, restartCount: 1, bootId: bootId('a'), shown: covered, gave: true };
    assert.deepEqual(judged(known), []);
    for (const broken of [
      null,
      7,
      'x',
      {},
      { ...known, shown: 'x' },
      { ...known, gave: 1 },
      { ...known, bootId: 1 },
    ])
      assert.deepEqual(judged(broken), ['facts_unavailable info'], JSON.stringify(broken));
  });

  it('need not be shown again once it is remembered, and only then', () => {
    const enough = (answered: Answered) =>
      appraise(answer(answered), rules, { name: 'n' }, references, 0).enough;
    assert.deepEqual(enough({ aggregate: covered }), ['ima']);
    assert.deepEqual(enough({ aggregate: 'unextended' }), ['ima']);
    assert.deepEqual(enough({ aggregate: null }), []);
    assert.deepEqual(enough({ aggregate: covered, unavailable: { host: 'late' } }), []);
    // A list that is too long is said so, and costs nothing else.
    assert.deepEqual(judgedInTurn([{ aggregate: null, unavailable: { ima: 'too long' } }]), [told]);
  });

  it('weighs what the policy says', () => {
    const lenient = policyOf(
      'require: [identity, boot]',
      'boot: {aggregate: required}',
      'severity: {facts_unavailable: warn}',
    );
    assert.deepEqual(judgedInTurn([{ aggregate: null }], lenient), ['trusted, facts_unavailable warn']);
  });
});
