import { readFileSync } from 'node:fs';
import type { EarlierBundle } from '../../../../attest-server/formats/bundle.ts';

const folder = new URL('../../../../swtpm-fixtures/recorded/', import.meta.url);

/** A recorded quote as a bundle of other origin, in the form that is read for good. */
export function recordedBundle(name: string, change: Partial<EarlierBundle> = {}): EarlierBundle {
  const read = (file: string) => readFileSync(new URL(`${name}/${file}`, folder));
  const expected = JSON.parse(read('expected.json').toString());
  return {
    version: 1,
    attestationKey: read('ak.pub').toString('base64'),
    qualifyingData: expected.nonce,
    quotes: expected.quotes.map((quote: string) => ({
      attest: read(`${quote}.attest`).toString('base64'),
      signature: read(`${quote}.sig`).toString('base64'),
      pcrs: expected.pcrs,
    })),
    ...change,
  };
}
