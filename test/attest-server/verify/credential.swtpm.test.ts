import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import { makeCredential } from '../../../attest-server/verify/credential.ts';
import { checkEndorsement } from '../../../attest-server/verify/endorsement.ts';
import { makeSigningKey, type ToolTpm, toolTpm } from './tool-tpm.ts';

/** The two branches of the policy of high-range SHA-384 endorsement keys. TCG EK Credential Profile 2.5, B.6. */
const highRange = {
  a: '8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53',
  c: 'd6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165',
};

describe('makeCredential, opened by a TPM', () => {
  let tools: ToolTpm;
  let akName: Buffer;

  before(async () => {
    tools = await toolTpm();
    const ak = await makeSigningKey(tools, 'ak', 'e');
    akName = Buffer.from(checkAttestationKey(ak).name, 'hex');
    await tools.write('a', Buffer.from(highRange.a, 'hex'));
    await tools.write('c', Buffer.from(highRange.c, 'hex'));
  });
  after(() => tools?.[Symbol.asyncDispose]());

  async function activate(ek: string, name: Buffer, secret: Buffer, sha384: boolean): Promise<Buffer> {
    const publicArea = await tools.read(`${ek}.pub`);
    const { credential, secret: wrapped } = makeCredential(publicArea, name, secret, randomBytes);
    await tools.write('blob', Buffer.concat([Buffer.from('badcc0de00000001', 'hex'), credential, wrapped]));
    await tools.sessionTool(
      'tpm2_startauthsession',
      '--policy-session',
      '-g',
      sha384 ? 'sha384' : 'sha256',
      '-S',
      '@s',
    );
    await tools.sessionTool('tpm2_policysecret', '-Q', '-S', '@s', '-c', 'e');
    if (sha384) await tools.sessionTool('tpm2_policyor', '-Q', '-S', '@s', 'sha384:@a,@c');
    const keys = ['-c', '@ak.ctx', '-C', `@${ek}.ctx`, '-P', 'session:@s'];
    try {
      await tools.sessionTool('tpm2_activatecredential', '-Q', ...keys, '-i', '@blob', '-o', '@out');
    } finally {
      await tools.sessionTool('tpm2_flushcontext', '@s');
      await tools.sessionTool('tpm2_flushcontext', '-t');
    }
    return tools.read('out');
  }

  for (const [algorithm, kind, sha384] of [
    ['rsa', 'RSA-2048', false],
    ['ecc', 'P-256', false],
    ['ecc384', 'P-384', true],
  ] as const) {
    it(`gives the secret to the TPM that holds both keys, ${kind}`, async () => {
      await tools.tool(
        'tpm2_createek',
        '-G',
        algorithm,
        '-c',
        `@${algorithm}.ctx`,
        '-u',
        `@${algorithm}.pub`,
      );
      const publicArea = await tools.read(`${algorithm}.pub`);
      assert.equal(checkEndorsement({ publicArea, certificate: null, chain: [] }).kind, kind);
      // Random coordinates begin with zeros now and then: several rounds meet some.
      for (const size of [32, 1, 16]) {
        const secret = randomBytes(size);
        assert.deepEqual(await activate(algorithm, akName, secret, sha384), secret);
      }
    });

    it(`gives nothing for an object of another name, ${kind}`, async () => {
      const other = Buffer.from(akName);
      other[20] = (other[20] ?? 0) ^ 1;
      await assert.rejects(activate(algorithm, other, randomBytes(32), sha384), {
        tool: 'tpm2_activatecredential',
        responseName: 'TPM_RC_INTEGRITY',
      });
    });
  }

  it('takes the endorsement certificates of this TPM, and no other TPM’s (row 6)', async () => {
    await using stranger = await toolTpm();
    const publicArea = await tools.read('rsa.pub');
    const { rsa, ecc } = tools.tpm.ekCertificates;
    const own = checkEndorsement({ publicArea, certificate: rsa, chain: [] });
    assert.ok((own.certificate?.notAfter ?? 0) > Date.parse('2020-01-01'));
    checkEndorsement({ publicArea: await tools.read('ecc384.pub'), certificate: ecc, chain: [rsa] });
    for (const certificate of [ecc, stranger.tpm.ekCertificates.rsa, stranger.tpm.ekCertificates.ecc])
      assert.throws(() => checkEndorsement({ publicArea, certificate, chain: [] }), {
        code: 'ek_cert_key_mismatch',
      });
  });
});
