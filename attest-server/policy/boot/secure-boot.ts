import { hash } from 'node:crypto';
import type { PcrBank } from '../../wire/messages.ts';
import { comparedBanks } from './compared-pcrs.ts';
import type { MeasuredEvent } from './event-diff.ts';

/**
 * True if an event measured the variable SecureBoot as 0, or as absent. Told by the digest, which the TPM vouches
 * for, not by what the log says: UEFI_VARIABLE_DATA (PC Client PFP 1.06, section 10.4) has but two such values, and
 * some firmware measures the value alone.
 */
export function measuresSecureBootOff(event: MeasuredEvent, bank: PcrBank): boolean {
  const digest = event.digests[bank];
  return (
    event.pcr === 7 && digest !== undefined && offData.some((data) => hash(bank, data, 'hex') === digest)
  );
}

/** EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c, as it lies in memory. */
const globalVariable = Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex');

function variableData(name: string, value: Buffer): Buffer {
  const lengths = Buffer.alloc(16);
  lengths.writeBigUInt64LE(BigInt(name.length), 0);
  lengths.writeBigUInt64LE(BigInt(value.length), 8);
  return Buffer.concat([globalVariable, lengths, Buffer.from(name, 'utf16le'), value]);
}

/** True if an event measured one byte 01, which is all that shim measures of a switch that is on. */
export function measuresOn({ digests }: Pick<MeasuredEvent, 'digests'>): boolean {
  return comparedBanks.some((bank) => digests[bank] === hash(bank, Buffer.of(1), 'hex'));
}

const offData = [
  variableData('SecureBoot', Buffer.of(0)),
  variableData('SecureBoot', Buffer.alloc(0)),
  Buffer.of(0),
];
