import { DerReader, tag } from '../../formats/der.ts';
import { Rejection } from '../../wire/rejection.ts';

export interface AppendedSignature {
  readonly algorithm: string;
  readonly bytes: Buffer;
}

/**
 * The signature in a PKCS#7 message of one signer, as the kernel's scripts/sign-file writes it: over what it is appended to. RFC 5652,
 * section 5. Null for any other, by which nobody vouches here. Attack: signed attributes. They are signed in place of the content.
 */
export function parseAppendedSignature(pkcs7: Buffer): AppendedSignature | null {
  try {
    return parseMessage(new DerReader(pkcs7));
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}

/** Contents of object identifiers, hex. */
const oids = { signedData: '2a864886f70d010702', data: '2a864886f70d010701' } as const;
const digestAlgorithms: ReadonlyMap<string, string> = new Map([
  ['608648016503040201', 'sha256'],
  ['608648016503040202', 'sha384'],
  ['608648016503040203', 'sha512'],
]);
/** Context-specific tags. */
const context = { zero: 0xa0, one: 0xa1, keyId: 0x80 } as const;

function parseMessage(outer: DerReader): AppendedSignature | null {
  const message = outer.inside(tag.sequence, 'ContentInfo');
  outer.end('ContentInfo');
  if (oidIn(message, 'contentType') !== oids.signedData) return null;
  const data = message.inside(context.zero, 'content').inside(tag.sequence, 'SignedData');
  data.take(tag.integer, 'version');
  data.take(tag.set, 'digestAlgorithms');
  const content = data.inside(tag.sequence, 'encapContentInfo');
  // The content itself is the file.
  if (oidIn(content, 'eContentType') !== oids.data || content.peek() !== undefined) return null;
  for (const each of [context.zero, context.one]) if (data.peek() === each) data.any('certificates');
  const signers = data.inside(tag.set, 'signerInfos');
  data.end('signerInfos');
  const signer = signers.inside(tag.sequence, 'SignerInfo');
  signers.end('SignerInfo');
  return parseSigner(signer);
}

function parseSigner(signer: DerReader): AppendedSignature | null {
  signer.take(tag.integer, 'version');
  // Who signed is found by the signature: a name and a number vouch for nothing.
  signer.take(signer.peek() === context.keyId ? context.keyId : tag.sequence, 'sid');
  const algorithm = digestAlgorithms.get(
    oidIn(signer.inside(tag.sequence, 'digestAlgorithm'), 'digestAlgorithm'),
  );
  if (signer.peek() === context.zero) return null;
  signer.take(tag.sequence, 'signatureAlgorithm');
  const { content: bytes } = signer.take(tag.octetString, 'signature');
  return algorithm === undefined || signer.peek() !== undefined ? null : { algorithm, bytes };
}

function oidIn(reader: DerReader, field: string): string {
  return reader.take(tag.oid, field).content.toString('hex');
}
