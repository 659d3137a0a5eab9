import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import type { QuoteEvidence } from '../../../attest-server/verify/quote.ts';
import { binaryFrame, type Challenge, type EvidenceMessage } from '../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { assertRefused, dial, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote, madeValues } from '../verify/made-quote.ts';
import { ecdsaSignature, type SoftwareKey, sized, tpmSign, u16 } from '../verify/software-key.ts';

let count = 0;

/** Each attack is made on a connection of an enrolled node that is `trusted`, and must change nothing. */
describe('evidence, over a real connection', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  async function victim(): Promise<{ node: string; tpm: ForgedTpm }> {
    const [node, tpm] = [`node-${++count}`, forgedTpm()];
    await enrolledNode(world, tpm, node);
    return { node, tpm };
  }

  /** An answer of the enrolled TPM, changed by an attack. */
  interface Attack {
    readonly name: string;
    readonly code: ReasonCode;
    readonly quote?: (key: SoftwareKey, signed: Buffer) => QuoteEvidence;
    readonly message?: (good: EvidenceMessage, challenge: Challenge) => object;
  }

  const nonce = (change: (bytes: Buffer) => string) => ({
    message: (good: EvidenceMessage) => ({ ...good, nonce: change(Buffer.from(good.nonce, 'base64')) }),
  });
  const attest = (change: (attest: Buffer) => Buffer) => ({
    quote: (key: SoftwareKey, signed: Buffer) => {
      const good = madeQuote(key, signed);
      const changed = change(good.attest);
      return { ...good, attest: changed, signature: tpmSign(key, changed) };
    },
  });
  const quoted = (change: Parameters<typeof madeQuote>[2]) => ({
    quote: (key: SoftwareKey, signed: Buffer) => madeQuote(key, signed, change),
  });
  const signature = (change: (signature: Buffer) => Buffer) => ({
    quote: (key: SoftwareKey, signed: Buffer) => {
      const good = madeQuote(key, signed);
      return { ...good, signature: change(good.signature) };
    },
  });
  const overSigned = (change: (signed: Buffer) => Buffer) => ({
    quote: (key: SoftwareKey, signed: Buffer) => madeQuote(key, change(signed)),
  });
  const sha1 = madeValues(20);
  const sha384 = madeValues(48);

  const attacks: readonly Attack[] = [
    {
      name: 'a magic that no TPM writes (row 14)',
      code: 'not_tpm_generated',
      ...quoted({ magic: 0xff544348 }),
    },
    { name: 'a certification as a quote (row 15)', code: 'wrong_attest_type', ...quoted({ type: 0x8017 }) },
    { name: 'an empty nonce (row 17)', code: 'nonce_invalid', ...nonce(() => '') },
    {
      name: 'a nonce with a byte more (row 17)',
      code: 'nonce_invalid',
      ...nonce((bytes) => Buffer.concat([bytes, Buffer.of(0)]).toString('base64')),
    },
    {
      name: 'a truncated nonce (row 17)',
      code: 'nonce_invalid',
      ...nonce((bytes) => bytes.subarray(0, 31).toString('base64')),
    },
    {
      name: 'a case-folded nonce (row 17)',
      code: 'nonce_invalid',
      ...nonce((bytes) => bytes.toString('base64').toLowerCase()),
    },
    {
      name: 'a nonce with spaces around it (row 17)',
      code: 'malformed',
      ...nonce((bytes) => ` ${bytes.toString('base64')}`),
    },
    { name: 'a quote over nothing (row 17)', code: 'nonce_invalid', ...overSigned(() => Buffer.alloc(0)) },
    {
      name: 'a quote over a truncated binding (row 17)',
      code: 'nonce_invalid',
      ...overSigned((bytes) => bytes.subarray(0, 31)),
    },
    { name: 'an empty PCR selection (rows 18, 83)', code: 'pcr_selection', ...quoted({ selection: [] }) },
    {
      name: 'a smaller PCR selection (rows 18, 83)',
      code: 'pcr_selection',
      ...quoted({ selection: [[0x000b, 'feffff']], pcrs: { sha256: madeValues(32).subarray(32) } }),
    },
    {
      name: 'PCR values that were not quoted (row 19)',
      code: 'pcr_digest_mismatch',
      quote: (key, signed) => ({ ...madeQuote(key, signed), pcrs: { sha256: madeValues(32, 'better') } }),
    },
    {
      name: 'a SHA-384 quote beside a forged SHA-256 list (row 20)',
      code: 'pcr_selection',
      quote: (key, signed) => {
        const selection = [[0x000c, 'ffffff']] as const;
        const pcrDigest = createHash('sha256').update(sha384).digest();
        return madeQuote(key, signed, { selection, pcrDigest, pcrs: { sha384, sha256: madeValues(32) } });
      },
    },
    {
      name: 'a quote of the SHA-1 bank alone (row 21)',
      code: 'weak_bank',
      ...quoted({ selection: [[0x0004, 'ffffff']], pcrs: { sha1 } }),
    },
    {
      name: 'a signature of another hash (row 24)',
      code: 'sig_invalid',
      quote: (key, signed) => {
        const good = madeQuote(key, signed);
        return { ...good, signature: tpmSign(key, good.attest, 'sha1') };
      },
    },
    {
      name: 'r and s of zero (row 24)',
      code: 'sig_invalid',
      ...signature(() => ecdsaSignature(Buffer.alloc(32), Buffer.alloc(32))),
    },
    {
      name: 'a signature with bytes after it (row 24)',
      code: 'malformed',
      ...signature((bytes) => Buffer.concat([bytes, Buffer.of(0)])),
    },
    {
      name: 'an RSA signature by an ECC key (row 24)',
      code: 'sig_invalid',
      ...signature(() => Buffer.concat([u16(0x0014), u16(0x000b), sized(Buffer.alloc(256, 1))])),
    },
    {
      name: 'an attestation cut short (row 25)',
      code: 'malformed',
      ...attest((bytes) => bytes.subarray(0, bytes.length - 1)),
    },
    {
      name: 'an inflated length inside (row 25)',
      code: 'malformed',
      ...attest((bytes) => {
        const inflated = Buffer.from(bytes);
        inflated.writeUInt16BE(0xffff, 6);
        return inflated;
      }),
    },
    {
      name: 'facts in the name of another node (row 10)',
      code: 'nonce_invalid',
      message: (good, _challenge) => ({ ...good, facts: good.facts.replace('node-', 'other-') }),
    },
    {
      name: 'a boot log that the quote does not sign',
      code: 'nonce_invalid',
      message: (good) => ({ ...good, parts: { boot: { digest: 'ab'.repeat(32) } } }),
    },
  ];
  for (const { name, code, quote, message } of attacks)
    it(`refuses ${name}`, async () => {
      const { node, tpm } = await victim();
      await assertRefused(world, node, code, async () => {
        const peer = await introduce(world, tpm, node);
        const occasion = { node, hello: peer.hello, channel: peer.channel };
        const challenge = await peer.challenge();
        const good = tpm.evidence(challenge, occasion, {
          ...(quote && { quote: (signed: Buffer) => quote(tpm.ak, signed) }),
        });
        peer.send(message?.(good, challenge) ?? good);
        return peer;
      });
    });

  it('takes values only under the verified signature: a forged second list changes nothing (row 20)', async () => {
    const { node, tpm } = await victim();
    const peer = await introduce(world, tpm, node);
    const occasion = { node, hello: peer.hello, channel: peer.channel };
    peer.send(
      tpm.evidence(await peer.challenge(), occasion, {
        quote: (signed) => {
          const good = madeQuote(tpm.ak, signed);
          return { ...good, pcrs: { ...good.pcrs, sha384 } };
        },
      }),
    );
    assert.equal((await peer.verdict()).state, 'trusted');
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    assert(!bundle.includes(sha384.subarray(0, 48).toString('hex')));
    await peer.close();
  });

  it('refuses facts that the quote signs, but that name another node (row 10)', async () => {
    const { node, tpm } = await victim();
    await assertRefused(world, node, 'identity_claim_mismatch', async () => {
      const peer = await introduce(world, tpm, node);
      const occasion = { node: 'node-other', hello: peer.hello, channel: peer.channel };
      peer.send(tpm.evidence(await peer.challenge(), occasion));
      return peer;
    });
  });

  it('warns of both nodes that show one system UUID, also after a restart, and locks neither out (row 10)', async () => {
    const [first, second] = [await victim(), await victim()];
    const uuid = (digit: number) => ({ systemUuid: `4c4c4544-0042-3510-8052-b4c04f4d513${digit}` });
    const answer = async ({ node, tpm }: typeof first, host: { systemUuid: string }) => {
      const peer = await introduce(world, tpm, node);
      const occasion = { node, hello: peer.hello, channel: peer.channel, host };
      peer.send(tpm.evidence(await peer.challenge(), occasion));
      const { state } = await peer.verdict();
      await peer.close();
      const { reasons = [] } = (await world.status(node))?.verdict ?? {};
      const own = reasons.filter(({ code }) => code === 'identity_claim_mismatch');
      return [state, ...own.map(({ severity, text }) => `${severity} ${text}`)].join(': ');
    };
    const warned = ({ node }: typeof first) =>
      `trusted: warn This node and ${node} name one machine: they show the same system UUID.`;
    assert.equal(await answer(first, uuid(1)), 'trusted');
    assert.equal(await answer(second, uuid(2)), 'trusted');
    await world.until(async () => (await world.status(first.node))?.systemUuid === uuid(1).systemUuid);
    assert.equal(await answer(second, uuid(1)), warned(first));
    assert.equal(await answer(first, uuid(1)), warned(second));
    await world.restart();
    assert.equal(await answer(first, uuid(1)), warned(second));
    await world.call('POST', `/v1/enrolments/${second.node}/revoke`, { reason: 'sold' });
    assert.equal(await answer(first, uuid(1)), 'trusted');
    // Attack: a liar shows the UUID of a machine that is yet to come, to keep it out.
    assert.equal(await answer(first, uuid(3)), 'trusted');
    const late = await victim();
    assert.equal(await answer(late, uuid(3)), warned(first));
    assert.equal(await answer(first, uuid(1)), 'trusted');
    assert.equal(await answer(late, uuid(3)), 'trusted');
  });

  it('refuses an honest answer that was made for another connection (row 9)', async () => {
    const { node, tpm } = await victim();
    await assertRefused(world, node, 'channel_binding', async () => {
      const honest = await dial(world);
      const peer = await introduce(world, tpm, node);
      peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: honest.channel }));
      await honest.close();
      return peer;
    });
  });

  it('refuses evidence over a boot log that was never sent, and one that is no log', async () => {
    for (const sent of [false, true]) {
      const { node, tpm } = await victim();
      const bootLog = Buffer.from(`no log ${sent}`);
      await assertRefused(world, node, 'malformed', async () => {
        const peer = await introduce(world, tpm, node);
        const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog };
        const challenge = await peer.challenge();
        if (sent) peer.send(binaryFrame('part', bootLog));
        peer.send(tpm.evidence(challenge, occasion));
        return peer;
      });
    }
  });
});
