import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { isProvenList } from '../../../../attest-server/verify/ima/proven-list.ts';
import type { QuotedBank } from '../../../../attest-server/verify/quote.ts';
import { bankBytes, type PcrBank, pcrBanks } from '../../../../attest-server/wire/messages.ts';
import { bankByHand } from '../made-by-hand.ts';
import { listIn, proved, saidBy } from './made-list.ts';

const folder = join(import.meta.dirname, '../../../../swtpm-fixtures/recorded/ima-lists');
const listed = (file: string) => readFileSync(join(folder, file));

/** What other programs, and the TPMs, say that these lists come to. */
const expected: {
  readonly lists: readonly {
    readonly file: string;
    readonly entries: number;
    readonly violations: number;
    readonly badTemplateDigests: number;
    readonly pcr10: readonly {
      readonly bank: PcrBank;
      readonly way: 'listed' | 'padded' | 'computed';
      readonly value: string;
    }[];
  }[];
  readonly boots: readonly {
    readonly files: readonly string[];
    readonly count: number;
    readonly violations: number;
    readonly quoted: readonly Partial<Record<PcrBank, string>>[];
  }[];
} = JSON.parse(listed('expected.json').toString());

const bankOf = (bank: PcrBank, value: string) =>
  bankByHand({ bank, mask: 1 << 10, values: Buffer.from(value, 'hex') });

function provenOf(bytes: Buffer, banks: readonly QuotedBank[]) {
  const proof = proved(bytes, banks);
  const { aggregate } = proof;
  const list = listIn(proof);
  const entries: ReturnType<typeof saidBy>[] = [];
  list.walk((entry) => entries.push(saidBy(entry)));
  return { list, aggregate, entries };
}

describe('recorded lists of IMA', () => {
  for (const { file, entries, violations, badTemplateDigests, pcr10 } of expected.lists)
    for (const { bank, way, value } of pcr10)
      it(`${file} leads to PCR 10 of ${bank}, ${way}`, () => {
        const banks = [bankOf(bank, value)];
        // A digest beside data that it is not of is extended by no kernel.
        if (way !== 'computed' && badTemplateDigests > 0) return refused(file, banks);
        const proof = provenOf(listed(file), banks);
        assert.equal(proof.list.entries, entries);
        assert.equal(proof.list.elsewhere, 0);
        assert.equal(proof.list.head, `${bank}:${value}`);
        assert.equal(proof.entries.length, entries);
        assert.equal(proof.entries.filter(({ isViolation }) => isViolation).length, violations);
        assert.ok(proof.entries.every(({ name }) => name.length > 0));
      });

  function refused(file: string, banks: readonly QuotedBank[]): void {
    const { list } = proved(listed(file), banks);
    assert.ok(list !== null && !isProvenList(list));
    assert.ok(['ima_incomplete', 'ima_malformed'].includes(list.code));
  }

  const truncated = [
    'tss-ima-ng-sha1.bin',
    'tss-ima-sha1.bin',
    'tss-ima-sig-sha256.bin',
    'tss-ima-ng-sha1-invalidated.bin',
  ];
  for (const file of [...truncated, 'rust-keylime-invalid.txt'])
    it(`${file} is not believed beyond where it breaks off`, () => {
      const known = expected.lists.find((each) => each.file === file);
      const { list, aggregate, known: next } = proved(listed(file), [bankOf('sha256', '11'.repeat(32))]);
      assert.ok(list !== null && !isProvenList(list));
      assert.equal(list.code, 'ima_malformed');
      assert.equal(list.entry, known?.entries);
      assert.equal(aggregate, 'unreadable');
      assert.equal(next, null);
    });

  it('whose first faulty line is named with its number, its place and its field', () => {
    const { list } = proved(listed('keylime-entries.txt'), [bankOf('sha1', '11'.repeat(20))]);
    assert.deepEqual(
      { ...list, text: '' },
      { code: 'ima_malformed', text: '', entry: 6, offset: 1959, field: 'ima.template' },
    );
  });
});

describe('lists of recorded boots', () => {
  for (const { files, count, violations, quoted } of expected.boots)
    for (const file of files)
      it(`${file} leads to each quote of its boot, in all banks at once and in each alone`, () => {
        const [begun] = quoted;
        for (const values of quoted) {
          const all = pcrBanks.flatMap((bank) =>
            values[bank] === undefined ? [] : [bankOf(bank, values[bank])],
          );
          for (const banks of [all, ...all.map((bank) => [bank])]) {
            const { list, entries, aggregate } = provenOf(listed(file), banks);
            // The list is read after the first quote, and nothing is measured after the last.
            if (values === begun) assert.ok(list.entries < count);
            else assert.equal(list.entries, count);
            assert.match(aggregate ?? '', /^sha(256|512):/);
            assert.deepEqual(list.aggregates, [0]);
            assert.equal(entries.filter(({ isViolation }) => isViolation).length, violations);
          }
        }
      });

  it('say the same in every file that the kernel gives of them', () => {
    const { files, quoted } = expected.boots.find((boot) => boot.files.length > 4) ?? {
      files: [],
      quoted: [],
    };
    const banks = Object.entries(quoted.at(-1) ?? {}).flatMap(([name, value]) =>
      pcrBanks.filter((bank) => bank === name).map((bank) => bankOf(bank, value)),
    );
    assert.equal(banks.length, 4);
    const [first, ...others] = files.map((file) => provenOf(listed(file), banks).entries);
    assert.equal(others.length, 7);
    for (const other of others) assert.deepEqual(other, first);
    assert.ok(first?.every(({ digest }) => digest.length === 2 * bankBytes.sha512));
  });
});
