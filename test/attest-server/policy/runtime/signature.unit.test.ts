import assert from 'node:assert/strict';
import { generateKeyPairSync, hash, sign } from 'node:crypto';
import { describe, it } from 'mocha';
import { DerReader, tag } from '../../../../attest-server/formats/der.ts';
import { signedBy } from '../../../../attest-server/policy/runtime/signature.ts';
import { prepareSigners } from '../../../../attest-server/policy/runtime/signer-keys.ts';
import type { ImaEntry } from '../../../../attest-server/verify/ima/proven-list.ts';
import { appendedEntry, entryOf, portableEntry, signatures, signedEntry } from './recorded-signatures.ts';

const strong = Object.keys(signatures.keys).filter((name) => name !== 'rsa1024');
const publicKeyOf = (name: string) => signatures.keys[name]?.publicKey ?? '';
const all = prepareSigners(strong.map(publicKeyOf));
const nameOf = (key: string): string => {
  const [only] = [...prepareSigners([publicKeyOf(key)]).values()];
  return only?.[0]?.name ?? '';
};

describe('a signature of a file', () => {
  for (const file of signatures.files.filter(
    ({ key, algorithm }) => key !== 'rsa1024' && algorithm !== 'sha1',
  )) {
    const { made, key, kind, algorithm } = file;
    const entry = signedEntry(file);
    const title = `${kind} ${algorithm} by ${key}, ${made.split(' ').at(-1) ?? ''}`;
    it(`is found by its key among others: ${title}`, () => assert.equal(signedBy(entry, all), nameOf(key)));
    it(`is nobody’s where its key is not given: ${title}`, () => {
      const others = prepareSigners(strong.filter((name) => name !== key).map(publicKeyOf));
      assert.equal(signedBy(entry, others), null);
    });
    it(`is nobody’s for another digest: ${title}`, () => {
      const digest = Buffer.from(entry.digest);
      digest.writeUInt8(digest.readUInt8(0) ^ 1);
      assert.equal(signedBy({ ...entry, digest }, all), null);
    });
  }

  const [rsa] = signatures.files.filter(({ key, kind }) => key === 'rsa2048' && kind === 'ima');
  const [verity] = signatures.files.filter(({ key, kind }) => key === 'rsa2048' && kind === 'verity');
  const [curve] = signatures.files.filter(({ key, kind }) => key === 'ec-P-256' && kind === 'ima');
  if (rsa === undefined || verity === undefined || curve === undefined)
    throw new Error('nothing was recorded');
  const changed = (file: typeof rsa, at: number, to: number): ImaEntry => {
    const signature = Buffer.from(file.signature);
    signature.writeUInt8(to, at);
    return { ...signedEntry(file), signature };
  };
  const refused: readonly (readonly [string, ImaEntry])[] = [
    ['of another type', changed(rsa, 0, 0x06)],
    ['of the type of a portable one', changed(rsa, 0, 0x05)],
    ['of version 1', changed(rsa, 1, 1)],
    ['of version 3, by bytes', changed(rsa, 1, 3)],
    ['that names another hash', changed(rsa, 2, 5)],
    ['that names a hash nobody knows', changed(rsa, 2, 0xff)],
    ['that names another key', changed(rsa, 6, 0)],
    ['with another size', changed(rsa, 8, 1)],
    ['whose last byte is another', changed(rsa, rsa.signature.length - 1, 0x5a)],
    ['of ECDSA whose last byte is another', changed(curve, curve.signature.length - 1, 0x5a)],
    ['of fs-verity that is shown for bytes', { ...signedEntry(verity), kind: 'ima' }],
    ['of fs-verity of version 2', changed(verity, 1, 2)],
    ['of bytes that is shown for fs-verity', { ...signedEntry(rsa), kind: 'verity' }],
    ['by another hash than the entry’s', { ...signedEntry(rsa), algorithm: 'sha512' }],
    ['over a digest that is too short', { ...signedEntry(rsa), digest: rsa.digest.subarray(1) }],
    ['of a violation', { ...signedEntry(rsa), isViolation: true }],
    ['that is cut', { ...signedEntry(rsa), signature: rsa.signature.subarray(0, 200) }],
    ['that ends with its header', { ...signedEntry(rsa), signature: rsa.signature.subarray(0, 9) }],
    ['that is empty', { ...signedEntry(rsa), signature: Buffer.alloc(0) }],
    ['that is not there', { ...signedEntry(rsa), signature: null }],
    [
      'that is followed by more',
      { ...signedEntry(rsa), signature: Buffer.concat([rsa.signature, Buffer.of(0)]) },
    ],
  ];
  for (const [what, entry] of refused)
    it(`${what} is nobody’s`, () => assert.equal(signedBy(entry, all), null));

  it('by SHA-1 is nobody’s', () => {
    const [weak] = signatures.files.filter(({ algorithm }) => algorithm === 'sha1');
    assert.ok(weak);
    assert.equal(signedBy(signedEntry(weak), all), null);
  });

  it('is nobody’s without keys', () => assert.equal(signedBy(signedEntry(rsa), prepareSigners([])), null));

  it('is found by a key that is given by its certificate', () => {
    const certificates = strong.map((name) => signatures.keys[name]?.certificate ?? '');
    assert.match(
      signedBy(signedEntry(curve), prepareSigners(certificates)) ?? '',
      /O=Example, CN=IMA ec-P-256/,
    );
  });
});

describe('a portable signature', () => {
  for (const file of signatures.portable) {
    const entry = portableEntry(file);
    const { evm } = entry;
    if (evm === null) throw new Error('nothing was recorded');
    it(`is found: ${file.made}`, () => assert.equal(signedBy(entry, all), nameOf(file.key)));
    const [ima, ...rest] = [...evm.attributes].reverse();
    const others: readonly (readonly [string, ImaEntry])[] = [
      ['with another owner', { ...entry, evm: { ...evm, uid: evm.uid + 1 } }],
      ['with another group', { ...entry, evm: { ...evm, gid: evm.gid + 1 } }],
      ['with another mode', { ...entry, evm: { ...evm, mode: evm.mode ^ 0o4000 } }],
      ['without its attributes', { ...entry, evm: { ...evm, attributes: [] } }],
      [
        'with an attribute twice',
        { ...entry, evm: { ...evm, attributes: [...evm.attributes, ...evm.attributes] } },
      ],
      ['without its last attribute', { ...entry, evm: { ...evm, attributes: rest.reverse() } }],
      ['of other bytes', { ...entry, digest: Buffer.alloc(entry.digest.length, 1) }],
      ['of an fs-verity digest', { ...entry, kind: 'verity' }],
      [
        'that is one of bytes by its type',
        { ...entry, evm: { ...evm, signature: withType(evm.signature, 0x03) } },
      ],
    ];
    assert.ok(ima);
    for (const [what, other] of others)
      it(`${what} is nobody’s: ${file.made}`, () => assert.equal(signedBy(other, all), null));
  }

  describe('by a key of this test', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const keys = prepareSigners([publicKey.export({ type: 'spki', format: 'pem' }).toString()]);
    const [id = 0] = keys.keys();
    const digest = hash('sha256', 'a file', 'buffer');
    const saying = (algorithm: number, of = digest) => ({
      name: 'security.ima',
      value: Buffer.concat([Buffer.of(4, algorithm), of]),
    });
    const signed = (...attributes: NonNullable<ImaEntry['evm']>['attributes']): ImaEntry => {
      const text = Buffer.concat([...attributes.map(({ value }) => value), Buffer.alloc(24)]);
      const bytes = sign('sha256', text, privateKey);
      const header = Buffer.alloc(9);
      header.set([5, 2, 4]);
      header.writeUInt32BE(id, 3);
      header.writeUInt16BE(bytes.length, 7);
      const signature = Buffer.concat([header, bytes]);
      return entryOf({
        template: 'evm-sig',
        digest,
        evm: { signature, attributes, uid: 0, gid: 0, mode: 0 },
      });
    };

    it('is found where security.ima has the digest', () => assert.ok(signedBy(signed(saying(4)), keys)));

    const cases: readonly (readonly [string, ImaEntry])[] = [
      ['has the digest of another file', signed(saying(4, hash('sha256', 'another', 'buffer')))],
      ['names another hash', signed(saying(6))],
      ['is there twice', signed(saying(4), saying(4))],
      ['is not there', signed({ ...saying(4), name: 'security.selinux' })],
      [
        'has SHA-1 without a name',
        signed({ name: 'security.ima', value: Buffer.concat([Buffer.of(1), digest]) }),
      ],
    ];
    for (const [what, entry] of cases)
      it(`is nobody’s where security.ima ${what}`, () => assert.equal(signedBy(entry, keys), null));
  });

  it('is nobody’s in a template that does not carry what it is over', () => {
    const [file] = signatures.portable;
    assert.ok(file);
    const { algorithm, digest, evm } = file;
    assert.equal(signedBy(entryOf({ algorithm, digest, signature: evm }), all), null);
  });
});

describe('a signature that is appended to a module', () => {
  const taken = signatures.appended.filter(
    ({ made, key, attributes, algorithm }) =>
      key !== 'rsa1024' &&
      algorithm !== 'sha1' &&
      !attributes &&
      !made.includes('-nodetach') &&
      !isOfTwo(made),
  );
  for (const file of taken)
    it(`is found: ${file.made}`, () => {
      const entry = appendedEntry(file);
      assert.equal(signedBy(entry, all), nameOf(file.key));
      const others = prepareSigners(strong.filter((name) => name !== file.key).map(publicKeyOf));
      assert.equal(signedBy(entry, others), null);
      const digest = Buffer.from(file.digest);
      digest.writeUInt8(digest.readUInt8(0) ^ 1);
      assert.equal(signedBy(appendedEntry({ ...file, digest }), all), null);
    });

  const refused = signatures.appended.filter((file) => !taken.includes(file));
  for (const file of refused)
    it(`is nobody’s: ${file.made}`, () => assert.equal(signedBy(appendedEntry(file), all), null));

  it('is recorded with attributes, with its content, by two, by SHA-1 and by a weak key, too', () =>
    assert.equal(refused.length, 6));

  it('is nobody’s where it is over attributes, whatever the kernel takes for its digest', () => {
    const file = refused.find(({ attributes }) => attributes);
    assert.ok(file);
    const digest = hash('sha256', signedAttributesOf(file.signature), 'buffer');
    assert.equal(signedBy(appendedEntry({ ...file, digest }), all), null);
  });

  it('is nobody’s where ECDSA is over a digest of another name', () => {
    const file = taken.find(({ key }) => key === 'ec-P-384');
    assert.ok(file);
    assert.equal(signedBy(appendedEntry({ ...file, algorithm: 'sha384' }), all), null);
  });

  const [good] = taken;
  if (good === undefined) throw new Error('nothing was recorded');
  const others: readonly (readonly [string, (typeof signatures.appended)[number]])[] = [
    ['of another hash', { ...good, algorithm: 'sha384' }],
    ['of a digest that is too short', { ...good, digest: good.digest.subarray(1) }],
    ['that is followed by more', { ...good, signature: Buffer.concat([good.signature, Buffer.of(0)]) }],
    ['that is cut', { ...good, signature: good.signature.subarray(0, -1) }],
    ['that is empty', { ...good, signature: Buffer.alloc(0) }],
    ['that is no message', { ...good, signature: Buffer.from('300b06092a864886f70d010701', 'hex') }],
  ];
  for (const [what, file] of others)
    it(`${what} is nobody’s`, () => assert.equal(signedBy(appendedEntry(file), all), null));

  it('counts beside one of security.ima that is nobody’s', () =>
    assert.equal(signedBy({ ...appendedEntry(good), signature: Buffer.alloc(20) }, all), nameOf(good.key)));
});

function withType(signature: Buffer, type: number): Buffer {
  return Buffer.concat([Buffer.of(type), signature.subarray(1)]);
}

function isOfTwo(command: string): boolean {
  return command.split('-signer').length > 2;
}

/** As they are signed: a SET, RFC 5652, section 5.4. */
function signedAttributesOf(message: Buffer): Buffer {
  const data = new DerReader(message).inside(tag.sequence, 'ContentInfo');
  data.any('contentType');
  const fields = data.inside(0xa0, 'content').inside(tag.sequence, 'SignedData');
  for (const field of ['version', 'digestAlgorithms', 'encapContentInfo']) fields.any(field);
  const signer = fields.inside(tag.set, 'signerInfos').inside(tag.sequence, 'SignerInfo');
  for (const field of ['version', 'sid', 'digestAlgorithm']) signer.any(field);
  const { offset, start, content } = signer.take(0xa0, 'signedAttrs');
  return Buffer.concat([Buffer.of(tag.set), message.subarray(offset + 1, start + content.length)]);
}
