import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { type Reference, reference } from '../../../../attest-server/formats/reference.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { tamper, tamperEvent } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { eventWhere, remeasured } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, replayedValues, verdictOn } from '../made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const log = recordedLog('debian13-shim-grub');
const unified = recordedLog('debian13-sdboot-uki');

function captured(from: Buffer, change: Partial<Reference> = {}): Reference {
  return { ...capturedFrom(madeProof({ log: from })), ...change };
}

/** As a person writes it: parsed, so that what may be left out is. */
function written(components: Reference['components'], change: Partial<Reference> = {}): Reference {
  const file = { version: 1, name: 'written', group: 'workers', state: 'active', expires: null, pcrs: {} };
  return { ...reference.parse({ ...file, components }), ...change };
}

/** The parts of a captured reference that are of these stages. */
function onlyOf(from: Buffer, stages: readonly string[]): Reference['components'] {
  return captured(from)
    .components.filter(({ stage }) => stages.includes(stage))
    .map(({ stage, scope, digests, description }) => ({ stage, scope, digests, description }));
}

function judged(
  from: Buffer,
  references: readonly Reference[],
  boot = '{}',
  ...more: readonly string[]
): Verdict {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`, ...more);
  return verdictOn(madeProof({ log: from }), policy, { name: 'n' }, references, at);
}

const summary = ({ state, reasons }: Verdict) => [state, ...reasons.map(({ code }) => code)].join(' ');

describe('references by components', () => {
  it('says nothing of the rest of a boot where it was computed, whoever brought it to the server', () => {
    const kernel = written(onlyOf(log, ['kernel']), {
      captured: { by: 'token:ann', node: '-', at: new Date(at).toISOString() },
    });
    assert.equal(summary(judged(log, [kernel])), 'pending no_reference');
    assert.equal(summary(judged(tamper(log, 'kernel'), [kernel])), 'untrusted kernel_unknown no_reference');
  });

  it('may each cover other stages of one boot', () => {
    const newKernel = recordedLog('debian13-shim-grub-kernel');
    const stages = ['kernel', 'initrd', 'cmdline'];
    const oldBoot = captured(log, { name: 'old' });
    const update = { ...captured(newKernel, { name: 'new' }), events: [] };
    const { captured: _by, ...partial } = update;
    const kernelAlone = {
      ...partial,
      components: update.components.filter((one) => stages.includes(one.stage)),
    };
    assert.equal(summary(judged(newKernel, [oldBoot])), 'untrusted kernel_unknown');
    const together = judged(newKernel, [kernelAlone, oldBoot]);
    assert.equal(summary(together), 'trusted');
    assert.deepEqual(together.aspects.boot?.references?.toSorted(), ['new', 'old']);
    assert.deepEqual(judged(newKernel, [captured(newKernel), oldBoot]).aspects.boot?.references, ['ref']);
    assert.equal(judged(newKernel, [oldBoot]).aspects.boot?.references, undefined);
    assert.equal(summary(judged(newKernel, [kernelAlone])), 'pending no_reference');
  });

  const stages = ['firmware', 'secureboot', 'loader', 'kernel', 'initrd', 'cmdline'];
  for (const stage of stages)
    it(`that say nothing of the ${stage} leave a boot pending, and say so`, () => {
      const others = written(
        onlyOf(
          log,
          stages.filter((other) => other !== stage),
        ),
      );
      const verdict = judged(log, [others]);
      assert.equal(summary(verdict), 'pending no_reference');
      assert.match(verdict.reasons[0]?.expected ?? '', /: [a-zA-Z ]+$/);
    });

  it('may be written by hand, of digests alone', () => {
    assert.equal(summary(judged(log, [written(onlyOf(log, stages))])), 'trusted');
    const text =
      '{scope: {firmware: unpinned, loader: unpinned, initrd: unpinned}, signers: ["*"], cmdline: {forbid: ["init=/bin/*"]}}';
    const kernel = written(onlyOf(log, ['kernel', 'secureboot']));
    assert.equal(
      summary(judged(log, [kernel], text)),
      'trusted firmware_unknown bootloader_unknown initrd_unknown',
    );
    assert.equal(judged(tamper(log, 'kernel'), [kernel], text).state, 'untrusted');
    assert.equal(judged(tamper(log, 'cmdline'), [kernel], text).state, 'untrusted');
    assert.equal(judged(tamper(log, 'secureboot'), [kernel], text).state, 'untrusted');
  });

  it('may name PCR values too, which must then be these', () => {
    const pcr = (number: number) =>
      replayedValues(log, 'sha256').toString('hex', 32 * number, 32 * (number + 1));
    const both = (pcrs: Record<string, string>) => captured(log, { pcrs: { sha256: pcrs } });
    assert.equal(summary(judged(log, [both({ 4: pcr(4), 1: pcr(1) })])), 'trusted');
    assert.equal(summary(judged(log, [both({ 1: pcr(2) })])), 'untrusted pcr_mismatch');
    const all = Object.fromEntries([0, 2, 4, 6, 7, 8, 9, 12, 13, 14].map((number) => [number, pcr(number)]));
    const values: Reference = { ...both(all), name: 'values', components: [], events: [] };
    assert.deepEqual(judged(log, [both({ 4: '00' }), values]).aspects.boot?.references, ['values']);
    assert.equal(summary(judged(log, [both({ 4: '00' })])), 'untrusted pcr_mismatch');
    const other = siblingLog(log, { firmwareSettings: true });
    assert.equal(summary(judged(other, [both({ 4: pcr(4) })])), 'trusted');
    assert.equal(summary(judged(other, [both({ 1: pcr(1) })])), 'untrusted firmware_unknown');
  });

  it('of another bank than the quote are no match', () => {
    const only384 = capturedFrom(madeProof({ log, bank: 'sha384' }));
    const components = only384.components.map(({ digests, ...one }) => ({
      ...one,
      digests: digests.sha384 === undefined ? {} : { sha384: digests.sha384 },
    }));
    assert.equal(summary(judged(log, [{ ...only384, components }])), 'untrusted pcr_mismatch');
    const sha1 = components.map((one) => ({ ...one, digests: { sha1: '5a'.repeat(20) } }));
    assert.equal(summary(judged(log, [{ ...only384, components: sha1 }])), 'untrusted pcr_mismatch');
  });
});

describe('a revoked reference', () => {
  it('row 139: turns away its initrd under every scope, and beside a reference of another machine', () => {
    const other = siblingLog(log, { initrd: true });
    const old = captured(other, { name: 'old', state: 'revoked' });
    const partly = written(onlyOf(other, ['initrd']), { name: 'partly', state: 'revoked' });
    for (const scope of ['unpinned', 'group', 'model', 'node'])
      for (const revoked of [old, partly]) {
        const active = {
          ...captured(log),
          captured: { by: 'me', node: 'n', at: new Date(at).toISOString() },
        };
        const boot = `{references: [ref], scope: {initrd: ${scope}}}`;
        assert.match(summary(judged(other, [revoked, active], boot)), /^untrusted revoked_reference/, scope);
        assert.equal(summary(judged(log, [revoked, active], boot)), 'trusted');
      }
  });

  it('row 139: or an old firmware is no word on machines of another group, where each model has its own', () => {
    const version = eventWhere(log, ({ type }) => type === 'EV_S_CRTM_VERSION').index;
    const older = remeasured(log, version, Buffer.from('an older one\0', 'utf16le'));
    const foreign = captured(older, { name: 'foreign', group: 'another-model' });
    assert.equal(summary(judged(older, [foreign, captured(log)])), 'untrusted firmware_unknown');
  });

  const kernelOf = (from: Buffer) => onlyOf(from, ['kernel']);

  it('row 43: turns away its kernel under any other reference', () => {
    const old = written(kernelOf(log), { name: 'cve', state: 'revoked' });
    const rest = written(onlyOf(log, ['firmware', 'secureboot', 'loader', 'initrd', 'cmdline']));
    const verdict = judged(log, [old, rest]);
    assert.equal(verdict.state, 'untrusted');
    assert.equal(verdict.reasons[0]?.code, 'revoked_reference');
    assert.match(verdict.reasons[0]?.text ?? '', /vmlinuz.* cve/);
  });

  it('counts for its group also where the policy names another one', () => {
    const old = written(kernelOf(log), { name: 'cve', state: 'revoked' });
    const verdict = judged(log, [old, captured(log, { name: 'new' })], '{references: [new]}');
    assert.equal(summary(verdict), 'untrusted revoked_reference');
    const gone = captured(log, { name: 'gone', state: 'revoked' });
    const both = judged(log, [gone, captured(log, { name: 'new' })], '{references: [new]}');
    assert.equal(summary(both), 'untrusted revoked_reference');
  });

  it('says nothing of what it shares with an active one', () => {
    const old = captured(recordedLog('debian13-shim-grub-kernel'), { name: 'old', state: 'revoked' });
    assert.equal(summary(judged(log, [old, captured(log)])), 'trusted');
    assert.equal(
      judged(recordedLog('debian13-shim-grub-kernel'), [old, captured(log)]).reasons[0]?.code,
      'revoked_reference',
    );
  });
});

describe('the cause of a difference', () => {
  const inMemory = (from: Buffer) => {
    const image = parseEventLog(from).events.find(({ describes }) => describes.startsWith('image in memory'));
    assert.ok(image);
    return rewriteLog(from, new Map([[image.index, 'drop']]));
  };

  it('is Secure Boot alone where it is off, and so no image of the kernel was checked', () => {
    const off = inMemory(tamper(log, 'secureboot'));
    assert.equal(summary(judged(off, [captured(log)])), 'untrusted secureboot_off');
  });

  it('is the kernel where nothing else explains that its image is missing', () => {
    const off = tamper(log, 'secureboot');
    assert.equal(summary(judged(inMemory(off), [captured(off)])), 'untrusted kernel_unknown');
    assert.equal(summary(judged(inMemory(log), [captured(log)])), 'untrusted kernel_unknown');
  });

  it('is one for each thing that was changed', () => {
    const both = tamper(tamper(log, 'kernel'), 'cmdline');
    assert.equal(summary(judged(both, [captured(log)])), 'untrusted kernel_unknown cmdline_policy');
    const all = tamper(both, 'secureboot');
    assert.equal(
      summary(judged(all, [captured(log)])),
      'untrusted secureboot_off kernel_unknown cmdline_policy',
    );
  });

  it('never holds more of a log than a person reads', () => {
    const long = siblingLog(log, { text: (text) => text.replace(' ro ', ` ro ${'x'.repeat(100_000)} `) });
    for (const rules of ['', 'require: ["lockdown=*"]', 'forbid: ["x*"]', 'exact: "ro"'])
      assert.ok(JSON.stringify(judged(long, [captured(log)], `{cmdline: {${rules}}}`)).length < 10_000);
  });
});

describe('a boot that hides behind names', () => {
  const kernelFile = parseEventLog(log).events.find(({ describes }) => describes === '/vmlinuz')?.index ?? -1;
  const openInitrd = '{scope: {initrd: unpinned}}';

  it('is found where its kernel is called an initrd', () => {
    const named = tamperEvent(tamper(log, 'kernel'), kernelFile, { data: Buffer.from('/initrd.img\0') });
    assert.equal(judged(named, [captured(log)], openInitrd).state, 'untrusted');
  });

  it('is found where a second initrd is added', () => {
    const events = parseEventLog(log).events.filter(({ stage, pcr }) => stage === 'initrd' && pcr === 9);
    const [first] = events;
    assert.ok(first);
    const twice = rewriteLog(log, new Map());
    const bytes = parseEventLog(log).raw;
    const copy = log.subarray(bytes.offsets[first.index], bytes.ends[first.index]);
    const added = Buffer.concat([
      twice.subarray(0, bytes.ends[first.index]),
      copy,
      twice.subarray(bytes.ends[first.index]),
    ]);
    const digest = Object.fromEntries(
      Object.entries(first.digests).map(([bank, hex]) => [bank, hex.replaceAll(/./g, '7')]),
    );
    const other = tamperEvent(added, first.index + 1, { digest });
    assert.equal(summary(judged(other, [captured(log)], openInitrd)), 'untrusted initrd_unknown');
  });

  it('is found where one more command of its loader is called an action of the firmware', () => {
    const { events, raw } = parseEventLog(log);
    const boot = events.find(({ describes }) => describes === 'grub_cmd: boot');
    assert.ok(boot);
    const again = Buffer.concat([
      log.subarray(0, raw.offsets[boot.index]),
      log.subarray(raw.offsets[boot.index], raw.ends[boot.index]),
      log.subarray(raw.offsets[boot.index]),
    ]);
    const text = Buffer.from('linux /vmlinuz init=/bin/sh');
    const digest = Object.fromEntries(
      Object.keys(boot.digests).map((bank) => [bank, hash(bank, text, 'hex')]),
    );
    for (const type of [5, 0x80000007, 4, 8]) {
      const hidden = tamperEvent(again, boot.index, { data: text, digest, type });
      assert.equal(judged(hidden, [captured(log)]).state, 'untrusted', `type ${type}`);
    }
  });

  it('row 34: is told by what is measured, whatever the type of an event says', () => {
    const { events } = parseEventLog(log);
    for (const { index, pcr, type } of events) {
      if (![4, 7, 8, 9].includes(pcr) || type === 'EV_SEPARATOR') continue;
      const verdict = judged(tamperEvent(tamper(log, 'kernel'), index, { type: 0x8000000a }), [
        captured(log),
      ]);
      assert.equal(verdict.state, 'untrusted', `event ${index}`);
    }
  });

  it('is found where an unknown image wraps known sections', () => {
    const { events } = parseEventLog(unified);
    const image = events.find(({ describes }) => describes.endsWith('debian.efi'));
    assert.ok(image);
    const digest = Object.fromEntries(
      Object.entries(image.digests).map(([bank, hex]) => [bank, hex.replaceAll(/./g, '7')]),
    );
    const other = tamperEvent(unified, image.index, { digest });
    assert.equal(summary(judged(other, [captured(unified)])), 'untrusted kernel_unknown');
    assert.equal(judged(other, [captured(unified)], '{scope: {initrd: unpinned}}').state, 'untrusted');
  });

  it('is found where something is added to PCR 12 and its log does not say what', () => {
    const values = replayedValues(log, 'sha256');
    values[12 * 32] = 1;
    const policy = policyOf('require: [identity, boot]');
    const verdict = verdictOn(madeProof({ log, values }), policy, { name: 'n' }, [captured(log)], at);
    assert.equal(summary(verdict), 'untrusted pcr_mismatch');
  });
});
