import { hash } from 'node:crypto';
import { qualifyingData } from '../protocol/binding.ts';
import type { Bundle } from '../protocol/bundle.ts';
import { Rejection } from '../protocol/rejection.ts';
import { checkAttestationKey } from './attestation-key.ts';
import { quotesOf } from './bundle-quotes.ts';
import { measureBoot } from './measured-boot.ts';
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

function evidenceOf(bundle: Bundle): Evidence {
  const log = bundle.bootLog === undefined ? null : Buffer.from(bundle.bootLog, 'base64');
  const digest = log === null ? '' : hash('sha256', log, 'hex');
  const userSpace = bundle.userspaceLog === undefined ? null : Buffer.from(bundle.userspaceLog, 'base64');
  return {
    quotes: quotesOf(bundle),
    facts: bundle.facts ?? null,
    bootLog: log === null ? null : { digest, measure: (banks) => measureBoot(log, digest, banks, userSpace) },
  };
}

/** Facts and log that are there must be those that were signed; those that are missing count by their digest alone. */
function bindingOf(
  { binding, qualifyingData: carried }: Bundle,
  { facts, bootLog }: Evidence,
): Expected['binding'] {
  if (binding === undefined) return { qualifyingData: carried ?? '' };
  const factsDigest = facts === null ? null : hash('sha256', facts, 'hex');
  const logDigest = bootLog?.digest ?? null;
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
