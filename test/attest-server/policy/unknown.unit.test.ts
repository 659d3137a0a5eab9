import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { appraise, type NodePast } from '../../../attest-server/policy/appraise.ts';
import { type KeptUnknown, unknownIn } from '../../../attest-server/policy/kept-unknown.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import { setOf } from '../../../attest-server/policy/unknown.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import { withMadeFiles } from '../../../swtpm-fixtures/loader-files.ts';
import { headerBytes, madePe } from '../../../swtpm-fixtures/made-pe.ts';
import { siblingLog } from '../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { updatedLog } from '../../../swtpm-fixtures/updated-boot.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { dataOf, eventWhere, insertBefore } from '../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, sentLog } from './made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const uuid = /[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}/g;
/** The same model and software, on another machine. */
const sibling = (of: Buffer, change: Parameters<typeof siblingLog>[1] = {}) =>
  siblingLog(of, {
    text: (text) => text.replace(uuid, (one) => one.replaceAll(/[0-9a-f]/g, '7')),
    ...change,
  });
const updated = tamper(log, 'kernel');
const strict = policyOf('require: [identity, boot]');
const base = capturedFrom(madeProof({ log }), { name: 'base', node: 'node-0' });

interface Shown {
  readonly policy?: Policy;
  readonly references?: readonly Reference[];
  readonly past?: NodePast;
  readonly at?: number;
}

function memoryOf(
  proven: Proven,
  { policy = strict, references = [base], past = sentLog, at = 0 }: Shown = {},
) {
  return appraise(proven, policy, { name: 'node-1', past }, references, at).next.memory;
}

function unknownOf(boot: Buffer | Proven, shown?: Shown): KeptUnknown | null {
  const proven = Buffer.isBuffer(boot) ? madeProof({ log: boot }) : boot;
  return unknownIn(memoryOf(proven, shown)).boot ?? null;
}

describe('what is remembered of a boot that no reference in force has', () => {
  it('is nothing where a reference has it', () => {
    assert.equal(unknownOf(log), null);
    assert.equal(unknownOf(sibling(log)), null);
    assert.deepEqual(Object.keys(memoryOf(madeProof({ log }))), []);
  });

  it('is the same for two machines that differ in their identifiers alone', () => {
    for (const references of [[base], []])
      assert.equal(
        unknownOf(updated, { references })?.set,
        unknownOf(sibling(updated), { references })?.set ?? assert.fail(),
      );
  });

  it('is another one for another kernel, another command line, another initrd, and where more is unknown', () => {
    const boots = [
      updated,
      tamper(log, 'cmdline'),
      sibling(log, { initrd: true }),
      sibling(updated, { initrd: true }),
      recordedLog('debian11-shim-grub'),
    ];
    const sets = new Set(boots.map((boot) => unknownOf(boot)?.set ?? assert.fail()));
    assert.equal(sets.size, boots.length);
    assert.notEqual(unknownOf(updated)?.set, unknownOf(updated, { references: [] })?.set);
  });

  it('is another one where a line is measured besides of which nobody knows the text (row 187)', () => {
    const changed = tamper(log, 'cmdline');
    const { index } = eventWhere(changed, ({ pcr, stage }) => pcr === 9 && stage === 'cmdline');
    const measured = Buffer.from('init=/bin/sh', 'utf16le');
    const besides = insertBefore(changed, index + 1, {
      pcr: 9,
      type: 6,
      data: dataOf(changed, index),
      measured,
    });
    for (const references of [[base], []]) {
      const set = unknownOf(changed, { references })?.set ?? assert.fail();
      assert.equal(unknownOf(sibling(changed), { references })?.set, set);
      assert.notEqual(unknownOf(besides, { references })?.set ?? assert.fail(), set);
    }
  });

  it('is another one where one text looks like two (row 187)', () => {
    assert.notEqual(setOf(['loader 8 a\nloader 8 b']), setOf(['loader 8 a', 'loader 8 b']));
    assert.equal(setOf(['b', 'a', 'b']), setOf(['a', 'b']));
  });

  it('tells stage by stage what it is, the cause first', () => {
    const whats = (boot: Buffer, references = [base]) =>
      unknownOf(boot, { references })?.things.map(({ what }) => what);
    assert.deepEqual(whats(updated), ['kernel']);
    assert.deepEqual(whats(sibling(updated, { initrd: true })), ['kernel', 'initrd']);
    assert.deepEqual(whats(tamper(log, 'cmdline'))?.[0], 'command line');
    assert.ok((whats(log, [])?.length ?? 0) >= 5);
  });

  it('calls a kernel by its file, which has the version in its name, and not by its image in memory', () => {
    for (const [name, path] of [
      ['centos9-shim-grub', /\/vmlinuz/],
      ['debian13-shim-grub', /\/vmlinuz/],
      ['debian13-sdboot-uki', /\.efi$/],
    ] as const) {
      const things = unknownOf(recordedLog(name), { references: [] })?.things;
      assert.match(things?.find(({ what }) => what === 'kernel')?.name ?? '', path);
    }
  });

  it('is of the stages that the policy compares', () => {
    const open = policyOf('require: [identity, boot]', 'boot: {scope: {initrd: unpinned}}');
    assert.equal(unknownOf(sibling(log, { initrd: true }), { policy: open }), null);
    assert.equal(
      unknownOf(sibling(updated, { initrd: true }), { policy: open })?.set,
      unknownOf(updated)?.set,
    );
  });

  it('is one for all nodes where each needs a reference of its own', () => {
    const own = policyOf('require: [identity, boot]', 'boot: {scope: {initrd: node}}');
    const one = unknownOf(log, { policy: own });
    const other = unknownOf(sibling(log, { initrd: true }), { policy: own });
    assert.deepEqual([one?.own, one?.set], [true, other?.set]);
    assert.deepEqual([one?.things[0]?.what, one?.things[0]?.digest], ['initrd', null]);
  });

  it('keeps since when, for as long as it is the same, and nothing once it is known', () => {
    const proven = madeProof({ log: updated });
    const first = memoryOf(proven, { at: 1000 });
    const later = memoryOf(proven, { at: 2000, past: { ...sentLog, memory: first } });
    assert.equal(unknownIn(later).boot?.since, 1000);
    const other = memoryOf(madeProof({ log: tamper(log, 'cmdline') }), {
      at: 3000,
      past: { ...sentLog, memory: later },
    });
    assert.equal(unknownIn(other).boot?.since, 3000);
    const mended = memoryOf(madeProof({ log }), { past: { ...sentLog, memory: other } });
    assert.equal(unknownIn(mended).boot, undefined);
  });

  it('is held back where somebody lies, in a policy that asks for no boot, too', () => {
    const values = replayedValues(updated, 'sha256');
    values[4 * 32] = (values[4 * 32] ?? 0) ^ 1;
    const lying = madeProof({ log: updated, values });
    for (const policy of [strict, policyOf('mode: observe', 'require: [identity]')]) {
      assert.ok(unknownOf(lying, { policy })?.held.includes('log_replay_mismatch'));
      assert.deepEqual(unknownOf(updated, { policy })?.held, []);
    }
  });

  it('is held back where a person has revoked it', () => {
    const revoked = capturedFrom(madeProof({ log: updated }), { name: 'bad' });
    const references: readonly Reference[] = [base, { ...revoked, state: 'revoked' }];
    assert.deepEqual(unknownOf(updated, { references })?.held, ['revoked_reference']);
  });

  it('says that its change was announced, where it was', () => {
    const announced = {
      nodes: null,
      by: 'token:alice',
      at: new Date(0).toISOString(),
      until: new Date(9000).toISOString(),
    };
    const any: Reference = {
      ...base,
      name: 'any',
      state: 'staged',
      components: [],
      announced: { ...announced, reason: 'update' },
    };
    const shown = unknownOf(updated, { references: [base, any], at: 1000 });
    assert.deepEqual([shown?.codes, shown?.signed, shown?.held], [['change_expected'], false, []]);
    assert.equal(shown?.set, unknownOf(updated)?.set);
  });

  it('says which rule of the policy is broken besides', () => {
    const policy = policyOf('require: [identity, boot]', 'boot: {cmdline: {forbid: ["init=/bin/sh"]}}');
    assert.deepEqual(unknownOf(tamper(log, 'cmdline'), { policy })?.rules, ['cmdline_policy']);
    assert.deepEqual(unknownOf(tamper(log, 'cmdline'))?.rules, []);
  });

  it('says where no capture would make it known', () => {
    assert.equal(unknownOf(updated)?.lacks, null);
    const withoutLog = unknownOf(madeProof({ values: replayedValues(log, 'sha256') }), { references: [] });
    assert.match(withoutLog?.lacks ?? '', /no boot log/);
  });

  it('is held at nothing that another version, or a hostile bundle, put there', () => {
    for (const unknown of [null, 7, 'x', [], { boot: 1 }, { boot: { set: 7 } }, { disc: {} }]) {
      assert.deepEqual(unknownIn({ unknown }), {});
      const past = { ...sentLog, memory: { unknown } };
      assert.equal(unknownOf(updated, { past })?.since, 0);
      assert.equal(unknownOf(log, { past }), null);
    }
  });

  it('stays small, and printable, whatever a log calls its parts', () => {
    const things = unknownOf(updated, { references: [] })?.things ?? assert.fail();
    assert.ok(JSON.stringify(things).length < 4096);
    for (const { name } of things) assert.ok(name.length <= 256);
  });
});

describe('a reference that is out of force', () => {
  const staged = (of: Buffer, change: Partial<Reference> = {}): Reference => ({
    ...capturedFrom(madeProof({ log: of }), { name: 'next', state: 'staged' }),
    ...change,
  });
  const knownBy = (boot: Buffer, ...references: readonly Reference[]) =>
    unknownOf(boot, { references: [base, ...references] })?.knownBy;

  it('is named where it has all that is unknown, also on a machine whose other parts others know', () => {
    const firmware = (of: Buffer) => of;
    assert.equal(knownBy(updated, staged(firmware(updated))), 'next');
    assert.equal(knownBy(sibling(updated), staged(updated)), 'next');
    const kernelOnly = staged(updated);
    const other = {
      ...kernelOnly,
      components: kernelOnly.components.filter(({ stage }) => stage !== 'firmware'),
    };
    assert.equal(knownBy(updated, other), 'next');
    // Another machine's firmware: the boot is not like it as a whole, and its kernel is known by it all the same.
    const elsewhere = kernelOnly.components.map((one) =>
      one.stage === 'firmware' ? { ...one, digests: { sha256: 'ee'.repeat(32) } } : one,
    );
    assert.equal(knownBy(updated, { ...kernelOnly, components: elsewhere }), 'next');
  });

  it('is not named where something stays unknown', () => {
    assert.equal(knownBy(sibling(updated, { initrd: true }), staged(updated)), null);
    assert.equal(knownBy(updated, staged(log)), null);
    assert.equal(knownBy(updated, staged(updated, { group: 'others' })), null);
  });

  it('is not named where it would count for another node alone', () => {
    const own = policyOf('require: [identity, boot]', 'boot: {scope: {kernel: node}}');
    const on = (node: string) => [
      base,
      staged(updated, { captured: { by: 'me', node, at: new Date(0).toISOString() } }),
    ];
    assert.equal(unknownOf(updated, { policy: own, references: on('node-2') })?.knownBy, null);
    const byNode = policyOf('require: [identity, boot]', 'boot: {scope: {initrd: node}}');
    assert.equal(unknownOf(updated, { policy: byNode, references: on('node-1') })?.knownBy, 'next');
  });

  it('is named for a changed command line, too', () => {
    const boot = tamper(log, 'cmdline');
    assert.equal(knownBy(boot, staged(boot)), 'next');
  });

  describe('of the next kernel, by whose version its loader names an initrd', () => {
    const fleet = withMadeFiles(recordedLog('centos9-shim-grub'));
    const from = '5.14.0-183.el9.x86_64';
    const files = {
      kernel: madePe(true, [{ at: headerBytes, content: Buffer.from('next') }], Buffer.alloc(0)),
      initrd: Buffer.from('the next initrd'),
    };
    const next = updatedLog(fleet, { ...files, from, to: '5.14.0-570.el9.x86_64' });
    const first = capturedFrom(madeProof({ log: fleet }), { name: 'first', node: 'node-0' });
    /** As one that was computed of these files. */
    const ofFiles = (stages: readonly string[]) => ({
      ...staged(next),
      components: staged(next).components.filter(({ stage }) => stages.includes(stage)),
    });
    const judged = (...references: readonly Reference[]) =>
      unknownOf(next, { references: [first, ...references] });

    it('is named, since references in force know the loader once the kernel is known', () => {
      assert.equal(judged(ofFiles(['kernel', 'initrd']))?.knownBy, 'next');
    });

    it('is not named where the initrd stays unknown, or nothing in force knows the loader', () => {
      assert.equal(judged(ofFiles(['kernel']))?.knownBy, null);
      assert.equal(unknownOf(next, { references: [base, ofFiles(['kernel', 'initrd'])] })?.knownBy, null);
    });

    it('is not named for what another one that is out of force would make known', () => {
      const unnamed = ofFiles(['kernel', 'initrd']);
      const components = unnamed.components.map((one) => ({ ...one, description: '/vmlinuz' }));
      const other = { ...ofFiles(['kernel']), name: 'other' };
      assert.equal(judged({ ...unnamed, components }, other)?.knownBy, null);
    });

    it('waits for an approval also while it is announced', () => {
      const announced = {
        nodes: null,
        by: 'token:alice',
        at: new Date(0).toISOString(),
        until: new Date(1000).toISOString(),
        reason: 'kernel update',
      };
      const waiting = judged({ ...ofFiles(['kernel', 'initrd']), announced });
      assert.deepEqual([waiting?.knownBy, waiting?.codes], ['next', []]);
    });
  });
});
