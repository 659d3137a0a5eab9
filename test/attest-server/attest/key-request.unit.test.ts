import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import { unpackEvidence } from '../../../attest-server/evidence/unpack.ts';
import { type Bundle, parseBundle } from '../../../attest-server/formats/bundle.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { madeMachine, madePorts, verdictOf } from './made-machine.ts';

describe('the key request of an answer', () => {
  it('is signed by its quote, kept with it, and exported byte for byte', async () => {
    await using store = await openMadeStore(':memory:');
    const { node, record, answer } = madeMachine('node-1');
    await store.enrolment.enrol(record, madeEvent('enrol', 'node-1'));
    const attestation = await Attestation.open(madePorts(store, { policy: observePolicy }), null);
    const keyRequest = Buffer.from('{"type":"key-request","volume":"docker"}');
    const answered = answer(1, { occasion: { keyRequest } });
    await assert.rejects(verdictOf(attestation.judge(node, { ...answered, keyRequest: undefined })), {
      code: 'nonce_invalid',
    });
    assert.equal((await verdictOf(attestation.judge(node, answered))).state, 'trusted');
    const digest = attestation.status('node-1')?.evidenceDigest ?? '';
    const exported = await unpackEvidence(digest, (each) => store.evidence.read(each, 'node-1'));
    const bundle = parseBundle(JSON.stringify(exported));
    assert.equal(bundle.binding?.keyRequest, keyRequest.toString('hex'));
    verifyBundleEvidence(bundle, null);
    const other: Bundle = { ...bundle, binding: { ...bundle.binding, keyRequest: '' } };
    assert.throws(() => verifyBundleEvidence(other, null), { code: 'nonce_invalid' });
  });
});
