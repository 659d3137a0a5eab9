import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type AppraisedNode, type NodePast, noPast } from '../../../attest-server/policy/appraise.ts';
import { pastOf } from '../../../attest-server/policy/past.ts';
import { type Sequence, sightingOf } from '../../../attest-server/policy/sequence.ts';
import type { Facts } from '../../../attest-server/wire/facts.ts';
import type { Verdict } from '../../../attest-server/wire/verdict.ts';
import { siblingLog } from '../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { dataOf, eventsWhere, eventWhere, insertBefore, remeasured } from '../../vectors/log-surgery.ts';
import { provenByHand } from '../verify/made-by-hand.ts';
import { capturedFrom, madeProof, policyOf, sentLog, verdictOn, verdictsBy } from './made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const captured = (from: Buffer, node = 'one') => capturedFrom(madeProof({ log: from }), { node });
const summary = ({ state, reasons }: Verdict) =>
  [state, ...reasons.map(({ code, severity }) => `${code} ${severity}`)].join(', ');

function saying(host: NonNullable<Facts['host']>, from = log) {
  const facts: Facts = {
    purpose: 'attest',
    node: 'one',
    bootId: '0'.repeat(36),
    helloDigest: '0'.repeat(64),
    host,
  };
  return provenByHand(madeProof({ log: from }), { facts });
}

describe('a kernel that another one may replace', () => {
  const required = policyOf('require: [identity, boot]');
  const judged = (host: NonNullable<Facts['host']>, from = log, policy = required) =>
    verdictOn(saying(host, from), policy, { name: 'one' }, [captured(from)], at);
  const locked = siblingLog(log, { text: (text) => text.replace(' ro ', ' ro lockdown=integrity ') });

  it('row 99: is a warning, by the word of the node', () => {
    const verdict = judged({ kexecLoadDisabled: false, lockdown: 'none' });
    assert.equal(summary(verdict), 'trusted, kexec_possible warn');
    assert.equal(verdict.reasons[0]?.source, 'host');
    assert.equal(summary(judged({ kexecLoadDisabled: false })), 'trusted, kexec_possible warn');
  });

  it('stays one beside one more line that locks down: each line must have the word (row 140)', () => {
    const line = eventsWhere(log, ({ describes }) => describes.startsWith('kernel_cmdline: '))[0];
    assert.ok(line);
    const text = dataOf(log, line.index)
      .toString()
      .replace(' ro ', ' ro lockdown=integrity ')
      .replace(/\0$/, '');
    const measured = Buffer.from(text.replace('kernel_cmdline: ', ''));
    const more = insertBefore(log, line.index + 1, {
      pcr: 8,
      type: 13,
      data: Buffer.from(`${text}\0`),
      measured,
    });
    const allows = policyOf('require: [identity, boot]', 'boot: {cmdline: {allow: ["lockdown=*"]}}');
    const proven = saying({ kexecLoadDisabled: false }, more);
    assert.equal(proven.boot?.state.commandLines.length, 2);
    const verdict = verdictOn(proven, allows, { name: 'one' }, [captured(log)], at);
    assert.equal(summary(verdict), 'trusted, kexec_possible warn');
  });

  it('stays one where the word is behind what a kernel reads, or the line is known by its digest alone', () => {
    const long = siblingLog(locked, { text: (text) => text.replace(' ro ', ` ro ${'x'.repeat(2100)} `) });
    assert.equal(summary(judged({ kexecLoadDisabled: false }, long)), 'trusted, kexec_possible warn');
    const stub = eventWhere(locked, ({ describes }) => describes === 'LOADED_IMAGE::LoadOptions').index;
    const other = remeasured(locked, stub, dataOf(locked, stub), Buffer.from('another line'));
    assert.equal(summary(judged({ kexecLoadDisabled: false }, other)), 'trusted, kexec_possible warn');
  });

  it('is information where the boot is only observed, and what a policy says otherwise', () => {
    const host = { kexecLoadDisabled: false };
    const observed = policyOf('mode: observe');
    assert.equal(summary(judged(host, log, observed)), 'trusted, kexec_possible info');
    const strict = policyOf('require: [identity, boot]', 'severity: {kexec_possible: fail}');
    assert.equal(summary(judged(host, log, strict)), 'untrusted, kexec_possible fail');
  });

  it('is none where what the TPM vouches for locks it down, it is disabled, or nothing is said', () => {
    assert.equal(summary(judged({ kexecLoadDisabled: true, lockdown: 'none' })), 'trusted');
    // The word of the node on its lockdown is judged by `host`, and only there.
    const said = judged({ kexecLoadDisabled: false, lockdown: 'integrity' });
    assert.equal(summary(said), 'trusted, kexec_possible warn');
    assert.equal(summary(judged({})), 'trusted');
    assert.equal(summary(judged({ kexecLoadDisabled: false }, locked)), 'trusted');
    const forInit = siblingLog(log, { text: (text) => text.replace(' ro ', ' ro -- lockdown=integrity ') });
    const warned = summary(judged({ kexecLoadDisabled: false }, forInit));
    assert.equal(warned, 'trusted, kexec_possible warn');
  });
});

describe('a group of machines without a usable TPM', () => {
  it('is unsupported, whatever it sends, and nothing alarms', () => {
    const policy = policyOf('tpm: absent');
    for (const from of [log, tamper(log, 'kernel')]) {
      const verdict = verdictOn(madeProof({ log: from }), policy, { name: 'one' }, [captured(log)], at);
      assert.equal(verdict.state, 'unsupported');
      assert.deepEqual(verdict.reasons, []);
    }
  });
});

describe('TPM firmware that the policy denies', () => {
  it('row 30: makes a node untrusted', () => {
    const { firmwareVersion } = madeProof({ log });
    const policy = policyOf(
      'require: [identity, boot]',
      `boot: {tpmFirmware: {deny: ["${firmwareVersion}"]}}`,
    );
    const verdict = verdictOn(madeProof({ log }), policy, { name: 'one' }, [captured(log)], at);
    assert.equal(summary(verdict), 'untrusted, tpm_firmware fail');
  });
});

describe('TPM firmware that took the place of another', () => {
  const proven = madeProof({ log });
  const { firmwareVersion, clock } = proven;
  /** Seen first in the boot of this resetCount. */
  const replacedAt = (resetCount: number): NodePast => {
    const seen = { ...sightingOf(proven), resetCount: clock.resetCount };
    const replaced = { version: '0001000200030004', resetCount };
    const sequence: Sequence = { ...seen, firstBootId: seen.bootId, rewind: 'none', replaced, held: null };
    return { ...noPast, sequence };
  };
  const inIts = replacedAt(clock.resetCount);
  const later = replacedAt(clock.resetCount - 1);
  const judged = (past: NodePast, ...lines: readonly string[]) =>
    summary(
      verdictOn(
        proven,
        policyOf('require: [identity]', ...lines),
        { name: 'one', past },
        [captured(log)],
        at,
      ),
    );

  it('row 30: is a warning in its first boot, in every mode, and nothing after that', () => {
    for (const mode of ['observe', 'label', 'enforce'] as const) {
      const group = mode === 'observe' ? [] : ['require: [identity, boot]'];
      const policy = policyOf(`mode: ${mode}`, ...group);
      const tell = (past: NodePast) =>
        summary(verdictOn(proven, policy, { name: 'one', past }, [captured(log)], at));
      assert.equal(tell(inIts), 'trusted, tpm_firmware warn');
      assert.equal(tell(later), 'trusted');
    }
  });

  it('row 30: counts until a person approves it where the policy gives the code a severity', () => {
    const strict = 'severity: {tpm_firmware: fail}';
    assert.equal(judged(inIts, strict), 'untrusted, tpm_firmware fail');
    assert.equal(judged(later, strict), 'untrusted, tpm_firmware fail');
    assert.equal(judged(noPast, strict), 'trusted');
  });

  it('row 30: is refused by its version where the policy denies it, and warned of besides', () => {
    const boot = `boot: {tpmFirmware: {deny: ["${firmwareVersion}"]}}`;
    const policy = policyOf('require: [identity, boot]', boot);
    const verdict = verdictOn(proven, policy, { name: 'one', past: inIts }, [captured(log)], at);
    assert.deepEqual(
      verdict.reasons.map(({ code, aspect, severity }) => [code, aspect, severity]),
      [
        ['tpm_firmware', 'boot', 'fail'],
        ['tpm_firmware', 'identity', 'warn'],
      ],
    );
    assert.equal(judged(inIts, boot), 'trusted, tpm_firmware warn, tpm_firmware info');
  });

  it('is the same offline, also in a bundle of a version that held it', () => {
    const before = { resetCount: 7, restartCount: 1, clock: '1', firmwareVersion };
    const pastIn = (more: object) => pastOf({ previous: { ...before, ...more } }).sequence;
    const replaced = { version: '0001000200030004', resetCount: 7 };
    assert.deepEqual(pastIn({ replaced })?.replaced, replaced);
    assert.deepEqual([pastIn({ held: 'tpm_firmware' })?.held, pastIn({})?.replaced], [null, null]);
    assert.equal(pastIn({ held: 'clone_suspected' })?.held, 'clone_suspected');
  });
});

describe('an appraiser that remembers, under every circumstance,', () => {
  const other = siblingLog(log, { initrd: true });
  const references = [captured(log, 'one'), { ...captured(other, 'two'), name: 'two' }];
  const proofs = [
    madeProof({ log }),
    madeProof({ log: other }),
    madeProof({ log, ekDigest: null }),
    saying({ kexecLoadDisabled: false }),
    saying({ kexecLoadDisabled: true }),
  ];
  const nodes: readonly AppraisedNode[] = [
    { name: 'one' },
    { name: 'two' },
    { name: 'two', past: sentLog },
    { name: 'three', labels: { gpu: 'yes' } },
  ];
  for (const boot of ['{}', '{scope: {initrd: node}}', '{scope: {initrd: unpinned}}'])
    it(`answers as one that does not, with boot: ${boot}`, () => {
      const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
      const remembering = verdictsBy(policy, references);
      for (const proven of [...proofs, ...proofs.toReversed()])
        for (const node of nodes)
          assert.deepEqual(
            remembering(proven, node, at),
            verdictOn(proven, policy, node, references, at),
            `${node.name}`,
          );
    });
});
