import { constants, hash, verify as verifySignature } from 'node:crypto';
import { bankBytes, type PcrBank, type PcrSelection, pcrBanks } from '../wire/messages.ts';
import { ownBytes } from '../wire/own-bytes.ts';
import { type PcrValues, pcrCount } from '../wire/pcr-values.ts';
import { Rejection } from '../wire/rejection.ts';
import { type AttestationKey, otherQualifiedNames } from './attestation-key.ts';
import { type Quote, type SelectedBank, valuesBytes } from './tpm/attest.ts';
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
}

/** For the compiler alone: a protected member can be neither written nor spread. */
declare class SignatureSeal {
  protected readonly signed: never;
}
declare class BankSeal {
  protected readonly quoted: never;
}
declare class PcrsSeal {
  protected readonly quoted: never;
}

/** A quote that this key signed: only `checkSignature` makes one. */
export interface SignedQuote extends SignatureSeal {
  readonly quote: Quote;
  readonly ak: AttestationKey;
}

/** The values of one PCR bank, as covered by a signed quote: only `checkPcrs` makes one. */
export interface QuotedBank extends PcrValues, BankSeal {
  /** pcrDigest of the quote that covers this bank, hex. */
  readonly pcrDigest: string;
}

/** The PCRs that the quotes of one answer cover: only `checkPcrs` makes it. */
export interface QuotedPcrs extends PcrsSeal {
  readonly banks: readonly QuotedBank[];
  /** As in `Proven`. */
  readonly measuredDigest: string;
}

/**
 * The signature over the exact TPMS_ATTEST is this key's, by its own scheme and hash.
 * @throws Rejection `sig_invalid`, `malformed`; `ak_mismatch` if the quote says that another key signed it
 */
export function checkSignature(
  quote: Quote,
  signature: Buffer,
  ak: AttestationKey,
  judgeHierarchy: boolean,
): SignedQuote {
  const bytes = parseSignature(signature, ak);
  const key = ak.scheme === 'rsapss' ? { key: ak.key, ...paddingOfPss } : ak.key;
  // The seal exists for the compiler only.
  if (verifySignature(ak.hash, quote.bytes, key, bytes)) return { quote, ak } as SignedQuote;
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

/** TPMs differ in the length of the salt: the hash's size, or as much as fits. */
const paddingOfPss = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_AUTO,
};

/**
 * Checks that the signed selection is the one asked for, bank by bank and bit by bit; never an unsigned list of numbers.
 * `asked` is null for evidence of other origin: any selection with a bank better than SHA-1.
 * @throws Rejection `weak_bank`, `pcr_selection`
 */
export function checkSelection(quotes: readonly SignedQuote[], asked: PcrSelection | null): void {
  let strong = false;
  let seen = 0;
  for (const { quote } of quotes) {
    const { selection } = quote;
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
  for (const { quote } of quotes)
    for (const { bank, mask } of quote.selection)
      if (mask !== maskOf(asked[bank]))
        throw badSelection(`other PCRs of the ${bank} bank are quoted than were asked`);
  for (let i = 0; i < pcrBanks.length; i++)
    if ((seen & (1 << i)) === 0 && maskOf(asked[pcrBanks[i]!]) !== 0)
      throw new Rejection('weak_bank', `the ${pcrBanks[i]} bank was asked and is not quoted`, {
        field: 'pcrSelect',
      });
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
 * @param carriers what arrived with each of the quotes
 * @param known what this key's quotes covered before: given back where the same values came under the same signed
 *   digest, which can be of no others
 * @throws Rejection `pcr_digest_mismatch`
 */
export function checkPcrs(
  quotes: readonly SignedQuote[],
  carriers: readonly QuoteEvidence[],
  known: QuotedPcrs | null = null,
): QuotedPcrs {
  if (known !== null && holdStill(known.banks, quotes, carriers)) return known;
  const banks: QuotedBank[] = [];
  for (let i = 0; i < quotes.length; i++) {
    const { quote, ak } = quotes[i]!;
    const values = quote.selection.map((selected) => valuesOf(carriers[i], selected));
    const covered = values.length === 1 && values[0] ? values[0] : Buffer.concat(values);
    const pcrDigest = hash(ak.hash, covered, 'hex');
    if (pcrDigest !== quote.pcrDigest)
      throw new Rejection('pcr_digest_mismatch', 'the PCR values do not hash to what the quote signs', {
        field: 'pcrDigest',
      });
    for (let j = 0; j < values.length; j++) {
      const { bank, mask } = quote.selection[j]!;
      banks.push(sealedBank({ bank, mask, values: ownBytes(values[j]!), pcrDigest }));
    }
  }
  const still = known !== null && sameMeasured(known.banks, banks);
  return sealed(banks, still ? known.measuredDigest : measuredDigest(banks));
}

function sealedBank(bank: PcrValues & Pick<QuotedBank, 'pcrDigest'>): QuotedBank {
  // The seal exists for the compiler only.
  return bank as QuotedBank;
}

function sealed(banks: readonly QuotedBank[], measuredDigest: string): QuotedPcrs {
  // The seal exists for the compiler only.
  return { banks, measuredDigest } as QuotedPcrs;
}

function holdStill(
  known: readonly QuotedBank[],
  quotes: readonly SignedQuote[],
  carriers: readonly QuoteEvidence[],
): boolean {
  let index = 0;
  for (let i = 0; i < quotes.length; i++) {
    const { selection, pcrDigest } = quotes[i]!.quote;
    for (const selected of selection) {
      const before = known[index++];
      if (before === undefined || before.pcrDigest !== pcrDigest) return false;
      if (before.bank !== selected.bank || before.mask !== selected.mask) return false;
      const values = pickedValues(carriers[i]!, selected);
      if (values === undefined || !before.values.equals(values)) return false;
    }
  }
  return index === known.length;
}

function valuesOf(carrier: QuoteEvidence | undefined, selected: SelectedBank): Buffer {
  const values = carrier && pickedValues(carrier, selected);
  if (values !== undefined && values.length === valuesBytes(selected)) return values;
  throw new Rejection('pcr_digest_mismatch', `the ${selected.bank} values are not those of the quoted PCRs`, {
    field: `pcrs.${selected.bank}`,
  });
}

function pickedValues({ pcrs, carried }: QuoteEvidence, { bank, mask }: SelectedBank): Buffer | undefined {
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

/** Those before IMA's, and those behind it until the ones that are nobody's. */
const beforeIma = 0x3ff;
const behindIma = 0xf800;

function measuredDigest(banks: readonly QuotedBank[]): string {
  const parts: Buffer[] = [];
  for (const { bank, mask, values } of banks) {
    const [start, end, stop] = measuredRanges(bank, mask);
    const head = Buffer.allocUnsafe(5);
    head[0] = pcrBanks.indexOf(bank);
    head.writeUInt32BE(mask, 1);
    parts.push(head, values.subarray(0, start), values.subarray(end, stop));
  }
  return hash('sha256', Buffer.concat(parts), 'hex');
}

/** Where the values of IMA's PCR begin and end, and where those end that boots are measured into. */
function measuredRanges(bank: PcrBank, mask: number): readonly [start: number, end: number, stop: number] {
  const size = bankBytes[bank];
  const start = size * pcrCount(mask & beforeIma);
  const end = start + size * ((mask >>> 10) & 1);
  return [start, end, end + size * pcrCount(mask & behindIma)];
}

function sameMeasured(some: readonly QuotedBank[], others: readonly QuotedBank[]): boolean {
  if (some.length !== others.length) return false;
  for (let i = 0; i < some.length; i++) {
    const { bank, mask, values } = some[i]!;
    const other = others[i]!;
    if (other.bank !== bank || other.mask !== mask) return false;
    const [start, end, stop] = measuredRanges(bank, mask);
    if (values.compare(other.values, 0, start, 0, start) !== 0) return false;
    if (values.compare(other.values, end, stop, end, stop) !== 0) return false;
  }
  return true;
}
