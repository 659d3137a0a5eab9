import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type AttestationKey, checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import type { QuoteEvidence } from '../../../attest-server/verify/quote.ts';
import { parseQuote } from '../../../attest-server/verify/tpm/attest.ts';
import { type ExpectedIdentity, verify } from '../../../attest-server/verify/verify.ts';
import type { PcrBank, PcrSelection } from '../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { madeAttest } from './made-quote.ts';
import { akAttributeWords, makeSigningKey, type ToolTpm, toolTpm } from './tool-tpm.ts';

const nonce = '5a'.repeat(32);
const every = Array.from({ length: 24 }, (_, pcr) => pcr);
const all = every.join(',');

describe('verify, with what a TPM makes', () => {
  let tools: ToolTpm;
  let ak: AttestationKey;
  let rsa: AttestationKey;
  let owner: AttestationKey;

  before(async () => {
    tools = await toolTpm();
    ak = checkAttestationKey(await makeSigningKey(tools, 'ak', 'e'));
    owner = checkAttestationKey(await makeSigningKey(tools, 'owner', 'o'));
    const algorithm = 'rsa2048:rsapss-sha256:null';
    rsa = checkAttestationKey(await makeSigningKey(tools, 'rsa', 'e', akAttributeWords, algorithm));
  });
  after(() => tools?.[Symbol.asyncDispose]());

  /** tpm2_quote with PCR values as plain bytes, in the order of the selection. */
  async function quote(key: string, selection: string, banks: readonly [PcrBank, number][]) {
    const scheme = key === 'rsa' ? 'rsapss' : 'ecdsa';
    const files = ['-m', '@msg', '-s', '@sig', '-o', '@pcrs', '-F', 'values', '--scheme', scheme];
    await tools.tool('tpm2_quote', '-Q', '-c', `@${key}.ctx`, '-l', selection, '-q', nonce, ...files);
    const values = await tools.read('pcrs');
    const pcrs: Partial<Record<PcrBank, Buffer>> = {};
    let at = 0;
    for (const [bank, size] of banks) {
      pcrs[bank] = values.subarray(at, at + size);
      at += size;
    }
    return { attest: await tools.read('msg'), signature: await tools.read('sig'), pcrs };
  }

  function expected(
    key: AttestationKey,
    selection: PcrSelection | null = { sha256: every },
  ): ExpectedIdentity {
    return { ak: key, ekDigest: null, judgeHierarchy: true, binding: { qualifyingData: nonce }, selection };
  }

  function refused(code: ReasonCode, evidence: QuoteEvidence, wanted: ExpectedIdentity): void {
    assert.throws(() => verify({ quotes: [evidence], facts: null, parts: {} }, wanted), {
      name: 'Rejection',
      code,
    });
  }

  it('proves a quote of an ECDSA and of an RSA-PSS key, over one bank and over two', async () => {
    for (const [key, checked] of [
      ['ak', ak],
      ['rsa', rsa],
    ] as const) {
      const one = await quote(key, `sha256:${all}`, [['sha256', 768]]);
      const proof = verify({ quotes: [one], facts: null, parts: {} }, expected(checked));
      assert.equal(proof.banks[0]?.values.length, 768);
      assert.equal(proof.clock.safe, true);
      const two = await quote(key, `sha384:0,7+sha256:${all}`, [
        ['sha384', 96],
        ['sha256', 768],
      ]);
      const both = verify(
        { quotes: [two], facts: null, parts: {} },
        expected(checked, { sha256: every, sha384: [0, 7] }),
      );
      assert.deepEqual(both.banks.map(({ bank }) => bank).sort(), ['sha256', 'sha384']);
    }
  });

  it('refuses quotes of another key than the enrolled one (row 2)', async () => {
    await makeSigningKey(tools, 'other', 'e', `${akAttributeWords}|stclear`);
    refused('ak_mismatch', await quote('other', `sha256:${all}`, [['sha256', 768]]), expected(ak));
  });

  it('refuses an unrestricted key, which signs a hand-made attestation (rows 4, 5)', async () => {
    const attributes = 'sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth';
    const area = await makeSigningKey(tools, 'free', 'e', attributes);
    const attest = madeAttest({
      qualifiedSigner: Buffer.alloc(34),
      extraData: Buffer.from(nonce, 'hex'),
      pcrDigest: Buffer.alloc(32),
    });
    await tools.write('made', attest);
    const files = ['-o', '@made.sig', '@made'];
    await tools.tool('tpm2_sign', '-Q', '-c', '@free.ctx', '-g', 'sha256', '-s', 'ecdsa', ...files);
    assert.equal(parseQuote(attest).extraData, nonce);
    assert.throws(() => checkAttestationKey(area), { code: 'ak_attributes' });
    // The restricted key of this TPM refuses to sign what only looks like the TPM's own word.
    const refusal = tools.tool('tpm2_sign', '-Q', '-c', '@ak.ctx', '-g', 'sha256', '-s', 'ecdsa', ...files);
    await assert.rejects(refusal, { name: 'ToolError' });
    await tools.sessionTool('tpm2_flushcontext', '-t');
  });

  it('refuses what the right key attests of keys, time and NV, passed off as a quote (row 15)', async () => {
    const good = await quote('ak', `sha256:${all}`, [['sha256', 768]]);
    const files = ['-o', '@att', '-s', '@att.sig'];
    await tools.tool('tpm2_certify', '-Q', '-c', '@rsa.ctx', '-C', '@ak.ctx', '-g', 'sha256', ...files);
    const certify = { ...good, attest: await tools.read('att'), signature: await tools.read('att.sig') };
    refused('wrong_attest_type', certify, expected(ak));
    const time = ['--attestation', '@time', '-o', '@time.sig'];
    await tools.tool('tpm2_gettime', '-Q', '-c', '@ak.ctx', '-q', nonce, '-g', 'sha256', ...time);
    const told = { ...good, attest: await tools.read('time'), signature: await tools.read('time.sig') };
    refused('wrong_attest_type', told, expected(ak));
    await tools.tool('tpm2_nvdefine', '-Q', '0x1500001', '-C', 'o', '-s', '8');
    await tools.write('nv', Buffer.alloc(8));
    await tools.tool('tpm2_nvwrite', '-Q', '0x1500001', '-C', 'o', '-i', '@nv');
    const nv = [
      '-q',
      nonce,
      '-g',
      'sha256',
      '-c',
      'o',
      '--attestation',
      '@nv.att',
      '-o',
      '@nv.sig',
      '0x1500001',
    ];
    await tools.tool('tpm2_nvcertify', '-Q', '-C', '@ak.ctx', '--size', '8', ...nv);
    const stored = { ...good, attest: await tools.read('nv.att'), signature: await tools.read('nv.sig') };
    refused('wrong_attest_type', stored, expected(ak));
  });

  it('refuses a smaller selection than asked, and one of the SHA-1 bank alone (rows 18, 21)', async () => {
    const list = every.slice(1).join(',');
    refused('pcr_selection', await quote('ak', `sha256:${list}`, [['sha256', 736]]), expected(ak));
    refused('weak_bank', await quote('ak', `sha1:${all}`, [['sha1', 480]]), expected(ak));
  });

  it('refuses the values of another moment (row 19)', async () => {
    const before = await quote('ak', `sha256:${all}`, [['sha256', 768]]);
    await tools.tool('tpm2_pcrextend', `16:sha256=${'11'.repeat(32)}`);
    const later = await quote('ak', `sha256:${all}`, [['sha256', 768]]);
    refused('pcr_digest_mismatch', { ...later, pcrs: before.pcrs }, expected(ak));
  });

  it('refuses a key in the owner hierarchy, where the hierarchy is judged (row 97)', async () => {
    const evidence = await quote('owner', `sha256:${all}`, [['sha256', 768]]);
    refused('ak_hierarchy', evidence, expected(owner));
    const proof = verify(
      { quotes: [evidence], facts: null, parts: {} },
      { ...expected(owner), judgeHierarchy: false },
    );
    assert.equal(proof.akName, owner.name);
  });
});
