import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { asTheLogSays, bootState } from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { limits } from '../../../../attest-server/wire/limits.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { trials } from '../../../trials.ts';
import { rejectionOf } from '../rejection-of.ts';
import { event, header } from '../tpm/log-builder.ts';
import { grub, madeLog, types, version } from './made-boot.ts';

/** Asks for every fact, so that each one is derived. */
function deriveAll(bytes: Buffer): void {
  const log = parseEventLog(bytes);
  const { secureBoot, components, commandLines, firmwareVersion, problems } = bootState(
    log,
    asTheLogSays(log),
  );
  const entries = [
    ...secureBoot.databases.flatMap((database) => database.entries),
    ...secureBoot.authorities,
    ...secureBoot.machineOwner.flatMap((variable) => variable.entries),
  ];
  assert.ok(entries.every(({ digest, subject }) => digest.length > 0 && subject !== ''));
  assert.ok(components.every(({ digests, describes }) => digests !== undefined && describes.length <= 200));
  assert.ok(commandLines.every(({ text }) => typeof text === 'string'));
  assert.ok(firmwareVersion === null || firmwareVersion.event < log.raw.count);
  assert.ok(problems.length <= 40);
}

const recorded = [
  'debian13-shim-grub',
  'debian13-sdboot-uki',
  'debian10-shim-grub',
  'tdx-ccel',
  'sha1-tpm12',
];
const logs = recorded.map(recordedLog);

describe('the state of a boot is derived', () => {
  it('from any log that parses, however it is altered or cut', () => {
    const alteration = fc.record({ at: fc.nat(), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) });
    fc.assert(
      fc.property(
        fc.constantFrom(...logs),
        fc.array(alteration, { minLength: 1, maxLength: 6 }),
        fc.option(fc.nat()),
        (log, alterations, cut) => {
          const altered = Buffer.from(log);
          for (const { at, bytes } of alterations) altered.set(bytes, at % (altered.length - 8));
          const end = cut === null ? altered.length : cut % altered.length;
          const refused = rejectionOf(() => deriveAll(altered.subarray(0, end)));
          assert.ok(refused === null || ['malformed', 'too_large'].includes(refused.code));
        },
      ),
      { numRuns: trials(30) },
    );
  });

  it('from events of any type, PCR and data', () => {
    const types = fc.constantFrom(1, 4, 5, 6, 7, 8, 0xd, 0x80000001, 0x80000003, 0x80000007, 0x800000e0);
    const one = fc.tuple(fc.nat(15), types, fc.uint8Array({ maxLength: 80 }));
    fc.assert(
      fc.property(fc.array(one, { maxLength: 12 }), (events) => {
        const made = events.map(([pcr, type, data]) => event(pcr, type, Buffer.from(data), ['sha256']));
        deriveAll(Buffer.concat([header(['sha256']), ...made]));
      }),
    );
  });

  it('soon, also from the longest log of events that are all wrong', () => {
    const wrong = Buffer.alloc(16);
    wrong.writeUInt32LE(7, 0);
    wrong.writeUInt32LE(4, 4);
    const count = Math.min(limits.bootLogEvents - 1, Math.floor((limits.parts.boot - 256) / wrong.length));
    const log = Buffer.concat([header(['sha256']), Buffer.alloc(count * wrong.length, wrong)]);
    const started = performance.now();
    deriveAll(log);
    assert.ok(performance.now() - started < 2000);
  });

  it('soon, also where thousands of lines meet thousands of digests of none', () => {
    const tag = Buffer.from('ed223b8f0400000061626364', 'hex');
    const events = Array.from({ length: 5000 }, (_, i) => [
      grub(`linux /vmlinuz a=${i}`),
      { pcr: 9, type: types.tag, data: tag, measured: Buffer.from(`${i}`) },
    ]);
    const log = madeLog([version, ...events.flat()]);
    const started = performance.now();
    deriveAll(log);
    assert.ok(performance.now() - started < 2000);
  });
});
