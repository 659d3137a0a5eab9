import { constants, hash, verify as verifySignature } from 'node:crypto';
import { type PcrBank, type PcrSelection, pcrBanks } from '../protocol/messages.ts';
import { Rejection } from '../protocol/rejection.ts';
import { type AttestationKey, otherQualifiedNames } from './attestation-key.ts';
import type { QuotedBank } from './proven.ts';
import { pcrCount, type Quote, type SelectedBank, valuesBytes } from './tpm/attest.ts';
import { parseSignature } from './tpm/signature.ts';

/** One quote as it arrived. */
export interface QuoteEvidence {
  /** TPMS_ATTEST */
  readonly attest: Buffer;
  /** TPMT_SIGNATURE */
  readonly signature: Buffer;
  /** Per bank the PCR values in ascending order of their PCR, concatenated. */
  readonly pcrs: Readonly<Partial<Record<PcrBank, Buffer>>>;
  /** Which PCRs `pcrs` holds per bank (bit i: PCR i), where that may be more than the quote covers, as in a bundle. */
  readonly carried?: Readonly<Partial<Record<PcrBank, number>>>;
  /** Banks that an earlier quote of this key proved, where the very same values came again: then `pcrs` may be empty. */
  readonly known?: readonly QuotedBank[];
}

/**
 * The signature over the exact TPMS_ATTEST is this key's, by its own scheme and hash.
 * @throws Rejection `sig_invalid`, `malformed`; `ak_mismatch` where the quote says that another key signed it
 */
export function checkSignature(
  { attest, signature }: QuoteEvidence,
  quote: Quote,
  ak: AttestationKey,
  judgeHierarchy: boolean,
): void {
  const bytes = parseSignature(signature, ak);
  if (verifies(ak, attest, bytes)) return;
  const signer = quote.qualifiedSigner;
  if (judgeHierarchy && signer !== ak.qualifiedName && !otherQualifiedNames(ak).includes(signer))
    throw new Rejection(
      'ak_mismatch',
      'the quote was signed by another key than the enrolled attestation key',
      {
        field: 'qualifiedSigner',
      },
    );
  throw new Rejection('sig_invalid', "the signature over the quote is not the attestation key's", {
    field: 'sig',
  });
}

function verifies(ak: AttestationKey, attest: Buffer, signature: Buffer): boolean {
  if (ak.scheme !== 'rsapss') return verifySignature(ak.hash, attest, ak.key, signature);
  // TPMs differ in the length of the salt: the hash's size, or as much as fits.
  const { RSA_PKCS1_PSS_PADDING: padding, RSA_PSS_SALTLEN_AUTO: saltLength } = constants;
  return verifySignature(ak.hash, attest, { key: ak.key, padding, saltLength }, signature);
}

/**
 * What was signed is the selection asked for, bank by bank and bit by bit; never an unsigned list of numbers.
 * `asked` is null for evidence of other origin: any selection with a bank better than SHA-1.
 * @throws Rejection `weak_bank`, `pcr_selection`
 */
export function checkSelection(quotes: readonly Quote[], asked: PcrSelection | null): void {
  let strong = false;
  let seen = 0;
  for (const { selection } of quotes) {
    if (selection.length === 0) throw badSelection('a quote covers no PCR');
    for (const { bank } of selection) {
      if (bank !== 'sha1') strong = true;
      const bit = 1 << pcrBanks.indexOf(bank);
      if ((seen & bit) !== 0) throw badSelection(`the ${bank} bank is quoted twice`);
      seen |= bit;
    }
  }
  if (seen === 0) throw badSelection('no PCR is quoted');
  if (!strong) throw new Rejection('weak_bank', 'only the SHA-1 bank is quoted', { field: 'pcrSelect' });
  if (asked === null) return;
  for (const { selection } of quotes)
    for (const { bank, mask } of selection)
      if (mask !== maskOf(asked[bank]))
        throw badSelection(`other PCRs of the ${bank} bank are quoted than were asked`);
  for (const bank of pcrBanks)
    if (maskOf(asked[bank]) !== 0 && (seen & (1 << pcrBanks.indexOf(bank))) === 0)
      throw badSelection(`the ${bank} bank was asked and is not quoted`);
}

function badSelection(text: string): Rejection {
  return new Rejection('pcr_selection', text, { field: 'pcrSelect' });
}

function maskOf(indices: readonly number[] | undefined): number {
  let mask = 0;
  if (indices !== undefined) for (const index of indices) mask |= 1 << index;
  return mask;
}

/**
 * The values that arrived are those that the TPM hashed: in the order of the signed selection, with the hash of the
 * signing scheme (TPM 2.0 Part 3 r1.59, section 18.4). Values of other PCRs and banks are left behind.
 * @throws Rejection `pcr_digest_mismatch`
 */
export function checkPcrs(evidence: QuoteEvidence, quote: Quote, ak: AttestationKey): readonly QuotedBank[] {
  if (evidence.known !== undefined && holdStill(evidence.known, quote)) return evidence.known;
  const banks: QuotedBank[] = [];
  for (const selected of quote.selection) {
    const values = valuesOf(evidence, selected);
    if (values === undefined || values.length !== valuesBytes(selected))
      throw new Rejection(
        'pcr_digest_mismatch',
        `the ${selected.bank} values are not those of the quoted PCRs`,
        {
          field: `pcrs.${selected.bank}`,
        },
      );
    banks.push({ bank: selected.bank, mask: selected.mask, values, pcrDigest: quote.pcrDigest });
  }
  const first = banks[0];
  const covered =
    banks.length === 1 && first ? first.values : Buffer.concat(banks.map(({ values }) => values));
  if (hash(ak.hash, covered, 'hex') !== quote.pcrDigest)
    throw new Rejection('pcr_digest_mismatch', 'the PCR values do not hash to what the quote signs', {
      field: 'pcrDigest',
    });
  return banks;
}

/** The digest signed now is that of values proven before: it can be of no others, so they need no hash again. */
function holdStill(known: readonly QuotedBank[], { selection, pcrDigest }: Quote): boolean {
  return (
    known.length === selection.length &&
    known.every((bank, index) => {
      const now = selection[index];
      return bank.pcrDigest === pcrDigest && bank.bank === now?.bank && bank.mask === now.mask;
    })
  );
}

function valuesOf({ pcrs, carried }: QuoteEvidence, { bank, mask }: SelectedBank): Buffer | undefined {
  const values = pcrs[bank];
  const held = carried?.[bank];
  if (values === undefined || held === undefined || held === mask) return values;
  const size = values.length / pcrCount(held);
  const picked: Buffer[] = [];
  for (let pcr = 0, at = 0; pcr < 24; pcr++) {
    const bit = 1 << pcr;
    if ((held & bit) === 0) continue;
    if ((mask & bit) !== 0) picked.push(values.subarray(at, at + size));
    at += size;
  }
  return Buffer.concat(picked);
}
