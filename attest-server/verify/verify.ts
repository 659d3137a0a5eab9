import { hash } from 'node:crypto';
import { qualifyingData } from '../protocol/binding.ts';
import { type Facts, parseFacts } from '../protocol/facts.ts';
import { limits } from '../protocol/limits.ts';
import type { PcrSelection } from '../protocol/messages.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { AttestationKey } from './attestation-key.ts';
import { knowingCommandLine } from './boot/derive-boot-state.ts';
import type { MeasuredBoot, Proven, QuotedBank } from './proven.ts';
import { checkPcrs, checkSelection, checkSignature, type QuoteEvidence } from './quote.ts';
import { measuredDigest } from './quoted-values.ts';
import { parseQuote, type Quote } from './tpm/attest.ts';

/** What arrived. Nothing in it is believed before `verify` returns. */
export interface Evidence {
  readonly quotes: readonly QuoteEvidence[];
  /** The exact text of the facts; null where there is none. */
  readonly facts: string | null;
  readonly bootLog: {
    /** SHA-256 of the log's exact bytes, hex, computed by whoever holds them. */
    readonly digest: string;
    /** Parses and replays the log against the quoted banks, or finds that done before. */
    readonly measure: (banks: readonly QuotedBank[]) => MeasuredBoot;
  } | null;
}

/** What the quotes must sign, over one connection of ours. */
export interface ConnectionBinding {
  /** The nonce of the challenge that is answered. */
  readonly nonce: Buffer;
  /** The exporter value of the connection on which the evidence arrived. */
  readonly channel: Buffer;
  /** The channel value that the agent says it signed: it tells a relayed answer from a wrong nonce. */
  readonly claimedChannel: Buffer;
  readonly keyRequest?: Buffer;
  /** What the facts must say; null where no session is known, as in an exported bundle. */
  readonly session: Pick<Facts, 'node' | 'helloDigest' | 'purpose'> | null;
}

export interface Expected {
  readonly ak: AttestationKey;
  /** The endorsement key that the attestation key is enrolled under; null where none is known. */
  readonly ekDigest: string | null;
  /** Whether the key must be a primary of the endorsement hierarchy: wherever an endorsement is known. */
  readonly judgeHierarchy: boolean;
  /** Or, for evidence of other origin, the bytes that the quotes carry: hex, "" allowed. */
  readonly binding: ConnectionBinding | { readonly qualifyingData: string };
  /** What was asked for; null for evidence of other origin. */
  readonly selection: PcrSelection | null;
}

/**
 * Turns evidence into proof, or refuses it. Each step names the attack that it stops.
 * @throws Rejection with the code of the step that failed; `malformed` for bytes that are not what they should be
 */
export function verify(evidence: Evidence, expected: Expected): Proven {
  const { ak } = expected;
  checkAmount(evidence.quotes);

  // 1. The TPM made these structures, and they are quotes. Stops a key's other attestations (certify, time, NV) and
  //    hand-made ones: not_tpm_generated, wrong_attest_type.
  const quotes = evidence.quotes.map(({ attest }) => parseQuote(attest));

  for (let i = 0; i < quotes.length; i++) {
    const quote = quotes[i]!;
    const carrier = evidence.quotes[i]!;
    // 2. The attestation key of this enrolment signed them. Stops evidence of another TPM, and any changed bit:
    //    sig_invalid, ak_mismatch.
    checkSignature(carrier, quote, ak, expected.judgeHierarchy);
    // 3. The key lives in the endorsement hierarchy. Stops a key whose quotes blur the reset counters: ak_hierarchy.
    if (expected.judgeHierarchy) checkHierarchy(quote, ak);
    // 4. They answer this challenge, on this connection, over these facts and this log. Stops replay, relay and
    //    exchanged parts: nonce_invalid, channel_binding.
    checkBinding(quote, evidence, expected.binding);
  }

  // 5. They cover the PCRs asked for, in a bank that is hard to forge. Stops leaving out what would tell, and
  //    collisions: weak_bank, pcr_selection, weak_key.
  checkSelection(quotes, expected.selection);
  checkHash(ak);

  // 6. They are of one boot. Stops a good boot's values beside another's: boot_correlation.
  const latest = checkOneBoot(quotes);

  // 7. The PCR values are those signed. Stops made-up values, and values outside the selection: pcr_digest_mismatch.
  const banks: readonly QuotedBank[] =
    quotes.length === 1
      ? checkPcrs(evidence.quotes[0]!, latest, ak)
      : quotes.flatMap((quote, index) => checkPcrs(evidence.quotes[index]!, quote, ak));

  // 8. The facts are of this node and this conversation. Stops one node's answer given in another's name:
  //    identity_claim_mismatch.
  const facts = checkFacts(evidence.facts, expected.binding);

  // 9. The log is worth what the quoted PCRs confirm of it. Stops a made-up history; the policy judges the rest.
  const measured = evidence.bootLog === null ? null : evidence.bootLog.measure(banks);
  const boot = measured && withCommandLine(measured, facts?.host?.commandLine);

  // The one place that makes a Proven: the brand exists for the compiler only, hence the cast.
  return {
    akName: ak.name,
    ekDigest: expected.ekDigest,
    banks,
    measuredDigest: measuredDigest(banks),
    clock: latest.clock,
    firmwareVersion: latest.firmwareVersion,
    facts,
    boot,
  } as Proven;
}

/** A command line that the log lacks as text is taken from the facts, where the TPM holds its digest. */
function withCommandLine(boot: MeasuredBoot, said: string | undefined): MeasuredBoot {
  const state = said === undefined ? boot.state : knowingCommandLine(boot.state, said);
  return state === boot.state ? boot : { ...boot, state };
}

function checkAmount(quotes: readonly QuoteEvidence[]): void {
  if (quotes.length === 0)
    throw new Rejection('malformed', 'the evidence holds no quote', { field: 'quotes' });
  if (quotes.length > limits.quotes)
    throw new Rejection('too_large', `the evidence holds ${quotes.length} quotes`, { field: 'quotes' });
}

function checkHierarchy(quote: Quote, ak: AttestationKey): void {
  if (quote.qualifiedSigner !== ak.qualifiedName)
    throw new Rejection(
      'ak_hierarchy',
      'the attestation key is not a primary key of the endorsement hierarchy',
      {
        field: 'qualifiedSigner',
      },
    );
}

function checkBinding(quote: Quote, evidence: Evidence, binding: Expected['binding']): void {
  if ('qualifyingData' in binding) {
    if (quote.extraData === binding.qualifyingData.toLowerCase()) return;
  } else {
    if (quote.extraData === signedOver(evidence, binding, binding.channel)) return;
    if (quote.extraData === signedOver(evidence, binding, binding.claimedChannel))
      throw new Rejection(
        'channel_binding',
        'the quote was made for another connection; is there a TLS proxy between?',
        {
          field: 'extraData',
        },
      );
  }
  throw new Rejection(
    'nonce_invalid',
    'the quote does not sign the nonce of this challenge with this evidence',
    {
      field: 'extraData',
    },
  );
}

function signedOver({ facts, bootLog }: Evidence, binding: ConnectionBinding, channel: Buffer): string {
  return qualifyingData({
    nonce: binding.nonce,
    channel,
    facts: facts === null ? absent : Buffer.from(hash('sha256', facts, 'hex'), 'hex'),
    bootLog: bootLog === null ? absent : Buffer.from(bootLog.digest, 'hex'),
    keyRequest: binding.keyRequest ?? absent,
  });
}

const absent = Buffer.alloc(0);

function checkHash(ak: AttestationKey): void {
  if (ak.hash === 'sha1')
    throw new Rejection('weak_key', 'the attestation key signs SHA-1 digests', { field: 'scheme.hashAlg' });
}

/** Gives the quote with the highest clock. */
function checkOneBoot(quotes: readonly Quote[]): Quote {
  let latest = quotes[0]!;
  for (const quote of quotes) {
    const { resetCount, restartCount, clock } = quote.clock;
    if (resetCount !== latest.clock.resetCount || restartCount !== latest.clock.restartCount)
      throw new Rejection('boot_correlation', 'the quotes are of different boots', {
        field: 'clockInfo.resetCount',
      });
    if (clock > latest.clock.clock) latest = quote;
  }
  return latest;
}

function checkFacts(text: string | null, binding: Expected['binding']): Facts | null {
  const session = 'qualifyingData' in binding ? null : binding.session;
  const facts = text === null || 'qualifyingData' in binding ? null : parseFacts(text);
  if (session === null) return facts;
  for (const name of ['node', 'helloDigest', 'purpose'] as const)
    if (facts?.[name] !== session[name])
      throw new Rejection(
        'identity_claim_mismatch',
        `the facts name another ${name} than this conversation`,
        {
          field: `facts.${name}`,
        },
      );
  return facts;
}
