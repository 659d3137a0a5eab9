import { hash } from 'node:crypto';
import { qualifyingData } from '../protocol/binding.ts';
import type { Bundle } from '../protocol/bundle.ts';
import type { Part, PartName } from '../protocol/evidence.ts';
import { Rejection } from '../protocol/rejection.ts';
import { checkAttestationKey } from './attestation-key.ts';
import { quotesOf } from './bundle-quotes.ts';
import type { Proven } from './proven.ts';
import { type Evidence, type Expected, verify } from './verify.ts';

/**
 * Proves an exported bundle again: its quotes sign what is in it. That its attestation key belongs to the endorsement
 * key is the word of whoever names `ekDigest`, since a bundle holds no activation.
 * @throws Rejection
 */
export function verifyBundleEvidence(bundle: Bundle, ekDigest: string | null): Proven {
  const evidence = evidenceOf(bundle);
  return verify(evidence, {
    ak: checkAttestationKey(Buffer.from(bundle.attestationKey, 'base64')),
    ekDigest,
    judgeHierarchy: bundle.endorsement !== undefined,
    binding: bindingOf(bundle, evidence),
    selection: null,
  });
}

function evidenceOf({ quotes, bootLog, userspaceLog, facts }: Bundle): Evidence {
  const parts: Partial<Record<PartName, Part>> = {};
  if (bootLog !== undefined) parts.boot = partOf(bootLog);
  if (userspaceLog !== undefined) parts.userSpace = partOf(userspaceLog);
  return { quotes: quotesOf(quotes), facts: facts ?? null, parts };
}

function partOf(base64: string): Part {
  const bytes = Buffer.from(base64, 'base64');
  return { digest: hash('sha256', bytes, 'hex'), bytes };
}

/** Facts and log that are there must be those that were signed; those that are missing count by their digest alone. */
function bindingOf(
  { binding, qualifyingData: carried }: Bundle,
  { facts, parts }: Evidence,
): Expected['binding'] {
  if (binding === undefined) return { qualifyingData: carried ?? '' };
  const factsDigest = facts === null ? null : hash('sha256', facts, 'hex');
  const logDigest = parts.boot?.digest ?? null;
  checkDigest(factsDigest, binding.facts, 'facts');
  checkDigest(logDigest, binding.bootLog, 'bootLog');
  const bytes = (hex: string) => Buffer.from(hex, 'hex');
  const nonce = bytes(binding.nonce);
  const channel = bytes(binding.channel);
  const keyRequest = bytes(binding.keyRequest);
  const complete = (factsDigest ?? '') === binding.facts && (logDigest ?? '') === binding.bootLog;
  if (complete) return { nonce, channel, claimedChannel: channel, keyRequest, session: null };
  const signed = { nonce, channel, keyRequest, facts: bytes(binding.facts), bootLog: bytes(binding.bootLog) };
  return { qualifyingData: qualifyingData(signed) };
}

function checkDigest(actual: string | null, signed: string, field: string): void {
  if (actual === null || actual === signed) return;
  throw new Rejection('nonce_invalid', `the bundle's ${field} are not those that its binding names`, {
    field,
  });
}
