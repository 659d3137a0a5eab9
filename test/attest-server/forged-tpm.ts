import {
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  hash,
  type KeyObject,
} from 'node:crypto';
import { activationProof } from '../../attest-server/channel/session.ts';
import type { QuoteEvidence } from '../../attest-server/verify/quote.ts';
import type { WrapLabel } from '../../attest-server/verify/tpm/outer-wrap.ts';
import { qualifyingData } from '../../attest-server/wire/binding.ts';
import { growingParts, type PartName, partNames } from '../../attest-server/wire/evidence.ts';
import type { Facts } from '../../attest-server/wire/facts.ts';
import type { KeyRelease } from '../../attest-server/wire/key-release.ts';
import type { Challenge, EvidenceMessage, Hello } from '../../attest-server/wire/messages.ts';
import { madeAuthority, madeEkCertificate, signer } from './verify/made-certificate.ts';
import { madeQuote } from './verify/made-quote.ts';
import { ekTemplate, type SoftwareKey, softwareKey, u32 } from './verify/software-key.ts';

/** What evidence is made for; each part can be another's. */
export interface Occasion {
  readonly node: string;
  /** The hello frame's text. */
  readonly hello: string;
  readonly channel: Buffer;
  /** A firmware log to bind; its frame is sent apart. */
  readonly bootLog?: Buffer;
  /** What the quote signs besides. Default nothing. */
  readonly keyRequest?: Buffer;
  /** What the machine says of itself. */
  readonly host?: Facts['host'];
  /** What the node says it could not read. Default nothing. */
  readonly unavailable?: Facts['unavailable'];
  /** Of its kernel; the same for all where left out. */
  readonly bootId?: string;
}

const firstBootId = '6f9619ff-8b86-d011-b42d-00cf4fc964ff';

/** A TPM without a TPM: both keys in memory, so that it says, signs and activates whatever an attack needs. */
export interface ForgedTpm {
  readonly ak: SoftwareKey;
  readonly ek: SoftwareKey;
  readonly ekDigest: string;
  /** Of its SubjectPublicKeyInfo without y, which is the last of it. */
  readonly keyDigest: string;
  hello(node: string): Hello;
  /** Opens the credential, as TPM2_ActivateCredential does. */
  activated(activate: Readonly<Record<string, unknown>>, channel: Buffer, hello: string): object;
  /** What was sealed to it, as TPM2_Import and TPM2_Unseal give it, whatever the policy says. */
  unsealed(release: Pick<KeyRelease, 'importPublic' | 'importDuplicate' | 'importSeed'>): Buffer;
  /** A good answer with what an attack changes. `quote` gets the bytes to sign. */
  evidence(
    challenge: Challenge,
    occasion: Occasion,
    change?: { quote?: (signed: Buffer) => QuoteEvidence; message?: Partial<EvidenceMessage> },
  ): EvidenceMessage;
  /** The same with these parts; `boot` is the occasion's log, and the frames are sent apart. */
  evidenceOfParts(
    challenge: Challenge,
    occasion: Occasion,
    parts: Readonly<Partial<Record<PartName, Buffer>>>,
    quote?: (signed: Buffer) => QuoteEvidence,
  ): EvidenceMessage;
}

/** Who endorses forged TPMs. */
export const testAuthority = signer('Test authority');
/** Test servers trust it unless they are told otherwise. DER. */
export const testAuthorityCertificate = madeAuthority(testAuthority);
/** What their certificates say. */
export const forgedMake = { manufacturer: 'id:49424D00', model: 'forged' } as const;

export function forgedTpm(
  ak: SoftwareKey = softwareKey('p256'),
  ek: SoftwareKey = softwareKey('p256', ekTemplate),
): ForgedTpm {
  const certificate = madeEkCertificate(testAuthority, ek.publicKey, forgedMake);
  const akName = `000b${hash('sha256', ak.publicArea, 'hex')}`;
  return {
    ak,
    ek,
    ekDigest: hash('sha256', ek.publicArea, 'hex'),
    keyDigest: hash('sha256', ek.publicKey.export({ type: 'spki', format: 'der' }).subarray(0, -32), 'hex'),
    hello: (node) => ({
      type: 'hello',
      versions: { protocol: [1, 1], program: '0.0.0' },
      role: 'agent',
      node,
      banks: ['sha1', 'sha256'],
      ek: {
        publicArea: ek.publicArea.toString('base64'),
        certificate: certificate.toString('base64'),
        chain: [],
      },
      ak: { publicArea: ak.publicArea.toString('base64'), name: akName },
      joinToken: false,
      speaks: ['parts', 'codes'],
    }),
    activated({ credential, secret }, channel, hello) {
      const opened = unwrapped(ek, 'IDENTITY', Buffer.from(akName, 'hex'), {
        wrapped: Buffer.from(String(credential), 'base64'),
        seed: Buffer.from(String(secret), 'base64'),
      }).subarray(2);
      const proof = activationProof(opened, channel, hash('sha256', hello, 'hex'));
      return { type: 'activated', proof: proof.toString('hex') };
    },
    unsealed({ importPublic, importDuplicate: wrapped, importSeed: seed }) {
      const name = Buffer.from(`000b${hash('sha256', importPublic.subarray(2), 'hex')}`, 'hex');
      const sensitive = unwrapped(ek, 'DUPLICATE', name, { wrapped, seed });
      // Size, type, an empty authorisation value, and an obfuscation value of 32 bytes.
      return sensitive.subarray(2 + 2 + 2 + (2 + 32) + 2);
    },
    evidence(challenge, occasion, change = {}) {
      return { ...this.evidenceOfParts(challenge, occasion, {}, change.quote), ...change.message };
    },
    evidenceOfParts(challenge, occasion, parts, quote) {
      const named: EvidenceMessage['parts'] = {};
      const inFacts: Partial<Record<PartName, string>> = {};
      for (const [name, bytes] of Object.entries({ ...parts, boot: occasion.bootLog })) {
        if (bytes === undefined || !isPartName(name)) continue;
        named[name] = { digest: hash('sha256', bytes, 'hex') };
        if (!grows.has(name)) inFacts[name] = hash('sha256', bytes, 'hex');
      }
      const facts = { ...factsOf(occasion), purpose: challenge.purpose, parts: inFacts };
      return { ...sealed(ak, challenge, occasion, facts, quote), parts: named };
    },
  };
}

const isPartName = (name: string): name is PartName => partNames.some((each) => each === name);
/** Not in the facts: these vouch for themselves, and `boot` stands in the binding. */
const grows: ReadonlySet<PartName> = new Set([...growingParts, 'boot']);

function factsOf({ node, hello, host, unavailable, bootId = firstBootId }: Occasion): Facts {
  const facts: Facts = { purpose: 'attest', node, bootId, helloDigest: hash('sha256', hello, 'hex') };
  if (host !== undefined) facts.host = host;
  if (unavailable !== undefined) facts.unavailable = unavailable;
  return facts;
}

/** What all evidence has, with a quote over it. */
function sealed(
  ak: SoftwareKey,
  challenge: Challenge,
  { channel, bootLog, keyRequest = Buffer.alloc(0) }: Occasion,
  said: Facts,
  quote: (signed: Buffer) => QuoteEvidence = (data) => madeQuote(ak, data),
): Omit<EvidenceMessage, 'parts'> {
  const facts = JSON.stringify(said);
  const signed = qualifyingData({
    nonce: Buffer.from(challenge.nonce, 'base64'),
    channel,
    facts: createHash('sha256').update(facts).digest(),
    bootLog: bootLog === undefined ? Buffer.alloc(0) : createHash('sha256').update(bootLog).digest(),
    keyRequest,
  });
  return {
    type: 'evidence',
    nonce: challenge.nonce,
    channel: channel.toString('base64'),
    quotes: [encoded(quote(Buffer.from(signed, 'hex')))],
    facts,
    ...(keyRequest.length > 0 && { keyRequest: keyRequest.toString('base64') }),
  };
}

function encoded({ attest, signature, pcrs }: QuoteEvidence): EvidenceMessage['quotes'][number] {
  return {
    attest: attest.toString('base64'),
    signature: signature.toString('base64'),
    pcrs: Object.fromEntries(Object.entries(pcrs).map(([bank, values]) => [bank, values.toString('base64')])),
  };
}

/** TPM 2.0 Part 1 r1.59, sections 23 and 24 and annex C.6.3, from the side of the TPM; gives the payload with its size. */
function unwrapped(
  ek: SoftwareKey,
  label: WrapLabel,
  name: Buffer,
  sealed: { readonly wrapped: Buffer; readonly seed: Buffer },
): Buffer {
  const [x, y] = [sealed.seed.subarray(4, 36), sealed.seed.subarray(38, 70)];
  const shared = diffieHellman({ privateKey: ek.privateKey, publicKey: point(x, y) });
  const own = Buffer.from(ek.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const seed = hash('sha256', Buffer.concat([u32(1), shared, Buffer.from(`${label}\0`), x, own]), 'buffer');
  const fixed = Buffer.concat([u32(1), Buffer.from('STORAGE\0'), name, u32(128)]);
  const key = createHmac('sha256', seed).update(fixed).digest().subarray(0, 16);
  const payload = sealed.wrapped.subarray(4 + sealed.wrapped.readUInt16BE(2));
  return createDecipheriv('aes-128-cfb', key, Buffer.alloc(16)).update(payload);
}

function point(x: Buffer, y: Buffer): KeyObject {
  const jwk = { kty: 'EC', crv: 'P-256', x: x.toString('base64url'), y: y.toString('base64url') };
  return createPublicKey({ key: jwk, format: 'jwk' });
}
