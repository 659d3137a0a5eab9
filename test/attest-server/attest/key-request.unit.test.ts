import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import { unpackEvidence } from '../../../attest-server/evidence/unpack.ts';
import { type Bundle, parseBundle } from '../../../attest-server/formats/bundle.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';
import { keyRequestOf } from '../../../attest-server/wire/key-request.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { openMadeVolumes } from '../keys/made-volumes.ts';
import { madeKeyRequest } from '../wire/made-keys.ts';
import { madeMachine, madePorts, verdictOf } from './made-machine.ts';

describe('the key request of an answer', () => {
  const { volume } = madeKeyRequest();
  const keyRequest = keyRequestOf(madeKeyRequest());
  let folder: string;
  let bundle: Bundle;
  let answered: Awaited<ReturnType<typeof verdictOf>>;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-key-request-'));
    await using made = await openMadeVolumes(() => 0);
    const { store, decide: decideKey } = made;
    const { node, record, answer } = madeMachine('node-1');
    await made.enrol(record);
    const attestation = await Attestation.open(madePorts(store, { policy: observePolicy, decideKey }), null);
    const asking = answer(1, { by: 'unlock', occasion: { keyRequest } });
    await assert.rejects(verdictOf(attestation.judge(node, { ...asking, keyRequest: undefined })), {
      code: 'nonce_invalid',
    });
    answered = await verdictOf(attestation.judge(node, asking));
    const digest = attestation.status('node-1')?.evidenceDigest ?? '';
    const exported = await unpackEvidence(digest, (each) => store.evidence.read(each, 'node-1'));
    bundle = parseBundle(JSON.stringify(exported));
  });
  after(() => rmSync(folder, { recursive: true }));

  const verify = async (change: Partial<NonNullable<Bundle['binding']>>, ...options: readonly string[]) => {
    const file = join(folder, 'bundle.json');
    const { binding } = bundle;
    assert(binding !== undefined);
    writeFileSync(file, JSON.stringify({ ...bundle, binding: { ...binding, ...change } }));
    return runAssay(['verify', file, '--policy', 'observe', ...options]);
  };

  it('is signed by its quote, and kept with it byte for byte, also where it gets no key', () => {
    assert.deepEqual(answered.key, { refusal: 'key_subject_mismatch' });
    assert.equal(bundle.binding?.keyRequest, keyRequest.toString('hex'));
    verifyBundleEvidence(bundle, null);
  });

  it('is shown offline, with its volume', async () => {
    const { code, out } = await verify({});
    assert.equal(code, 11, out);
    assert.match(out, new RegExp(`^ {2}its quote signs a request for the key of volume ${volume}; `, 'm'));
    assert.deepEqual(JSON.parse((await verify({}, '-o', 'json')).out).keyRequest, { volume });
  });

  const other = keyRequestOf({ ...madeKeyRequest(), volume: volume.replace('6f', '6e') });
  for (const [what, changed] of [
    ['of another volume', other.toString('hex')],
    ['that is left out', ''],
    ['of which a byte is missing', keyRequest.subarray(1).toString('hex')],
  ] as const)
    it(`is rejected offline in place of one ${what}`, async () => {
      const { code, out } = await verify({ keyRequest: changed }, '-o', 'json');
      const { reasons, keyRequest: shown } = JSON.parse(out);
      assert.deepEqual([code, reasons[0].code, shown], [10, 'nonce_invalid', undefined]);
    });
});
