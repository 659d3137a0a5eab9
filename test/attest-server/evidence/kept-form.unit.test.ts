import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Blob } from '../../../attest-server/evidence/kept-form.ts';
import { namedDigests } from '../../../attest-server/evidence/named-digests.ts';
import {
  type AnsweringNode,
  type AnswerMoment,
  keptContext,
  Packer,
} from '../../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../../attest-server/evidence/unpack.ts';
import { answeredBy, parseBundle } from '../../../attest-server/formats/bundle.ts';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import { verifyBundleEvidence } from '../../../attest-server/verify/bundle-evidence.ts';
import { verify } from '../../../attest-server/verify/verify.ts';
import type { Parts } from '../../../attest-server/wire/evidence.ts';
import { forgedTpm } from '../forged-tpm.ts';
import { madeQuote, madeValues } from '../verify/made-quote.ts';

const tpm = forgedTpm();
const node: AnsweringNode = {
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
const partOf = (bytes: Buffer) => ({ digest: hash('sha256', bytes, 'hex'), bytes });

interface Answering {
  readonly resetCount?: number;
  readonly at?: number;
  readonly parts?: Parts;
  readonly moment?: Partial<AnswerMoment>;
}

/** Answers of one node as the pipeline keeps them; `store` is what was written. */
function fleetOfOne(one: AnsweringNode = node) {
  const store = new Map<string, Buffer>();
  const packer = new Packer();
  const put = ({ digest, bytes }: Blob) => store.set(digest, bytes);
  return {
    store,
    read: async (digest: string) => store.get(digest) ?? null,
    answer(values: Buffer, { resetCount = 7, at = 1_000, parts = {}, moment = {} }: Answering = {}) {
      const nonce = randomBytes(32);
      const challenge = {
        ...({ type: 'challenge', purpose: 'attest', nonce: nonce.toString('base64') } as const),
        selection: every,
        holds: [],
        parts: [],
        within: 1,
      };
      const quote = (signed: Buffer) => madeQuote(tpm.ak, signed, { pcrs: { sha256: values }, resetCount });
      const evidence = tpm.evidence(challenge, { node: node.name, hello, channel }, { quote });
      const [only] = evidence.quotes;
      const bytes = (text: string | undefined) => Buffer.from(text ?? '', 'base64');
      const proven = verify(
        {
          quotes: [
            {
              attest: bytes(only?.attest),
              signature: bytes(only?.signature),
              pcrs: { sha256: bytes(only?.pcrs.sha256) },
            },
          ],
          facts: evidence.facts,
          parts: {},
        },
        {
          ak: checkAttestationKey(tpm.ak.publicArea),
          ekDigest: node.ekDigest,
          judgeHierarchy: true,
          binding: { nonce, channel, claimedChannel: channel, session: null },
          selection: every,
        },
      );
      const { quotes, facts } = evidence;
      const { own, shared } = packer.pack(
        one,
        { nonce, channel, quotes, facts, parts, supplements: [] },
        proven,
        { at, sentParts: [], memory: {}, labels: {}, previous: undefined, by: 'agent', ...moment },
        context,
      );
      for (const blob of [own, ...shared]) put(blob);
      return { kept: { digest: own.digest, bytes: own.bytes, shared }, evidence };
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
      assert.equal(verifyBundleEvidence(bundle, node.ekDigest).akName, node.ak.name);
    }
  });

  it('says what was true at the time: parts sent before, banks, labels, and what aspects remembered', async () => {
    const { read, answer } = fleetOfOne();
    const previous = { resetCount: 7, restartCount: 0, clock: '5' };
    const memory = { disk: { header: 'ab' } };
    const labels = { a: 'b' };
    const moment: Partial<AnswerMoment> = {
      sentParts: ['boot'],
      banks: ['sha256'],
      labels,
      memory,
      previous,
    };
    const { kept } = answer(madeValues(32), { moment });
    const bundle = parseBundle(JSON.stringify(await unpackEvidence(kept.digest, read)));
    assert.deepEqual(
      [bundle.context?.sentParts, bundle.context?.banks, bundle.context?.labels, bundle.context?.memory],
      [['boot'], ['sha256'], labels, memory],
    );
    assert.deepEqual(bundle.previous, previous);
  });

  it('names the role that answered, but for the agent, which is meant where none is named', async () => {
    const { read, answer } = fleetOfOne();
    const roleIn = async (moment: Partial<AnswerMoment>) => {
      const { kept } = answer(madeValues(32), { moment });
      const bundle = parseBundle(JSON.stringify(await unpackEvidence(kept.digest, read)));
      return [bundle.context?.by, answeredBy(bundle)];
    };
    assert.deepEqual(await roleIn({ by: 'gate' }), ['gate', 'gate']);
    assert.deepEqual(await roleIn({ by: 'agent' }), [undefined, 'agent']);
  });

  it('holds the bytes of a part once, however often it came, and exports it with them', async () => {
    const { store, read, answer } = fleetOfOne();
    const userSpace = partOf(Buffer.from('records'));
    const values = madeValues(32);
    answer(values);
    const before = store.size;
    for (const { kept } of [1, 2].map((at) => answer(values, { at, parts: { userSpace } }))) {
      const bundle = await unpackEvidence(kept.digest, read);
      assert.equal(bundle?.parts.userSpace?.bytes, userSpace.bytes.toString('base64'));
      assert(namedDigests(kept.bytes)?.digests.includes(userSpace.digest));
    }
    // The two answers, the records, and the values that hold still.
    assert.equal(store.size, before + 4);
  });

  it('names a part of which no bytes are left', async () => {
    const { store, read, answer } = fleetOfOne();
    const boot = partOf(Buffer.from('log'));
    const { kept } = answer(madeValues(32), { parts: { boot } });
    store.delete(boot.digest);
    assert.deepEqual((await unpackEvidence(kept.digest, read))?.parts, { boot: { digest: boot.digest } });
  });

  it('of one more verdict is small where nothing moved: keys, values, policy and references are there already', () => {
    const { store, answer } = fleetOfOne();
    const values = madeValues(32);
    answer(values);
    answer(values);
    const before = store.size;
    const { kept } = answer(values);
    assert.equal(store.size, before + 1);
    assert(kept.bytes.length < 2_048, `${kept.bytes.length} bytes`);
  });

  it('takes at most 4 KiB with the 24 values of one bank in it, and all parts named', () => {
    const { answer } = fleetOfOne();
    const part = partOf(Buffer.from('any'));
    const previous = {
      resetCount: 7,
      restartCount: 0,
      clock: '12345678901',
      firmwareVersion: 'ab'.repeat(8),
    };
    const { kept } = answer(madeValues(32), {
      parts: { boot: part, userSpace: part },
      moment: { sentParts: ['boot', 'userSpace'], banks: ['sha1', 'sha256'], previous },
    });
    assert(kept.bytes.length <= 4_096, `${kept.bytes.length} bytes`);
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
    answer(values, { resetCount: 8 });
    assert.equal(answer(values, { resetCount: 8 }).kept.shared.length, 4);
  });

  it('names each blob that its bundle is made of, and no other bytes name any', async () => {
    const { store, answer } = fleetOfOne();
    const values = madeValues(32);
    const parts = { boot: partOf(Buffer.from('{"version":2,"named":{}}')) };
    const own = [answer(values, { parts }), answer(values, { parts })].map(({ kept }) => kept);
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
    const shown = { ...node, endorsementPath: () => path };
    const { read, answer } = fleetOfOne(shown);
    const rootsOf = async (at: number) => {
      const bundle = await unpackEvidence(answer(madeValues(32), { at }).kept.digest, read);
      return [bundle?.context?.roots, bundle?.endorsement?.chain];
    };
    assert.deepEqual(await rootsOf(2_000), [['pem'], ['Ag==']]);
    assert.deepEqual(await rootsOf(2_001), [undefined, undefined]);
    assert.deepEqual(await rootsOf(1), [['pem'], ['Ag==']]);
    // The next connection, with the same end of the path, and another root or another certificate.
    shown.endorsementPath = () => ({ ...path, root: 'other pem' });
    assert.deepEqual(await rootsOf(1), [['other pem'], ['Ag==']]);
    shown.endorsementPath = () => ({ ...path, certificate: other });
    assert.deepEqual(await rootsOf(1), [undefined, undefined]);
    shown.endorsementPath = () => path;
    shown.ekCertificate = other;
    const { kept } = answer(madeValues(32));
    const bundle = await unpackEvidence(kept.digest, read);
    assert.equal(bundle?.endorsement?.certificate, other.toString('base64'));
  });

  it('is no bundle where what it names is gone, or is something else', async () => {
    const { store, read, answer } = fleetOfOne();
    const values = madeValues(32);
    answer(values);
    const { kept } = answer(values);
    const { named } = JSON.parse(kept.bytes.toString());
    for (const digest of Object.values(named).map(String)) {
      const bytes = store.get(digest) ?? assert.fail();
      store.delete(digest);
      assert.equal(await unpackEvidence(kept.digest, read), null);
      store.set(digest, bytes);
    }
    assert.notEqual(await unpackEvidence(kept.digest, read), null);
    assert.equal(await unpackEvidence(named.keys, read), null);
    assert.equal(await unpackEvidence(named.policy, read), null);
  });
});
