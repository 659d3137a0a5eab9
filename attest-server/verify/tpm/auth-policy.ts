import { createHash, hash } from 'node:crypto';
import { type PcrValues, pcrValue } from '../../wire/pcr-values.ts';
import { nameAlgPrefix } from './public-area.ts';

/** When and in which state a TPM gives something out. */
export interface ReleasePolicy {
  /** As quoted, in the order in which the TPM is asked for them. PCR 10 is left out: IMA extends it all the time. */
  readonly pcrs: readonly PcrValues[];
  /** TPMS_CLOCK_INFO.resetCount of the boot. */
  readonly resetCount: number;
  /** TPMS_CLOCK_INFO.clock, in milliseconds, from which on it gives nothing more. */
  readonly clockBefore: bigint;
}

/**
 * The digest of a SHA-256 policy session in which PolicyPCR, PolicyCounterTimer(resetCount =) and
 * PolicyCounterTimer(clock <) were satisfied, in this order. TPM 2.0 Part 3 r1.59, sections 23.7 and 23.10.
 */
export function releasePolicyDigest({ pcrs, resetCount, clockBefore }: ReleasePolicy): Buffer {
  const reset = Buffer.alloc(4);
  reset.writeUInt32BE(resetCount);
  const clock = Buffer.alloc(8);
  clock.writeBigUInt64BE(clockBefore);
  const afterPcrs = sha256(Buffer.alloc(32), command.policyPcr, selectionOf(pcrs), digestOf(pcrs));
  const afterReset = sha256(afterPcrs, command.policyCounterTimer, compared(reset, 16, operation.equal));
  return sha256(afterReset, command.policyCounterTimer, compared(clock, 8, operation.unsignedLess));
}

/** The mask of those that the policy holds. */
function heldMask({ mask }: PcrValues): number {
  return mask & ~(1 << 10);
}

/** `TPM_CC`. Part 2 r1.59, section 6.5.2. */
const command = {
  policyPcr: Buffer.from('0000017f', 'hex'),
  policyCounterTimer: Buffer.from('0000016d', 'hex'),
} as const;

/** `TPM_EO`. Part 2 r1.59, section 6.8. */
const operation = { equal: 0, unsignedLess: 5 } as const;

/** @param offset of the member in TPMS_TIME_INFO */
function compared(operand: Buffer, offset: number, how: number): Buffer {
  const numbers = Buffer.alloc(4);
  numbers.writeUInt16BE(offset);
  numbers.writeUInt16BE(how, 2);
  return sha256(operand, numbers);
}

/** TPML_PCR_SELECTION. Part 2 r1.59, section 10.9.7. */
function selectionOf(pcrs: readonly PcrValues[]): Buffer {
  const banks = pcrs.filter((each) => heldMask(each) !== 0);
  const list = Buffer.alloc(4 + 6 * banks.length);
  let at = list.writeUInt32BE(banks.length);
  for (const each of banks) {
    at += list.write(nameAlgPrefix(each.bank), at, 'hex');
    at = list.writeUInt8(3, at);
    at = list.writeUIntLE(heldMask(each), at, 3);
  }
  return list;
}

function digestOf(pcrs: readonly PcrValues[]): Buffer {
  const digest = createHash('sha256');
  for (const each of pcrs)
    for (let pcr = 0; pcr < 24; pcr++)
      if ((heldMask(each) >>> pcr) & 1) digest.update(pcrValue(each, pcr) ?? missing(each, pcr));
  return digest.digest();
}

function missing({ bank }: PcrValues, pcr: number): never {
  throw new RangeError(`no value of PCR ${pcr} in bank ${bank}`);
}

function sha256(...parts: Buffer[]): Buffer {
  return hash('sha256', Buffer.concat(parts), 'buffer');
}
