import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, it } from 'mocha';
import { prepareSigners, signerFault } from '../../../../attest-server/policy/runtime/signer-keys.ts';
import { signatures } from './recorded-signatures.ts';

const { publicKey = '', certificate = '' } = signatures.keys['ec-P-384'] ?? {};
const rsa = signatures.keys.rsa4096?.publicKey ?? '';
const derOf = (pem: string) => pem.replace(/-----.*-----|\s/g, '');

describe('a signer of a policy', () => {
  const taken: readonly (readonly [string, string])[] = [
    ['a public key in PEM', publicKey],
    ['a public key in PEM, with CR LF', publicKey.replaceAll('\n', '\r\n')],
    ['a public key in base64', derOf(publicKey)],
    ['an RSA public key of PKCS#1', createPublicKey(rsa).export({ type: 'pkcs1', format: 'pem' }).toString()],
    ['a certificate in PEM', certificate],
    ['a certificate in base64', derOf(certificate)],
  ];
  for (const [what, text] of taken) it(`may be ${what}`, () => assert.equal(signerFault(text), null));

  const pemOf = ({ publicKey: key }: { readonly publicKey: KeyObject }): string =>
    key.export({ type: 'spki', format: 'pem' }).toString();
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const refused: readonly (readonly [string, string, RegExp])[] = [
    ['an RSA key of 1024 bit', signatures.keys.rsa1024?.publicKey ?? '', /1024 bit/],
    ['a certificate of an RSA key of 1024 bit', signatures.keys.rsa1024?.certificate ?? '', /1024 bit/],
    ['a private key', privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), /private key/],
    ['a private key of SEC 1', privateKey.export({ type: 'sec1', format: 'pem' }).toString(), /private key/],
    [
      'a private key in base64',
      privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'),
      /neither/,
    ],
    ['a key of Ed25519', pemOf(generateKeyPairSync('ed25519')), /ed25519/],
    ['a key of another curve', pemOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), /secp256k1/],
    ['two keys', `${publicKey}${rsa}`, /one whole block/],
    ['a key without its end', publicKey.slice(0, 80), /one whole block/],
    ['a certificate that is called a key', publicKey.replaceAll('PUBLIC KEY', 'CERTIFICATE'), /neither/],
    ['a file’s name', '/etc/keys/x509_ima.der', /neither/],
    ['nothing', '', /neither/],
  ];
  for (const [what, text, why] of refused)
    it(`is not ${what}`, () => {
      assert.match(signerFault(text) ?? '', why);
      assert.throws(() => prepareSigners([text]), RangeError);
    });

  it('is known by the id of its key, and by that of its certificate', () => {
    // Both of one key, as evmctl and the kernel derive them.
    assert.deepEqual([...prepareSigners([publicKey]).keys()], [0x64206411]);
    assert.deepEqual([...prepareSigners([certificate]).keys()], [0x64206411]);
  });

  it('is tried beside another one of the same id', () => {
    const [keys] = prepareSigners([publicKey, certificate]).values();
    assert.equal(keys?.length, 2);
  });
});
