/**
 * Parsers, one for each structure: those of the TPM, the TCG event log (`event-log`), and systemd's log
 * (`user-space-log`).
 */

import { bankBytes, type PcrBank } from '../../wire/messages.ts';
import { pcrCount } from '../../wire/pcr-values.ts';
import { Rejection } from '../../wire/rejection.ts';
import { hashByAlg, idText } from './algorithms.ts';
import { Cursor } from './cursor.ts';

/** One TPMS_PCR_SELECTION: bit i of the mask stands for PCR i. */
export interface SelectedBank {
  readonly bank: PcrBank;
  readonly mask: number;
}

/** For the compiler alone: a protected member can be neither written nor spread. */
declare class QuoteSeal {
  protected readonly parsed: never;
}

/** A TPMS_ATTEST of type quote: only `parseQuote` makes one, of its bytes. */
export interface Quote extends QuoteSeal {
  /** The exact bytes that were parsed. */
  readonly bytes: Buffer;
  /** Qualified name of the key that signed, hex. */
  readonly qualifiedSigner: string;
  /** The qualifying data that the caller of TPM2_Quote gave, hex. */
  readonly extraData: string;
  readonly clock: {
    readonly clock: bigint;
    readonly resetCount: number;
    readonly restartCount: number;
    readonly safe: boolean;
  };
  /** 16 hex digits. */
  readonly firmwareVersion: string;
  /** The signed selection, in the order in which the values were hashed; banks without a PCR are left out. */
  readonly selection: readonly SelectedBank[];
  readonly pcrDigest: string;
}

/** The magic that a TPM puts before all that it makes itself; a restricted key signs nothing else that begins so. */
const generatedValue = 0xff544347;
const attestQuote = 0x8018;

/** A TPM has 24 PCRs; the bitmap of some implementations has room for 32. */
const selectBytes = { min: 3, max: 4 };
/** No TPM has more banks than hash algorithms: TPML_PCR_SELECTION holds HASH_COUNT entries at most. */
const maxBanks = 16;

/**
 * Parses the TPMS_ATTEST of a quote. TPM 2.0 Part 2 r1.59, sections 10.12.8 and 10.6.
 * @throws Rejection `not_tpm_generated`, `wrong_attest_type`, `malformed`, `pcr_selection` (a bank we do not know)
 */
export function parseQuote(attest: Buffer): Quote {
  const cursor = new Cursor(attest);
  const magic = cursor.u32('magic');
  if (magic !== generatedValue)
    throw new Rejection(
      'not_tpm_generated',
      `the attestation begins with 0x${magic.toString(16)}: no TPM made it`,
      {
        field: 'magic',
        offset: 0,
      },
    );
  const type = cursor.u16('type');
  if (type !== attestQuote)
    throw new Rejection('wrong_attest_type', `the attestation is of type ${idText(type)}, not a quote`, {
      field: 'type',
      offset: 4,
    });
  // One conversion for all that is compared as hex; the fields are slices of it.
  const hex = attest.toString('hex');
  const qualifiedSigner = hexOf(cursor, hex, 'qualifiedSigner');
  const extraData = hexOf(cursor, hex, 'extraData');
  const clock = {
    clock: cursor.u64('clockInfo.clock'),
    resetCount: cursor.u32('clockInfo.resetCount'),
    restartCount: cursor.u32('clockInfo.restartCount'),
    safe: yesNo(cursor),
  };
  const firmwareAt = cursor.skip(8, 'firmwareVersion');
  // Kept with the node: a slice would keep all of the text.
  const firmwareVersion = attest.toString('hex', firmwareAt, firmwareAt + 8);
  const selection: Quote['selection'] = parseSelection(cursor);
  const pcrDigest = hexOf(cursor, hex, 'pcrDigest');
  cursor.end('pcrDigest');
  // The seal exists for the compiler only.
  return { bytes: attest, qualifiedSigner, extraData, clock, firmwareVersion, selection, pcrDigest } as Quote;
}

function hexOf(cursor: Cursor, hex: string, field: string): string {
  const size = cursor.u16(field);
  const at = cursor.skip(size, field);
  return hex.slice(2 * at, 2 * (at + size));
}

function yesNo(cursor: Cursor): boolean {
  const value = cursor.u8('clockInfo.safe');
  if (value > 1) throw cursor.fault('clockInfo.safe', `clockInfo.safe is ${value}, neither yes nor no`);
  return value === 1;
}

function parseSelection(cursor: Cursor): SelectedBank[] {
  const count = cursor.u32('pcrSelect.count');
  if (count > maxBanks) throw cursor.fault('pcrSelect.count', `pcrSelect.count is ${count}`);
  const selection: SelectedBank[] = [];
  for (let i = 0; i < count; i++) {
    const id = cursor.u16('pcrSelect.hash');
    const mask = parseBitmap(cursor);
    if (mask === 0) continue;
    const bank = hashByAlg(id);
    if (bank === undefined)
      throw new Rejection('pcr_selection', `the quote covers a PCR bank of unknown algorithm ${idText(id)}`, {
        field: 'pcrSelect.hash',
        offset: cursor.offset,
      });
    selection.push({ bank, mask });
  }
  return selection;
}

function parseBitmap(cursor: Cursor): number {
  const size = cursor.u8('pcrSelect.sizeofSelect');
  if (size < selectBytes.min || size > selectBytes.max)
    throw cursor.fault('pcrSelect.sizeofSelect', `pcrSelect.sizeofSelect is ${size}`);
  let mask = 0;
  for (let i = 0; i < 3; i++) mask |= cursor.u8('pcrSelect.pcrSelect') << (8 * i);
  if (size === 4 && cursor.u8('pcrSelect.pcrSelect') !== 0)
    throw cursor.fault('pcrSelect.pcrSelect', 'the quote covers a PCR above 23');
  return mask;
}

/** Size in bytes of the values that a selection covers. */
export function valuesBytes({ bank, mask }: SelectedBank): number {
  return pcrCount(mask) * bankBytes[bank];
}
