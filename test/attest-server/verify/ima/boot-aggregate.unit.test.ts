import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { AggregateProblem } from '../../../../attest-server/verify/ima/boot-aggregate.ts';
import type { QuotedBank } from '../../../../attest-server/verify/quote.ts';
import { bankBytes, type PcrBank, pcrBanks } from '../../../../attest-server/wire/messages.ts';
import { aggregateEntry, type MeasuredEntry, measuredEntry } from '../../../../swtpm-fixtures/ima-list.ts';
import { aggregateOf } from '../../policy/made-proof.ts';
import { bankByHand } from '../made-by-hand.ts';
import { proved } from './made-list.ts';

const firmware = (bank: PcrBank) =>
  Buffer.concat(
    Array.from({ length: 24 }, (_, pcr) => Buffer.alloc(bankBytes[bank], pcr < 10 ? pcr + 1 : 0)),
  );
const file = (name: string) => measuredEntry({ digest: hash('sha256', name, 'buffer'), name });
/** Of a file that was written to while it was measured. */
const violation: MeasuredEntry = (() => {
  const { bytes } = file('/tmp/open');
  const digests = Object.fromEntries(pcrBanks.map((bank) => [bank, Buffer.alloc(bankBytes[bank], 0xff)]));
  return {
    bytes: Buffer.concat([bytes.subarray(0, 4), Buffer.alloc(20), bytes.subarray(24)]),
    digests: digests as MeasuredEntry['digests'],
  };
})();

type Kernel = 'hashes' | 'pads';

/** What a bank holds after a kernel extended these entries. */
function extended(bank: PcrBank, entries: readonly MeasuredEntry[], kernel: Kernel = 'hashes'): QuotedBank {
  const size = bankBytes[bank];
  const values = firmware(bank);
  const pcr10 = values.subarray(10 * size, 11 * size);
  for (const entry of entries) {
    const { digests } = entry;
    const short = entry === violation ? Buffer.alloc(20, 0xff) : digests.sha1;
    const digest = kernel === 'hashes' ? digests[bank] : Buffer.concat([short, Buffer.alloc(size - 20)]);
    hash(bank, Buffer.concat([pcr10, digest]), 'buffer').copy(pcr10);
  }
  return bankByHand({ bank, mask: 0xffffff, values });
}

const proveAggregate = (list: Buffer, banks: readonly QuotedBank[]) => proved(list, banks).aggregate;
const listOf = (entries: readonly MeasuredEntry[]) => Buffer.concat(entries.map(({ bytes }) => bytes));
const aggregate = aggregateEntry('sha256', firmware('sha256'));
const wanted = aggregateOf(firmware('sha256'), 'sha256');
const entries = [aggregate, file('/usr/bin/sh'), violation, file('/usr/bin/node')];

describe('the boot_aggregate of a list', () => {
  for (const kernel of ['hashes', 'pads'] as const)
    it(`is proven in every bank where the kernel ${kernel} what it extends`, () => {
      const banks = pcrBanks.map((bank) => extended(bank, entries, kernel));
      assert.equal(proveAggregate(listOf(entries), banks), wanted);
    });

  it('is proven by a list that grew since the quote', () => {
    for (const count of [1, 2, 3])
      assert.equal(
        proveAggregate(listOf(entries), [extended('sha256', entries.slice(0, count))]),
        wanted,
        `${count}`,
      );
  });

  it('is no longer proven where the list was cut before the quote', () => {
    assert.equal(proveAggregate(listOf(entries.slice(0, 2)), [extended('sha256', entries)]), 'not_replayed');
  });

  it('cannot be forged: another first entry leads nowhere (row 48)', () => {
    const other = aggregateEntry('sha256', Buffer.alloc(320, 7));
    const forged = listOf([aggregate, ...entries.slice(1)]);
    const booted = [other, ...entries.slice(1)];
    for (const bank of pcrBanks)
      assert.equal(proveAggregate(forged, [extended(bank, booted)]), 'not_replayed', bank);
    // One bank that it leads to is not enough.
    const banks = [extended('sha256', entries), extended('sha384', booted)];
    assert.equal(proveAggregate(forged, banks), 'not_replayed');
  });

  it('cannot be put before the true one, nor into what a violation does not bind (row 48)', () => {
    const booted = [aggregateEntry('sha256', Buffer.alloc(320, 7)), ...entries.slice(1)];
    assert.equal(
      proveAggregate(listOf([aggregate, ...booted]), [extended('sha256', booted)]),
      'not_replayed',
    );
    const blank = Buffer.concat([
      aggregate.bytes.subarray(0, 4),
      Buffer.alloc(20),
      aggregate.bytes.subarray(24),
    ]);
    assert.equal(proveAggregate(blank, [extended('sha256', [violation])]), 'no_aggregate');
  });

  it('is not taken from data beside a digest that was extended by an old kernel (row 48)', () => {
    const other = aggregateEntry('sha256', Buffer.alloc(320, 7));
    const mixed = Buffer.concat([
      aggregate.bytes.subarray(0, 4),
      other.digests.sha1,
      aggregate.bytes.subarray(24),
    ]);
    for (const bank of ['sha1', 'sha256'] as const)
      assert.equal(proveAggregate(mixed, [extended(bank, [other], 'pads')]), 'not_replayed', bank);
  });

  it('is told where the list cannot have one', () => {
    const quoted = [extended('sha256', entries)];
    const withFirst = (change: Partial<Parameters<typeof measuredEntry>[0]>) =>
      listOf([measuredEntry({ digest: Buffer.alloc(32, 1), name: 'boot_aggregate', ...change })]);
    const cases: readonly (readonly [Buffer, AggregateProblem])[] = [
      [Buffer.alloc(0), 'no_aggregate'],
      [listOf(entries.slice(1)), 'no_aggregate'],
      [withFirst({ digest: Buffer.alloc(32) }), 'no_aggregate'],
      [withFirst({ digest: Buffer.alloc(20, 1) }), 'no_aggregate'],
      [withFirst({ algorithm: 'sm3-256' }), 'no_aggregate'],
      [withFirst({ pcr: 11 }), 'no_aggregate'],
      [withFirst({ name: 'boot_aggregate_' }), 'no_aggregate'],
      [Buffer.from('no list'), 'unreadable'],
      [listOf(entries).subarray(0, -1), 'unreadable'],
    ];
    for (const [list, problem] of cases) assert.equal(proveAggregate(list, quoted), problem, problem);
    assert.equal(proveAggregate(listOf(entries), [extended('sha256', [])]), 'unextended');
    assert.equal(proveAggregate(listOf(entries), []), 'unquoted');
    const { bank, values } = extended('sha256', entries);
    assert.equal(
      proveAggregate(listOf(entries), [bankByHand({ bank, mask: 0x3ff, values: values.subarray(0, 320) })]),
      'unquoted',
    );
  });

  it('is read from the oldest template and from one of later', () => {
    const digest = Buffer.alloc(20, 5);
    const name = Buffer.from('boot_aggregate');
    const template = Buffer.from('ima');
    const hashed = Buffer.concat([digest, name, Buffer.alloc(256 - name.length)]);
    const size = (bytes: Buffer) => {
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32LE(bytes.length);
      return Buffer.concat([prefix, bytes]);
    };
    const sha1 = hash('sha1', hashed, 'buffer');
    const bytes = Buffer.concat([Buffer.of(10, 0, 0, 0), sha1, size(template), digest, size(name)]);
    const digests = Object.fromEntries(pcrBanks.map((bank) => [bank, hash(bank, hashed, 'buffer')]));
    const oldest = { bytes, digests: digests as MeasuredEntry['digests'] };
    for (const kernel of ['hashes', 'pads'] as const)
      assert.equal(
        proveAggregate(bytes, [extended('sha256', [oldest], kernel)]),
        `sha1:${digest.toString('hex')}`,
      );
    const later = measuredEntry({
      algorithm: 'ima:sha256',
      digest: Buffer.from(wanted.slice('sha256:'.length), 'hex'),
      name: 'boot_aggregate',
      template: 'ima-ngv2',
    });
    assert.equal(proveAggregate(later.bytes, [extended('sha256', [later])]), wanted);
  });
});
