import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Answer, AttestedNode } from '../../../attest-server/attest/answer.ts';
import { type LatestBoot, latestBoot, quotesOf } from '../../../attest-server/attest/latest-boot.ts';
import { type Blob, namedDigests } from '../../../attest-server/evidence/kept-form.ts';
import { keptContext, packEvidence } from '../../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../../attest-server/evidence/unpack.ts';
import { parseBundle } from '../../../attest-server/protocol/bundle.ts';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import { Verifier } from '../../../attest-server/verify/verifier.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { madeQuote, madeValues } from '../verify/made-quote.ts';

const tpm = forgedTpm();
const node: AttestedNode = {
  name: 'node-1',
  ekDigest: tpm.ekDigest,
  ekPublicArea: tpm.ek.publicArea,
  // As long as one is.
  ekCertificate: randomBytes(1_200),
  ak: checkAttestationKey(tpm.ak.publicArea),
};
const every = { sha256: Array.from({ length: 24 }, (_, pcr) => pcr) };
const context = keptContext('policy', []);
const channel = randomBytes(32);
const hello = JSON.stringify(tpm.hello(node.name));

/** Answers of one node as the pipeline keeps them; `store` is what was written. */
function fleetOfOne(one: AttestedNode = node) {
  const store = new Map<string, Buffer>();
  const verifier = new Verifier();
  let latest: LatestBoot | undefined;
  const put = ({ digest, bytes }: Blob) => store.set(digest, bytes);
  return {
    store,
    read: async (digest: string) => store.get(digest) ?? null,
    answer(values: Buffer, resetCount = 7, at = 1_000, userspaceLog?: string) {
      const nonce = randomBytes(32);
      const challenge = {
        ...({ type: 'challenge', purpose: 'attest', nonce: nonce.toString('base64') } as const),
        ...{ selection: every, holds: [], within: 1 },
      };
      const quote = (signed: Buffer) => madeQuote(tpm.ak, signed, { pcrs: { sha256: values }, resetCount });
      const sealed = tpm.evidence(challenge, { node: node.name, hello, channel }, { quote });
      const evidence = { ...sealed, ...(userspaceLog && { userspaceLog }) };
      const helloDigest = hash('sha256', hello, 'hex');
      const given: Answer = {
        evidence,
        nonce,
        channel,
        helloDigest,
        selection: every,
        challengedAt: 0,
        bootLog: null,
      };
      const quotes = quotesOf(evidence);
      const binding = { nonce, channel, claimedChannel: channel, session: null };
      const proven = verifier.verify(
        { quotes, facts: evidence.facts, parts: {} },
        { ak: node.ak, ekDigest: node.ekDigest, judgeHierarchy: true, binding, selection: every },
      );
      const kept = packEvidence(
        one,
        given,
        proven,
        { at, sentBootLog: false, previous: undefined, latest },
        context,
      );
      for (const blob of [kept, ...kept.shared]) put(blob);
      latest = latestBoot(proven, evidence, 1_000, latest);
      return { kept, evidence };
    },
  };
}

describe('the evidence that is kept', () => {
  it('becomes the bundle of what arrived, whether its values came before or not', async () => {
    const { read, answer } = fleetOfOne();
    const values = madeValues(32);
    for (const { kept, evidence } of [answer(values), answer(values), answer(values)]) {
      const bundle = parseBundle(JSON.stringify(await unpackEvidence(kept.digest, read)));
      assert.equal(bundle.attestationKey, tpm.ak.publicArea.toString('base64'));
      assert.equal(bundle.endorsement?.certificate, node.ekCertificate?.toString('base64'));
      assert.equal(bundle.facts, evidence.facts);
      assert.equal(bundle.quotes[0]?.attest, evidence.quotes[0]?.attest);
      assert.equal(Object.values(bundle.quotes[0]?.pcrs.sha256 ?? {}).join(''), values.toString('hex'));
    }
  });

  it('holds what user space measured once, however often it was sent', async () => {
    const { store, read, answer } = fleetOfOne();
    const records = Buffer.from('records');
    const values = madeValues(32);
    answer(values);
    const before = store.size;
    for (const { kept } of [1, 2].map((at) => answer(values, 7, at, records.toString('base64')))) {
      const bundle = await unpackEvidence(kept.digest, read);
      assert.equal(bundle?.userspaceLog, records.toString('base64'));
      assert(namedDigests(kept.bytes)?.digests.includes(hash('sha256', records)));
    }
    // The two answers, the values that the first of them shares, and the records.
    assert.equal(store.size, before + 4);
  });

  it('of one more verdict is small where nothing moved: keys, values, policy and references are there already', () => {
    const { store, answer } = fleetOfOne();
    const values = madeValues(32);
    answer(values);
    answer(values);
    const before = store.size;
    const { kept } = answer(values);
    assert.equal(store.size, before + 1);
    assert(kept.bytes.length < 1_500, `${kept.bytes.length} bytes`);
  });

  it('holds values of its own where they move again and again: what is shared stays for long', () => {
    const { store, answer } = fleetOfOne();
    for (let move = 0; move < 20; move += 1) {
      const values = madeValues(32);
      values[0] = move;
      answer(values);
      answer(values);
    }
    // Forty answers, the keys, policy and references, and values of the moves that a boot has room for.
    assert.equal(store.size, 40 + 3 + 8);
  });

  it('shares values again after a reboot', () => {
    const { answer } = fleetOfOne();
    for (let move = 0; move < 20; move += 1) {
      const values = madeValues(32);
      values[0] = move;
      answer(values);
    }
    const values = madeValues(32);
    answer(values, 8);
    assert.equal(answer(values, 8).kept.shared.length, 4);
  });

  it('names each blob that its bundle is made of, and no other bytes name any', async () => {
    const { store, answer } = fleetOfOne();
    const values = madeValues(32);
    const own = [answer(values), answer(values)].map(({ kept }) => kept);
    const last = own.at(-1) ?? assert.fail();
    const named = namedDigests(last.bytes);
    assert.deepEqual(new Set(named?.digests), new Set(last.shared.map(({ digest }) => digest)));
    assert.equal(named?.at, 1_000);
    for (const [digest, bytes] of store)
      if (own.every((each) => each.digest !== digest)) assert.equal(namedDigests(bytes), null);
  });

  it('names the path to a root only while that holds, and only of the certificate that the node has', async () => {
    const [certificate, other] = [node.ekCertificate ?? Buffer.alloc(0), Buffer.of(1)];
    const path = { certificate, chain: [Buffer.of(2)], root: 'pem', until: 2_000 };
    const rootsOf = async (
      at: number,
      endorsementPath: typeof path,
      ak = checkAttestationKey(tpm.ak.publicArea),
    ) => {
      const { read, answer } = fleetOfOne({ ...node, ak, endorsementPath });
      const { kept } = answer(madeValues(32), 7, at);
      const bundle = await unpackEvidence(kept.digest, read);
      return [bundle?.context?.roots, bundle?.endorsement?.chain];
    };
    const ak = checkAttestationKey(tpm.ak.publicArea);
    assert.deepEqual(await rootsOf(2_000, path, ak), [['pem'], ['Ag==']]);
    assert.deepEqual(await rootsOf(2_001, path, ak), [undefined, undefined]);
    assert.deepEqual(await rootsOf(1, { ...path, certificate: other }), [undefined, undefined]);
  });

  it('of an earlier version, which names no other blob, becomes a bundle too', async () => {
    const { store, read, answer } = fleetOfOne();
    const { kept } = answer(madeValues(32));
    const { keys, ...rest } = JSON.parse(kept.bytes.toString());
    const old = Buffer.from(JSON.stringify({ ...rest, ...JSON.parse(String(store.get(keys))) }));
    const digest = hash('sha256', old, 'hex');
    store.set(digest, old);
    assert.deepEqual(await unpackEvidence(digest, read), await unpackEvidence(kept.digest, read));
  });
});
