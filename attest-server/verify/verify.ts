/**
 * Pure: bytes become a `Proven`, or a `Rejection` with a code. This file reads as the specification. `verifier`
 * remembers what was proven, and logs as they were read (`boot-reading`). `boot-cap` says whether a boot may still ask for
 * disk keys.
 *
 * `endorsement-template` says which endorsement keys are taken, and `endorsement-paths` who vouches for one.
 * That is expensive, so it is done once for each key, after a proof.
 */

import { hash } from 'node:crypto';
import { atOnce } from '../formats/in-steps.ts';
import { qualifyingData } from '../wire/binding.ts';
import type { Parts } from '../wire/evidence.ts';
import { type Facts, parseFacts } from '../wire/facts.ts';
import { limits } from '../wire/limits.ts';
import type { PcrSelection } from '../wire/messages.ts';
import { Rejection } from '../wire/rejection.ts';
import type { AttestationKey } from './attestation-key.ts';
import { readCap } from './boot-cap.ts';
import { type ImaTail, proveList, withoutTail } from './ima/prove-list.ts';
import type { ImaProblem } from './ima/proven-list.ts';
import { checkFiles } from './listed-files.ts';
import { checkListed, listedAtOnce } from './listed-parts.ts';
import { knowingInitrds, knowingSaid, type MeasuredBoot, measureBoot } from './measured-boot.ts';
import type { Memory } from './memory.ts';
import { checkParts } from './parts.ts';
import type { Proven } from './proven.ts';
import { checkPcrs, checkSelection, checkSignature, type QuoteEvidence, type SignedQuote } from './quote.ts';
import { parseQuote, type Quote } from './tpm/attest.ts';

/** Evidence as it arrived. Nothing in it is believed before `verify` returns. */
export interface Evidence {
  readonly quotes: readonly QuoteEvidence[];
  /** The exact text of the facts; null if there is none. */
  readonly facts: string | null;
  /** By name, with bytes where they came along. */
  readonly parts: Parts;
  /** The bytes that parts list, by SHA-256, hex; what is remembered need not be here. */
  readonly files?: ReadonlyMap<string, Buffer>;
  /**
   * IMA's list, where it came otherwise than as the part `ima`; null if nothing of it did. Where it was not taken, why: then
   * nothing of it is proven.
   */
  readonly ima?: ImaTail | ImaProblem | null;
}

/** The data that the quotes must sign, over one connection of ours. */
export interface ConnectionBinding {
  /** The nonce of the challenge that is answered. */
  readonly nonce: Buffer;
  /** The exporter value of the connection on which the evidence arrived. */
  readonly channel: Buffer;
  /** The channel value that the agent says it signed: it tells a relayed answer from a wrong nonce. */
  readonly claimedChannel: Buffer;
  readonly keyRequest?: Buffer | undefined;
  /** The session that the facts must name; null if none is known, as in an exported bundle. */
  readonly session: Pick<Facts, 'node' | 'helloDigest' | 'purpose'> | null;
}

export interface ExpectedIdentity {
  readonly ak: AttestationKey;
  /** The endorsement key that the attestation key is enrolled under; null if none is known. */
  readonly ekDigest: string | null;
  /** Whether the key must be a primary of the endorsement hierarchy: wherever an endorsement is known. */
  readonly judgeHierarchy: boolean;
  /** Or, for evidence of other origin, the bytes that the quotes carry: hex, "" allowed. */
  readonly binding: ConnectionBinding | { readonly qualifyingData: string };
  /** The selection that was asked for; null for evidence of other origin. */
  readonly selection: PcrSelection | null;
}

/** The signed evidence, by its digest: of this much the verifier says whose it is before it looks at anything else. */
export interface SignedEvidence extends Pick<Evidence, 'quotes' | 'facts'> {
  /** SHA-256 of the boot log, hex; null if there is none. */
  readonly bootLog: string | null;
}

/**
 * Turns evidence into proof, or refuses it. Each step names the attack that it stops.
 * @param memory what was proven before, by this function: see `Verifier`
 * @throws Rejection with the code of the step that failed; `malformed` for bytes that are not what they should be
 */
export function verify(evidence: Evidence, expected: ExpectedIdentity, memory: Memory | null = null): Proven {
  return atOnce(SignedAnswer.check(signedOf(evidence), expected, memory).provenInSteps(evidence));
}

/** The same, and stops after each step of some milliseconds: IMA's list may be long. @throws Rejection */
export function verifyInSteps(evidence: Evidence, expected: ExpectedIdentity): Generator<void, Proven> {
  return SignedAnswer.check(signedOf(evidence), expected, null).provenInSteps(evidence);
}

/** Evidence as its quotes sign it. */
function signedOf({ quotes, facts, parts }: Evidence): SignedEvidence {
  return { quotes, facts, bootLog: parts.boot?.digest ?? null };
}

/** Quotes of which it is proven who made them, and for which challenge: what they say, and what came with them, is not read yet. */
export class SignedAnswer {
  readonly #signed: SignedEvidence;
  readonly #expected: ExpectedIdentity;
  readonly #memory: Memory | null;
  readonly #quotes: readonly SignedQuote[];

  private constructor(
    signed: SignedEvidence,
    expected: ExpectedIdentity,
    memory: Memory | null,
    quotes: readonly SignedQuote[],
  ) {
    this.#signed = signed;
    this.#expected = expected;
    this.#memory = memory;
    this.#quotes = quotes;
  }

  /** @throws Rejection as `verify` */
  static check(signed: SignedEvidence, expected: ExpectedIdentity, memory: Memory | null): SignedAnswer {
    const { ak } = expected;
    checkAmount(signed.quotes);

    // 1. The TPM made these structures, and they are quotes. Stops a key's other attestations (certify, time, NV) and
    //    hand-made ones: not_tpm_generated, wrong_attest_type.
    const parsed = signed.quotes.map(({ attest }) => parseQuote(attest));

    const quotes: SignedQuote[] = [];
    for (let i = 0; i < parsed.length; i++) {
      // 2. The attestation key of this enrolment signed them. Stops evidence of another TPM, and any changed bit:
      //    sig_invalid, ak_mismatch.
      const quote = checkSignature(parsed[i]!, signed.quotes[i]!.signature, ak, expected.judgeHierarchy);
      // 3. The key lives in the endorsement hierarchy. Stops a key whose quotes blur the reset counters: ak_hierarchy.
      if (expected.judgeHierarchy) checkHierarchy(quote);
      // 4. They answer this challenge, on this connection, over these facts and this boot log. Stops replay, relay and
      //    exchanged parts: nonce_invalid, channel_binding.
      checkBinding(quote, signed, expected.binding);
      quotes.push(quote);
    }
    return new SignedAnswer(signed, expected, memory, quotes);
  }

  /** As the first quote says it: that all are of one boot is not proven yet. */
  get resetCount(): number {
    return this.#quotes[0]!.quote.clock.resetCount;
  }

  /** The boot of an answer that is proven, if its loader read other files: to see what it lacks, and no proof. @throws Rejection as `verify` */
  bootWith(
    proven: Proven,
    { parts, files = noFiles }: Pick<Evidence, 'parts' | 'files'>,
  ): MeasuredBoot | null {
    const { banks, measuredDigest, facts, akName } = proven;
    const memory = this.#memory;
    const { boot: log, userSpace } = checkParts(parts, facts, memory);
    if (log === null) return null;
    const read = checkFiles(parts.loaderFiles, files, memory, lacksSha256(banks));
    return memory === null
      ? measureBoot(log, banks, userSpace, read)
      : memory.boot(memory.ofKey(akName), log, { banks, measuredDigest }, userSpace, read);
  }

  /**
   * With what the node sent, and what is known besides. Stops after each step of some milliseconds: IMA's list may be long.
   * @throws Rejection as `verify`
   */
  *provenInSteps(evidence: Omit<Evidence, 'quotes' | 'facts'>): Generator<void, Proven> {
    const [quotes, expected, memory] = [this.#quotes, this.#expected, this.#memory];
    const { ak } = expected;
    if ((evidence.parts.boot?.digest ?? null) !== this.#signed.bootLog)
      throw new Error('another boot log than the one that was signed');

    // 5. They cover the PCRs asked for, in a bank that is hard to forge. Stops leaving out what would tell, and
    //    collisions: weak_bank, pcr_selection, weak_key.
    checkSelection(quotes, expected.selection);
    checkHash(ak);

    // 6. They are of one boot. Stops a good boot's values beside another's: boot_correlation.
    const latest = checkOneBoot(quotes);

    // 7. The PCR values are those signed. Stops made-up values, and values outside the selection: pcr_digest_mismatch.
    const carriers = this.#signed.quotes;
    const ofKey = memory?.ofKey(ak.name) ?? null;
    const pcrs = ofKey === null ? checkPcrs(quotes, carriers) : ofKey.pcrs(quotes, carriers);

    // 8. The facts are of this node and this conversation, and the other parts are those that they name. Stops one
    //    node's answer given in another's name, and exchanged parts: identity_claim_mismatch, nonce_invalid, malformed.
    const facts = checkFacts(this.#signed.facts, expected.binding, (text) =>
      memory === null || ofKey === null ? parseFacts(text) : memory.facts(ak.name, ofKey, text),
    );
    const { boot: log, userSpace, ima, others } = checkParts(evidence.parts, facts, memory);
    const lists = {
      parts: evidence.parts,
      given: evidence.files ?? noFiles,
      memory,
      inAllBanks: lacksSha256(pcrs.banks),
    };
    // Most answers bring nothing long: they pay for no steps.
    const listed = listedAtOnce(lists) ?? (yield* checkListed(lists));
    const { loaderFiles: files, initrds } = listed;

    // 9. The logs are worth what the quoted PCRs confirm of them. Stops a made-up history; the policy judges the rest.
    const measured =
      log === null
        ? null
        : memory === null || ofKey === null
          ? measureBoot(log, pcrs.banks, userSpace, files)
          : memory.boot(ofKey, log, pcrs, userSpace, files);

    // 10. IMA's list leads to the quoted PCR 10, so that its entries are the kernel's word on what had been measured, and
    //     what runs since. Stops what is extended after the kernel had started, and what runs unseen; the policy compares it.
    const shown = evidence.ima ?? (ima === null ? null : { from: 0, chunks: [ima.bytes] });
    const known = memory?.list(ak.name, latest.clock) ?? null;
    const isLeft = shown !== null && 'code' in shown;
    const proof = isLeft
      ? { list: shown, aggregate: null, known }
      : shown === null
        ? withoutTail(pcrs.banks, known)
        : yield* proveList(shown, pcrs.banks, known);
    memory?.keepList(ak.name, latest.clock, proof.known);

    // The one place that makes a Proven: the seal exists for the compiler only, hence the cast.
    return {
      akName: ak.name,
      ekDigest: expected.ekDigest,
      banks: pcrs.banks,
      measuredDigest: pcrs.measuredDigest,
      clock: latest.clock,
      firmwareVersion: latest.firmwareVersion,
      facts,
      boot: measured && knowingInitrds(knowingSaid(measured, facts?.host?.commandLine), initrds),
      cap: measured?.cap ?? ofKey?.capWithoutLog(pcrs) ?? readCap(null, pcrs.banks, null),
      aggregate: proof.aggregate,
      ima: proof.list,
      parts: others,
      listed,
    } as Proven;
  }
}

const noFiles: ReadonlyMap<string, Buffer> = new Map();

function lacksSha256(banks: Proven['banks']): boolean {
  return banks.every(({ bank }) => bank !== 'sha256');
}

function checkAmount(quotes: readonly QuoteEvidence[]): void {
  if (quotes.length === 0)
    throw new Rejection('malformed', 'the evidence holds no quote', { field: 'quotes' });
  if (quotes.length > limits.quotes)
    throw new Rejection('too_large', `the evidence holds ${quotes.length} quotes`, { field: 'quotes' });
}

function checkHierarchy({ quote, ak }: SignedQuote): void {
  if (quote.qualifiedSigner !== ak.qualifiedName)
    throw new Rejection(
      'ak_hierarchy',
      'the attestation key is not a primary key of the endorsement hierarchy',
      {
        field: 'qualifiedSigner',
      },
    );
}

function checkBinding(
  { quote }: SignedQuote,
  evidence: SignedEvidence,
  binding: ExpectedIdentity['binding'],
): void {
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

function signedOver({ facts, bootLog }: SignedEvidence, binding: ConnectionBinding, channel: Buffer): string {
  return qualifyingData({
    nonce: binding.nonce,
    channel,
    facts: facts === null ? absent : hash('sha256', facts, 'buffer'),
    bootLog: bootLog === null ? absent : Buffer.from(bootLog, 'hex'),
    keyRequest: binding.keyRequest ?? absent,
  });
}

const absent = Buffer.alloc(0);

function checkHash(ak: AttestationKey): void {
  if (ak.hash === 'sha1')
    throw new Rejection('weak_key', 'the attestation key signs SHA-1 digests', { field: 'scheme.hashAlg' });
}

/** Gives the quote with the highest clock. */
function checkOneBoot(quotes: readonly SignedQuote[]): Quote {
  let latest = quotes[0]!.quote;
  for (const { quote } of quotes) {
    const { resetCount, restartCount, clock } = quote.clock;
    if (resetCount !== latest.clock.resetCount || restartCount !== latest.clock.restartCount)
      throw new Rejection('boot_correlation', 'the quotes are of different boots', {
        field: 'clockInfo.resetCount',
      });
    if (clock > latest.clock.clock) latest = quote;
  }
  return latest;
}

function checkFacts(
  text: string | null,
  binding: ExpectedIdentity['binding'],
  parsed: (text: string) => Facts,
): Facts | null {
  const session = 'qualifyingData' in binding ? null : binding.session;
  const facts = text === null || 'qualifyingData' in binding ? null : parsed(text);
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
