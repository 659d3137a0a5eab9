import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Bundle } from '../../../attest-server/formats/bundle.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';
import { isProvenList } from '../../../attest-server/verify/ima/proven-list.ts';
import { imaIndex } from '../../../attest-server/wire/ima-pieces.ts';
import { asciiOf, binaryOf, extendedTo, file } from './ima/made-list.ts';
import { madeQuote, madeValues } from './made-quote.ts';
import { rejectionOf } from './rejection-of.ts';
import { softwareKey } from './software-key.ts';

const entries = ['boot_aggregate', '/usr/bin/sh', '/usr/bin/env'].map((name) => file(name));
const binary = binaryOf(entries);
const key = softwareKey('p256');
const values = madeValues(32);
extendedTo(entries).values.copy(values, 10 * 32);
const quote = madeQuote(key, Buffer.alloc(0), { pcrs: { sha256: values } });

const digestOf = (bytes: Buffer) => hash('sha256', bytes);
const sized = (bytes: Buffer) => ({ digest: digestOf(bytes), bytes: bytes.length });

/** An exported bundle whose part `ima` is this, with these files beside it. */
function bundleOf(ima: Buffer, files: Readonly<Record<string, Buffer>> = {}): Bundle {
  const pcrs = Array.from({ length: 24 }, (_, pcr) => [
    `${pcr}`,
    values.toString('hex', 32 * pcr, 32 * (pcr + 1)),
  ]);
  return {
    version: 2,
    attestationKey: key.publicArea.toString('base64'),
    qualifyingData: '',
    quotes: [
      {
        attest: quote.attest.toString('base64'),
        signature: quote.signature.toString('base64'),
        pcrs: { sha256: Object.fromEntries(pcrs) },
      },
    ],
    parts: { ima: { digest: digestOf(ima), bytes: ima.toString('base64') } },
    files: Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, bytes.toString('base64')])),
  };
}

function namesIn(bundle: Bundle): readonly string[] | null {
  const { ima } = verifyBundleEvidence(bundle, null);
  if (!isProvenList(ima)) return null;
  const names: string[] = [];
  ima.walk(({ name }) => names.push(name));
  return names;
}

const names = ['boot_aggregate', '/usr/bin/sh', '/usr/bin/env'];
const pieces = [binary.subarray(0, 150), binary.subarray(150)];
const index = imaIndex(pieces.map(sized));
const [first = binary, second = binary] = pieces;

describe("IMA's list in a bundle", () => {
  it('is read as a raw list, of either form', () => {
    assert.deepEqual(namesIn(bundleOf(binary)), names);
    assert.deepEqual(namesIn(bundleOf(asciiOf(entries))), names);
  });

  it('is read from the pieces that an index names, wherever they are cut', () => {
    const files = { [digestOf(first)]: first, [digestOf(second)]: second };
    assert.deepEqual(namesIn(bundleOf(index, files)), names);
    const swapped = imaIndex([second, first].map(sized));
    assert.equal(namesIn(bundleOf(swapped, files)), null);
  });

  it('is not there at all where a piece is gone', () => {
    const { ima, aggregate } = verifyBundleEvidence(bundleOf(index, { [digestOf(first)]: first }), null);
    assert.equal(ima, null);
    assert.equal(aggregate, null);
  });

  it('is refused with a piece of another digest, or of another size', () => {
    const cases: readonly (readonly [Buffer, Readonly<Record<string, Buffer>>])[] = [
      [index, { [digestOf(first)]: second, [digestOf(second)]: second }],
      [imaIndex([{ ...sized(binary), bytes: binary.length - 1 }]), { [digestOf(binary)]: binary }],
      [Buffer.concat([index, Buffer.from('no piece\n')]), {}],
    ];
    for (const [ima, files] of cases)
      assert.equal(rejectionOf(() => verifyBundleEvidence(bundleOf(ima, files), null))?.code, 'malformed');
  });
});
