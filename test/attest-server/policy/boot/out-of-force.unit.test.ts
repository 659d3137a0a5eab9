import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { nextStep } from '../../../../attest-server/policy/advice.ts';
import { digestsOf } from '../../../../swtpm-fixtures/remeasure.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { tamper } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { eventsWhere } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, sentLog, verdictOn, verdictsBy } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const updated = tamper(log, 'kernel');
const at = Date.parse('2026-11-20T12:00:00.000Z');
const policy = policyOf('require: [identity, boot]');
const node = { name: 'node-1', tpmClass: 'unknown', labels: {}, past: sentLog } as const;
const by = { by: 'token:bob', at: '2026-11-19T03:00:00.000Z', reason: 'all are updated' };

const textOf = (references: readonly Reference[], boot = updated) => {
  const { reasons } = verdictOn(madeProof({ log: boot }), policy, node, references, at);
  return `${reasons[0]?.code}: ${reasons.map(({ text }) => text).join(' ')}`;
};

const nextOf = (references: readonly Reference[]) => {
  const [reason] = verdictOn(madeProof({ log: updated }), policy, node, references, at).reasons;
  return reason === undefined ? '' : nextStep(reason, { node: 'node-1' });
};

describe('a boot that no reference in force knows', () => {
  const old = capturedFrom(madeProof({ log }), { name: 'old' });
  const own = capturedFrom(madeProof({ log: updated }), { name: 'own' });
  const retired: Reference = {
    ...own,
    state: 'retired',
    changed: { ...by, action: 'retire', from: 'active' },
  };

  it('says who retired the one that knew it, when and why, beside another one or none', () => {
    for (const references of [[retired], [old, retired]])
      assert.match(textOf(references), /own, but token:bob retired it on 2026-11-19T\S+ \(all are updated\)/);
    assert.match(textOf([{ ...own, state: 'retired' }]), /own, but that is retired/);
  });

  it('says which one is staged, or has expired', () => {
    assert.match(textOf([old, { ...own, state: 'staged' }]), /own, but that is only staged/);
    const expires = new Date(at).toISOString();
    assert.match(textOf([old, { ...own, expires }]), /own, but that expired on 2026-11-20/);
  });

  it('has the command as its next step that puts such a one in force, where that is possible', () => {
    const command = /^ {2}assay reference approve own --reason "/m;
    for (const references of [[retired], [old, retired], [old, { ...own, state: 'staged' as const }]])
      assert.match(nextOf(references), command);
    assert.doesNotMatch(nextOf([old, { ...own, expires: new Date(at).toISOString() }]), command);
    assert.doesNotMatch(nextOf([old]), command);
  });

  it('says nothing of one of another boot or group, nor where the boot is known', () => {
    for (const references of [
      [old, { ...retired, group: 'others' }],
      [{ ...old, state: 'retired' as const, name: 'own' }],
      [own, { ...retired, name: 'twin' }],
    ])
      assert.doesNotMatch(textOf(references), /names[,;]/);
  });

  it('says who revoked it, when and why', () => {
    const revoked: Reference = {
      ...own,
      state: 'revoked',
      changed: { ...by, action: 'revoke', from: 'active' },
    };
    assert.match(
      textOf([revoked]),
      /^revoked_reference: .*own; token:bob revoked it on .* \(all are updated\)/,
    );
    assert.doesNotMatch(textOf([old, revoked]), /Active reference/);
    const copies = ['a', 'b'].map((name) => ({ ...own, name }));
    assert.match(textOf([...copies, old, revoked]), /Active references have all of this boot too: a, b\./);
    assert.match(
      textOf([{ ...own, state: 'revoked' }]),
      /^revoked_reference: .*own; that reference was revoked/,
    );
  });

  it('is judged quickly where hundreds of hosts have references of their own, in force and out of it', () => {
    const many = (boot: Buffer, state: Reference['state']) => {
      const captured = capturedFrom(madeProof({ log: boot }));
      return Array.from({ length: 300 }, (_, index): Reference => {
        const digests = { sha256: hash('sha256', `${state} ${index}`, 'hex') };
        const components = captured.components.map((one) =>
          one.stage === 'initrd' ? { ...one, digests } : one,
        );
        return { ...captured, name: `${state}-${index}`, state, components };
      });
    };
    const before = many(log, 'active');
    const after = many(updated, 'retired');
    const initrds = eventsWhere(updated, ({ pcr, stage }) => pcr === 9 && stage === 'initrd');
    const boots = Array.from({ length: 4 }, (_, index) => {
      const digest = digestsOf((bank) => hash(bank, `new ${index}`, 'hex'));
      return madeProof({ log: rewriteLog(updated, new Map(initrds.map((one) => [one.index, { digest }]))) });
    });
    const quickest = (references: readonly Reference[]) => {
      const judge = verdictsBy(policy, references);
      const times = boots.map((boot) => {
        const begun = performance.now();
        assert.equal(judge(boot, node, at).state, 'untrusted');
        return performance.now() - begun;
      });
      return Math.min(...times);
    };
    // Each is compared once more. Each with each would take a hundred times as long, and keeps the server from all else.
    const [few, all] = [quickest(before), quickest([...before, ...after])];
    assert.ok(all < 20 * few, `${all} ms, and ${few} ms without those out of force`);
  });
});
