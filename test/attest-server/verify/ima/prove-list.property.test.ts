import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import type { KnownList } from '../../../../attest-server/verify/ima/prove-list.ts';
import { isProvenList } from '../../../../attest-server/verify/ima/proven-list.ts';
import type { QuotedBank } from '../../../../attest-server/verify/quote.ts';
import { pcrBanks } from '../../../../attest-server/wire/messages.ts';
import { trials } from '../../../trials.ts';
import { bankByHand } from '../made-by-hand.ts';
import {
  asciiOf,
  binaryOf,
  digestField,
  extendedTo,
  file,
  type Kernel,
  listIn,
  type MadeEntry,
  madeEntry,
  measuredData,
  proved,
  saidBy,
  text,
  u32,
} from './made-list.ts';

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
const banks = pcrBanks.map((bank) =>
  bankByHand({
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
const recordedText = asciiOf([
  file('/usr/bin/sh'),
  measuredData('dm_table_load', 'dm_version=4.45.0;'),
  file('/a b'),
]);
const mutatedText = fc
  .array(
    fc.tuple(fc.nat(recordedText.length - 1), fc.constantFrom(...Buffer.from(' \n0aZ:\0\xff', 'latin1'))),
    { maxLength: 6 },
  )
  .map((changes) => {
    const bytes = Buffer.from(recordedText);
    for (const [at, value] of changes) bytes[at] = value;
    return bytes;
  });
const anything = fc.oneof(
  mutated,
  mutatedText,
  fc.uint8Array({ maxLength: 512 }).map((bytes) => Buffer.from(bytes)),
  fc.string({ maxLength: 200 }).map((line) => Buffer.from(`10 ${line}`)),
);

const bytesOf = (size: number) =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((bytes) => Buffer.from(bytes));
/** Any that an ascii list can show. */
const name = fc.stringMatching(/^[!-~]{1,60}$/).map((word) => `/${word}`);
const digest = fc
  .tuple(fc.constantFrom('sha1', 'sha256', 'sha384', 'sha512', 'md5', 'sm3'), bytesOf(32))
  .map(([algorithm, bytes]) => digestField(bytes, algorithm));
const signature = (first: number) =>
  fc.oneof(
    fc.constant(Buffer.alloc(0)),
    bytesOf(24).map((bytes) => Buffer.concat([Buffer.of(first), bytes])),
  );

const madeList = fc.array(
  fc.oneof(
    fc.tuple(digest, name).map(([d, n]) => madeEntry({ template: 'ima-ng', fields: [d, text(n)] })),
    fc
      .tuple(digest, name)
      .map(([d, n]) => madeEntry({ template: 'ima-ng', fields: [d, text(n)], isViolation: true })),
    fc.tuple(digest, name).map(([d, n]) => madeEntry({ template: 'ima-ng', fields: [d, text(n)], pcr: 11 })),
    fc.tuple(bytesOf(20), name).map(([d, n]) => madeEntry({ template: 'ima', fields: [d, Buffer.from(n)] })),
    fc.tuple(bytesOf(20), name).map(([d, n]) => madeEntry({ template: 'n|d', fields: [text(n), d] })),
    fc
      .tuple(digest, name, signature(3))
      .map(([d, n, sig]) => madeEntry({ template: 'ima-sig', fields: [d, text(n), sig] })),
    fc
      .tuple(fc.constantFrom('ima:sha256', 'verity:sha512'), bytesOf(32), name, signature(6))
      .map(([prefix, d, n, sig]) =>
        madeEntry({ template: 'ima-sigv2', fields: [digestField(d, prefix), text(n), sig] }),
      ),
    fc.tuple(digest, name, signature(3), digest, signature(0x30)).map(([d, n, sig, modDigest, modsig]) =>
      madeEntry({
        template: 'ima-modsig',
        fields: [d, text(n), sig, modsig.length === 0 ? modsig : modDigest, modsig],
      }),
    ),
    fc
      .tuple(digest, name, signature(5), bytesOf(3), fc.nat(0xffffffff), fc.nat(0xffff))
      .map(([d, n, sig, value, id, mode]) =>
        madeEntry({
          template: 'evm-sig',
          fields: [
            d,
            text(n),
            sig,
            text('security.ima|a'),
            Buffer.concat([u32(1), u32(2)]),
            value,
            u32(id),
            u32(7),
            u32(mode).subarray(0, 2),
          ],
        }),
      ),
    fc
      .tuple(name, fc.uint8Array({ minLength: 1, maxLength: 40 }))
      .map(([n, data]) => measuredData(n, Buffer.from(data))),
  ),
  { minLength: 1, maxLength: 12 },
);

/** What a proven list says of its entries. */
function told(list: Parameters<typeof proved>[0], banks: readonly QuotedBank[]) {
  const proof = proved(list, banks);
  const entries: ReturnType<typeof saidBy>[] = [];
  listIn(proof).walk((entry) => entries.push(saidBy(entry)));
  return { proof, entries };
}

const inPcr10 = (entries: readonly MadeEntry[]) => entries.some(({ pcr }) => pcr === 10);

describe('a list of IMA, whatever its bytes', () => {
  it('is proven, or its fault is named: nothing is thrown', () => {
    fc.assert(
      fc.property(anything, (bytes) => {
        const { list } = proved(bytes, banks);
        assert.ok(list !== null);
        if (isProvenList(list)) list.walk(saidBy);
        else assert.ok(list.code === 'ima_malformed' || list.code === 'ima_incomplete');
      }),
      { numRuns: trials(300) },
    );
  });

  it('proves what the kernel found, or nothing', () => {
    const right = proved(recorded, banks).aggregate ?? '';
    assert.match(right, /^sha256:c69f77e8/);
    fc.assert(
      fc.property(mutated, (bytes) => {
        const proven = proved(bytes, banks).aggregate;
        if (proven?.includes(':')) assert.equal(proven, right);
      }),
      { numRuns: trials(300) },
    );
  });

  it('proves nothing with any changed byte in what the first entry hashes', () => {
    for (let at = 24; at < firstEntry; at++) {
      const bytes = Buffer.from(recorded);
      bytes[at] = (bytes[at] ?? 0) ^ 0x01;
      // The template's name is hashed nowhere.
      const proven = proved(bytes, banks).aggregate;
      if (at < 28 || at >= 35) assert.ok(!proven?.includes(':'), `${at}: ${proven}`);
    }
  });

  it('says the same in both forms, of whatever templates its entries are', () => {
    fc.assert(
      fc.property(madeList, (entries) => {
        fc.pre(inPcr10(entries));
        const quoted = [extendedTo(entries)];
        const { proof, entries: binary } = told(binaryOf(entries), quoted);
        const { proof: other, entries: ascii } = told(asciiOf(entries), quoted);
        assert.deepEqual(ascii, binary);
        assert.deepEqual(other.known?.last, proof.known?.last);
        assert.equal(other.aggregate, proof.aggregate);
        const visited = entries.filter(({ pcr }) => pcr === 10);
        assert.deepEqual(
          binary.map(({ template }) => template),
          visited.map(({ template }) => template),
        );
      }),
      { numRuns: trials(60) },
    );
  });

  it('is proven in whatever parts it comes, and however they are cut, as it is in one', () => {
    const kernels = fc.constantFrom<Kernel>('hashed', 'padded', 'unmapped');
    const parts = fc.array(fc.nat(12), { maxLength: 4 });
    fc.assert(
      fc.property(
        madeList,
        kernels,
        parts,
        fc.infiniteStream(fc.integer({ min: 1, max: 200 })),
        (list, kernel, ends, sizes) => {
          const entries = [file('/sbin/init'), ...list];
          const stops = [...ends.map((end) => 1 + (end % entries.length)), entries.length].sort(
            (a, b) => a - b,
          );
          const quotedAt = (count: number) => [
            extendedTo(entries.slice(0, count), 'sha256', kernel),
            extendedTo(entries.slice(0, count), 'sha1', 'hashed'),
          ];
          const whole = told(binaryOf(entries), quotedAt(entries.length));
          const seen: ReturnType<typeof saidBy>[] = [];
          const known: KnownList[] = [];
          for (const stop of stops) {
            const last = known.at(-1) ?? null;
            const from = last?.last.bytes ?? 0;
            const tail = { from, chunks: cut(binaryOf(entries).subarray(from), sizes) };
            const proof = proved(tail, quotedAt(stop), last);
            const added = listIn(proof);
            assert.equal(added.since, last?.last.head ?? null);
            assert.equal(added.firstAdded, last?.last.entries ?? 0);
            added.walk((entry) => seen.push(saidBy(entry)));
            if (proof.known !== null) known.push(proof.known);
          }
          assert.deepEqual(seen, whole.entries);
          assert.equal(known.at(-1)?.last.head, whole.proof.known?.last.head);
          assert.equal(known.at(-1)?.last.bytes, whole.proof.known?.last.bytes);
        },
      ),
      { numRuns: trials(30) },
    );
  });
});

function cut(bytes: Buffer, sizes: Iterator<number>): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = sizes.next().value ?? 1;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}
