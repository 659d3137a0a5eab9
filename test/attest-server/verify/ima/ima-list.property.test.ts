import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { limits } from '../../../../attest-server/protocol/limits.ts';
import { pcrBanks } from '../../../../attest-server/protocol/messages.ts';
import type { PcrValues } from '../../../../attest-server/protocol/pcr-values.ts';
import { Rejection } from '../../../../attest-server/protocol/rejection.ts';
import { proveAggregate } from '../../../../attest-server/verify/ima/boot-aggregate.ts';
import { parseImaList, subjectOf } from '../../../../attest-server/verify/ima/ima-list.ts';

const recorded = readFileSync(
  join(
    import.meta.dirname,
    '../../../../swtpm-fixtures/recorded/quote-vm-four-banks/binary_runtime_measurements',
  ),
);
const wanted: { pcrs: Record<string, Record<string, string>> } = JSON.parse(
  readFileSync(
    join(import.meta.dirname, '../../../../swtpm-fixtures/recorded/quote-vm-four-banks/expected.json'),
    'utf8',
  ),
);
const banks = pcrBanks.map(
  (bank): PcrValues => ({
    bank,
    mask: 0xffffff,
    values: Buffer.concat(
      Array.from({ length: 24 }, (_, pcr) => Buffer.from(wanted.pcrs[bank]?.[pcr] ?? '', 'hex')),
    ),
  }),
);

const firstEntry = 106;
const mutated = fc
  .tuple(
    fc.array(fc.tuple(fc.nat(recorded.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
    fc.option(fc.nat(recorded.length)),
    fc.uint8Array({ maxLength: 40 }),
  )
  .map(([changes, cut, tail]) => {
    const bytes = Buffer.concat([recorded.subarray(0, cut ?? recorded.length), tail]);
    for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
    return bytes;
  });
const anything = fc.oneof(
  mutated,
  fc.uint8Array({ maxLength: 512 }).map((bytes) => Buffer.from(bytes)),
);

describe('a list of IMA, whatever its bytes', () => {
  it('gives entries that hold all of it, or a Rejection', () => {
    fc.assert(
      fc.property(anything, (bytes) => {
        try {
          for (const entry of parseImaList(bytes)) subjectOf(entry);
        } catch (error) {
          assert.ok(error instanceof Rejection, `${error}`);
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('proves what the kernel found, or nothing', () => {
    const right = proveAggregate(recorded, banks);
    assert.match(right, /^sha256:c69f77e8/);
    fc.assert(
      fc.property(mutated, (bytes) => {
        const proven = proveAggregate(bytes, banks);
        if (proven.includes(':')) assert.equal(proven, right);
      }),
      { numRuns: 3000 },
    );
  });

  it('proves nothing with any changed byte in what the first entry hashes', () => {
    for (let at = 24; at < firstEntry; at++) {
      const bytes = Buffer.from(recorded);
      bytes[at] = (bytes[at] ?? 0) ^ 0x01;
      // The template's name is hashed nowhere.
      const proven = proveAggregate(bytes, banks);
      if (at < 28 || at >= 35) assert.ok(!proven.includes(':'), `${at}: ${proven}`);
    }
  });

  it('is refused where it is longer than the bound', () => {
    assert.throws(() => parseImaList(Buffer.alloc(limits.parts.ima + 1)), { code: 'too_large' });
  });
});
