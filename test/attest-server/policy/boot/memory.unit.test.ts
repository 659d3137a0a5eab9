import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { noPast } from '../../../../attest-server/policy/appraise.ts';
import type { JudgedNode } from '../../../../attest-server/policy/aspect.ts';
import { boot } from '../../../../attest-server/policy/boot/boot.ts';
import { neverCapped } from '../../../../attest-server/policy/cap.ts';
import { judgeSequence, sightingOf } from '../../../../attest-server/policy/sequence.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { HostFacts } from '../../../../attest-server/wire/facts.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, sentLog, verdictsBy } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const references = [capturedFrom(madeProof({ log }))];
const required = policyOf('require: [identity, boot]');
const [group] = required.groups;
assert.ok(group);

/** PCR 10 as IMA leaves it after one more file. */
function withPcr10(byte: number): Proven {
  const values = replayedValues(log, 'sha256');
  values.fill(byte, 32 * 10, 32 * 11);
  return madeProof({ log, values });
}

function saying(host: HostFacts): Proven {
  const facts = {
    purpose: 'attest',
    node: 'n',
    bootId: '0'.repeat(36),
    helloDigest: '0'.repeat(64),
    host,
  } as const;
  return provenByHand(madeProof({ log }), { facts });
}

const nodeOf = (proven: Proven, past = noPast): JudgedNode => ({
  name: 'n',
  tpmClass: 'unknown',
  cap: neverCapped,
  twins: [],
  clusterUuid: null,
  sameUuid: [],
  sharedVolumes: [],
  past,
  sequence: judgeSequence(null, sightingOf(proven)),
  unread: [],
});

describe('what the boot aspect remembers', () => {
  const judge = () => boot.prepare(group.rules.boot, { group, references, remembers: true });

  it('is found again while PCR 10 moves in every answer', () => {
    const { judge: judged } = judge();
    const first = withPcr10(1);
    const known = judged(first, nodeOf(first), 0);
    assert.equal(known.affirmed, true);
    for (let byte = 2; byte < 9; byte += 1) {
      const next = withPcr10(byte);
      assert.notEqual(next.banks[0]?.pcrDigest, first.banks[0]?.pcrDigest);
      assert.equal(judged(next, nodeOf(next), byte), known);
    }
  });

  it('is not what is known of another boot, whatever stays the same', () => {
    const { judge: judged } = judge();
    const good = madeProof({ log });
    const known = judged(good, nodeOf(good), 0);
    const others: readonly (readonly [string, Proven, JudgedNode])[] = [
      ['another log', madeProof({ log: tamper(log, 'kernel') }), nodeOf(good)],
      [
        'a log that the values do not confirm',
        madeProof({ log: tamper(log, 'kernel'), values: replayedValues(log, 'sha256') }),
        nodeOf(good),
      ],
      ['no log', madeProof({ values: replayedValues(log, 'sha256') }), nodeOf(good)],
      ['kexec', saying({ kexecLoadDisabled: false }), nodeOf(good)],
      ['a command line', saying({ commandLine: 'init=/bin/sh' }), nodeOf(good)],
      ['another firmware of the TPM', provenByHand(good, { firmwareVersion: 'f'.repeat(16) }), nodeOf(good)],
    ];
    for (const [what, proven, node] of others) {
      const anew = boot.prepare(group.rules.boot, { group, references, remembers: false });
      assert.deepEqual(judged(proven, node, 0), anew.judge(proven, node, 0), what);
      assert.equal(judged(good, nodeOf(good), 0).affirmed, known.affirmed, what);
    }
  });

  for (const state of ['active', 'revoked'] as const)
    it(`goes by PCR 10 and those behind 15 where ${state} references name them`, () => {
      for (const pcr of [10, 16, 23]) {
        const [named, other] = [1, 2].map((byte) => {
          const values = replayedValues(log, 'sha256');
          return madeProof({ log, values: values.fill(byte, 32 * pcr, 32 * (pcr + 1)) });
        });
        assert.ok(named && other);
        assert.equal(named.measuredDigest, other.measuredDigest);
        const [bank] = named.banks;
        const pcrs = Array.from({ length: 24 }, (_, at) => [
          at,
          bank?.values.toString('hex', 32 * at, 32 * (at + 1)),
        ]);
        const reference: Reference = {
          ...capturedFrom(madeProof({ log }), { group: group.name, state: 'active' }),
          state,
          pcrs: { sha256: Object.fromEntries(pcrs) },
          components: [],
          events: [],
        };
        const prepare = (remembers: boolean): ReturnType<typeof boot.prepare> =>
          boot.prepare(group.rules.boot, { group, references: [reference], remembers });
        const { judge: judged } = prepare(true);
        for (const proven of [named, other, named])
          assert.deepEqual(
            judged(proven, nodeOf(proven), 0),
            prepare(false).judge(proven, nodeOf(proven), 0),
          );
      }
    });

  it('names the firmware of the TPM that was judged, of two that are denied', () => {
    const versions = ['a', 'b'].map((digit) => digit.repeat(16));
    const denying = policyOf('require: [identity, boot]', `boot: {tpmFirmware: {deny: [${versions}]}}`);
    const rules = denying.groups[0]?.rules.boot ?? assert.fail();
    const { judge: judged } = boot.prepare(rules, { group, references, remembers: true });
    for (const version of versions) {
      const proven = provenByHand(madeProof({ log }), { firmwareVersion: version });
      const [denied] = judged(proven, nodeOf(proven), 0).findings;
      assert.deepEqual([denied?.code, denied?.actual], ['tpm_firmware', version]);
    }
  });

  it('goes by what the node sent before', () => {
    const { judge: judged } = judge();
    const silent = madeProof({ values: replayedValues(log, 'sha256') });
    const codes = (node: JudgedNode) => judged(silent, node, 0).findings.map(({ code }) => code);
    assert.deepEqual(codes(nodeOf(silent)), ['no_boot_log']);
    assert.deepEqual(codes(nodeOf(silent, sentLog)), ['log_incomplete']);
  });
});

describe('a verdict', () => {
  it('changes with one fact, under equal PCR values', () => {
    const strict = policyOf('require: [identity, boot]', 'severity: {kexec_possible: fail}');
    const judge = verdictsBy(strict, references);
    const locked = saying({ kexecLoadDisabled: true });
    const open = saying({ kexecLoadDisabled: false });
    assert.equal(locked.measuredDigest, open.measuredDigest);
    const states = [locked, open, locked, open].map((proven) => judge(proven, { name: 'n' }, 0).state);
    assert.deepEqual(states, ['trusted', 'untrusted', 'trusted', 'untrusted']);
  });
});
