import { hash } from 'node:crypto';
import { type Bundle, partsOf } from '../formats/bundle.ts';
import { atOnce } from '../formats/in-steps.ts';
import { qualifyingData } from '../wire/binding.ts';
import { growingParts, type Part, type PartName, type Parts, partNames } from '../wire/evidence.ts';
import { parseFacts } from '../wire/facts.ts';
import { isImaIndex, parseImaIndex } from '../wire/ima-pieces.ts';
import { Rejection } from '../wire/rejection.ts';
import { checkAttestationKey } from './attestation-key.ts';
import { quotesOf } from './bundle-quotes.ts';
import type { ImaTail } from './ima/prove-list.ts';
import type { Proven } from './proven.ts';
import { type Evidence, type ExpectedIdentity, verifyInSteps } from './verify.ts';

/**
 * Proves an exported bundle again: its quotes sign what is in it. That its attestation key belongs to the endorsement
 * key is the word of whoever names `ekDigest`, since a bundle holds no activation.
 * @throws Rejection
 */
export function verifyBundleEvidence(bundle: Bundle, ekDigest: string | null): Proven {
  return atOnce(verifyBundleInSteps(bundle, ekDigest));
}

/** The same, and stops after each step of some milliseconds: IMA's list may be long. @throws Rejection */
export function* verifyBundleInSteps(bundle: Bundle, ekDigest: string | null): Generator<void, Proven> {
  const parts = partsOf(bundle);
  checkPartsSigned(bundle, parts);
  const binding = bindingOf(bundle, parts);
  return yield* verifyInSteps(evidenceOf(bundle, parts, binding), {
    ak: checkAttestationKey(Buffer.from(bundle.attestationKey, 'base64')),
    ekDigest,
    judgeHierarchy: bundle.endorsement !== undefined,
    binding,
    selection: null,
  });
}

/**
 * The document in the form that `verify` takes. Logs whose bytes are gone are left out; of the other parts the facts name
 * the digests, so they count where those count, and those that the document leaves out are known by that alone.
 */
function evidenceOf(bundle: Bundle, parts: Parts, binding: ExpectedIdentity['binding']): Evidence {
  const { facts = null } = bundle;
  const signed = facts === null || !('nonce' in binding) ? null : (parseFacts(facts).parts ?? {});
  const given: Partial<Record<PartName, Part>> = {};
  for (const name of partNames) {
    const part = parts[name];
    const digest = signed?.[name];
    if (name === 'boot' || growingParts.has(name)) {
      if (part !== undefined && part.bytes !== null) given[name] = part;
    } else if (signed !== null && part !== undefined) given[name] = part;
    else if (digest !== undefined) given[name] = { digest, bytes: null };
  }
  const files = new Map<string, Buffer>();
  for (const [digest, bytes] of Object.entries(bundle.files ?? {}))
    files.set(digest, Buffer.from(bytes, 'base64'));
  const { ima: list, ...others } = given;
  // The exporter's word, which can make the verdict worse alone.
  if (list?.bytes == null)
    return {
      quotes: quotesOf(bundle.quotes),
      facts,
      parts: given,
      files,
      ima: bundle.context?.imaProblem ?? null,
    };
  if (!isImaIndex(list.bytes)) return { quotes: quotesOf(bundle.quotes), facts, parts: given, files };
  return { quotes: quotesOf(bundle.quotes), facts, parts: others, files, ima: listOf(list.bytes, files) };
}

/**
 * IMA's list from the pieces that an index names; null if one of them is gone.
 * @throws Rejection `malformed` for a piece of another digest, or of another size
 */
function listOf(index: Buffer, files: ReadonlyMap<string, Buffer>): ImaTail | null {
  const chunks: Buffer[] = [];
  for (const { digest, bytes } of parseImaIndex(index)) {
    const piece = files.get(digest);
    if (piece === undefined) return null;
    if (piece.length !== bytes || hash('sha256', piece, 'hex') !== digest)
      throw new Rejection('malformed', 'a piece of the IMA list is not the one that its index names', {
        field: `files.${digest}`,
      });
    chunks.push(piece);
  }
  return { from: 0, chunks };
}

/** Facts and log that are there must be those that were signed; those that are missing count by their digest alone. */
function bindingOf(
  { binding, qualifyingData: carried, facts }: Bundle,
  { boot }: Parts,
): ExpectedIdentity['binding'] {
  if (binding === undefined) return { qualifyingData: carried ?? '' };
  const bytes = (hex: string) => Buffer.from(hex, 'hex');
  const nonce = bytes(binding.nonce);
  const channel = bytes(binding.channel);
  const keyRequest = bytes(binding.keyRequest);
  const hasFacts = facts !== undefined || binding.facts === '';
  const hasLog = boot?.bytes != null || binding.bootLog === '';
  if (hasFacts && hasLog) return { nonce, channel, claimedChannel: channel, keyRequest, session: null };
  const signed = { nonce, channel, keyRequest, facts: bytes(binding.facts), bootLog: bytes(binding.bootLog) };
  return { qualifyingData: qualifyingData(signed) };
}

/**
 * Attack: a part of another machine, or of another day, beside a good quote. The log's digest is in the binding, that of
 * every other part in the facts, whose own digest is in the binding.
 * @throws Rejection `nonce_invalid`
 */
function checkPartsSigned({ binding, facts }: Bundle, parts: Parts): void {
  if (binding === undefined) return;
  if (facts !== undefined) checkSigned(hash('sha256', facts, 'hex'), binding.facts, 'facts');
  if (parts.boot !== undefined) checkSigned(parts.boot.digest, binding.bootLog, 'parts.boot');
  const others = partNames.filter((name) => name !== 'boot' && parts[name] !== undefined);
  if (others.length === 0) return;
  const signed = facts === undefined ? {} : (parseFacts(facts).parts ?? {});
  for (const name of others)
    if (signed[name] !== undefined || !growingParts.has(name))
      checkSigned(parts[name]?.digest, signed[name] ?? '', `parts.${name}`);
}

function checkSigned(actual: string | undefined, signed: string, field: string): void {
  if (actual === signed) return;
  throw new Rejection('nonce_invalid', `the bundle's ${field} are not those that its quotes sign`, { field });
}
