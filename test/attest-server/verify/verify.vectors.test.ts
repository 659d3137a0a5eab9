import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import { type ExpectedIdentity, verify } from '../../../attest-server/verify/verify.ts';
import { type PcrBank, pcrBanks } from '../../../attest-server/wire/messages.ts';
import { aggregateOf } from '../policy/made-proof.ts';
import { partOf } from './made-by-hand.ts';

const recorded = join(import.meta.dirname, '../../../swtpm-fixtures/recorded');

/** What a recording says of itself: which of its quotes are presented, and what must come of them. */
const expectation = z.object({
  nonce: z.string(),
  quotes: z.array(z.string()),
  pcrs: z.partialRecord(z.enum(pcrBanks), z.record(z.string(), z.string())),
  result: z.string(),
});

function load(folder: string) {
  const read = (name: string) => readFileSync(join(folder, name));
  const wanted = expectation.parse(JSON.parse(read('expected.json').toString()));
  const pcrs: Partial<Record<PcrBank, Buffer>> = {};
  const carried: Partial<Record<PcrBank, number>> = {};
  for (const bank of pcrBanks) {
    const values = wanted.pcrs[bank];
    if (values === undefined) continue;
    const numbers = Object.keys(values)
      .map(Number)
      .sort((a, b) => a - b);
    pcrs[bank] = Buffer.concat(numbers.map((pcr) => Buffer.from(values[pcr] ?? '', 'hex')));
    carried[bank] = numbers.reduce((mask, pcr) => mask | (1 << pcr), 0);
  }
  const quotes = wanted.quotes.map((name) => ({
    attest: read(`${name}.attest`),
    signature: read(`${name}.sig`),
    pcrs,
    carried,
  }));
  const expected: ExpectedIdentity = {
    ak: checkAttestationKey(read('ak.pub')),
    ekDigest: null,
    judgeHierarchy: false,
    binding: { qualifyingData: wanted.nonce },
    selection: null,
  };
  return { quotes, expected, wanted };
}

const folders = globSync(`${recorded}/quote-*/expected.json`).map(dirname).sort();

describe('verify, on recorded quotes', () => {
  for (const folder of folders) {
    const { quotes, expected, wanted } = load(folder);
    it(`says ${wanted.result} of ${basename(folder)}`, () => {
      const judge = () => verify({ quotes, facts: null, parts: {} }, expected);
      if (wanted.result !== 'proven') return assert.throws(judge, { name: 'Rejection', code: wanted.result });
      const quoted = judge().banks.map(({ bank }) => bank);
      assert.deepEqual(quoted.sort(), Object.keys(wanted.pcrs).sort());
    });

    it(`refuses ${basename(folder)} over any other nonce`, () => {
      const other = { ...expected, binding: { qualifyingData: `${wanted.nonce}00` } };
      assert.throws(() => verify({ quotes, facts: null, parts: {} }, other), { code: 'nonce_invalid' });
    });
  }

  for (const name of ['quote-vm-shim-grub', 'quote-vm-four-banks'])
    it(`finds in the kernel's list of ${name} what its PCRs 0 to 9 still are`, () => {
      const { quotes, expected } = load(join(recorded, name));
      const list = readFileSync(join(recorded, name, 'binary_runtime_measurements'));
      const { aggregate, banks } = verify({ quotes, facts: null, parts: { ima: partOf(list) } }, expected);
      const values = banks.find(({ bank }) => bank === 'sha256')?.values;
      assert.equal(aggregate, aggregateOf(values ?? Buffer.alloc(0), 'sha256'));
    });

  it('refuses the SHA-1 quote alone of a machine that has better banks (row 21)', () => {
    const { quotes, expected } = load(join(recorded, 'quote-gce-three-banks'));
    const evidence = { quotes: quotes.slice(0, 1), facts: null, parts: {} };
    assert.throws(() => verify(evidence, expected), { code: 'weak_bank' });
  });

  it('takes a key below a storage key for no primary of the endorsement hierarchy (row 97)', () => {
    const { quotes, expected } = load(join(recorded, 'quote-vm-ecdsa'));
    const evidence = { quotes, facts: null, parts: {} };
    assert.throws(() => verify(evidence, { ...expected, judgeHierarchy: true }), { code: 'ak_hierarchy' });
  });
});
