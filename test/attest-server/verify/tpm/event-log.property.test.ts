import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { Rejection } from '../../../../attest-server/wire/rejection.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { trials } from '../../../trials.ts';
import { rejectionOf } from '../rejection-of.ts';
import { header } from './log-builder.ts';

function parsesOrRefuses(bytes: Buffer): void {
  try {
    const log = parseEventLog(bytes);
    assert.ok(log.events.every(({ describes }) => describes.length <= 200));
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
  }
}

const recorded = ['debian13-sdboot-uki', 'tdx-ccel', 'sha1-tpm12', 'debian13-shim-grub'].map(recordedLog);

describe('any bytes give an event log or a Rejection', () => {
  it('when they are random', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => parsesOrRefuses(Buffer.from(bytes))));
  });

  it('when they follow a header', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) =>
        parsesOrRefuses(Buffer.concat([header(['sha1', 'sha256']), bytes])),
      ),
    );
  });

  it('when a real log is altered or cut', () => {
    const alteration = fc.record({
      log: fc.constantFrom(...recorded),
      at: fc.nat(),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
      cut: fc.option(fc.nat()),
    });
    fc.assert(
      fc.property(alteration, ({ log, at, bytes, cut }) => {
        const altered = Buffer.from(log);
        altered.set(bytes.subarray(0, altered.length), at % (altered.length - 8));
        parsesOrRefuses(cut === null ? altered : altered.subarray(0, cut % altered.length));
      }),
      { numRuns: trials(30) },
    );
  });

  it('soon, also where more events come than any machine writes', () => {
    const tiny = Buffer.from('04000000040000000000000000000000', 'hex');
    const log = Buffer.concat([header(['sha256']), Buffer.alloc(2 * 1024 * 1024 - 256, tiny)]);
    assert.equal(rejectionOf(() => parseEventLog(log))?.code, 'too_large');
    const most = parseEventLog(log.subarray(0, log.indexOf(tiny) + 16 * 16_000));
    assert.ok(most.events.length > 15_000);
    assert.ok(most.notes.length <= 102);
  });

  it('soon, also where a log of zeros looks like padding at each event', () => {
    const zeros = Buffer.concat([header(['sha256']), Buffer.alloc(2 * 1024 * 1024 - 256), Buffer.of(1)]);
    const started = performance.now();
    assert.equal(rejectionOf(() => parseEventLog(zeros))?.code, 'too_large');
    assert.ok(performance.now() - started < 2_000);
  });
});
