import { hash } from 'node:crypto';
import { cryptoName, type LogBank, logBankBytes } from '../../../../attest-server/verify/tpm/algorithms.ts';

export const ids: Readonly<Record<LogBank, number>> = {
  sha1: 0x04,
  sha256: 0x0b,
  sha384: 0x0c,
  sha512: 0x0d,
  sm3_256: 0x12,
};
export const noAction = 3;
export const separator = 4;

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u16(value: number): Buffer {
  return u32(value).subarray(0, 2);
}

/** One event of the SHA-1 format; also the first one of a crypto-agile log. */
export function sha1Event(
  pcr: number,
  type: number,
  data: Buffer,
  digest: Buffer = Buffer.alloc(20),
): Buffer {
  return Buffer.concat([u32(pcr), u32(type), digest, u32(data.length), data]);
}

/** The first event of a crypto-agile log. */
export function header(banks: readonly LogBank[], vendor: Buffer = Buffer.alloc(0), pcr = 0): Buffer {
  const algorithms = banks.map((bank) => Buffer.concat([u16(ids[bank]), u16(logBankBytes[bank])]));
  const data = Buffer.concat([
    Buffer.from('Spec ID Event03\0'),
    Buffer.from([0, 0, 0, 0, 0, 2, 0, 2]),
    u32(banks.length),
    ...algorithms,
    Buffer.of(vendor.length),
    vendor,
  ]);
  return sha1Event(pcr, noAction, data);
}

/** An event whose digests are of its data. */
export function event(pcr: number, type: number, data: Buffer, banks: readonly LogBank[]): Buffer {
  const digests = banks.map((bank) =>
    Buffer.concat([u16(ids[bank]), hash(cryptoName(bank), data, 'buffer')]),
  );
  return Buffer.concat([u32(pcr), u32(type), u32(banks.length), ...digests, u32(data.length), data]);
}

export function locality(value: number, banks: readonly LogBank[]): Buffer {
  return event(0, noAction, Buffer.from(`StartupLocality\0${String.fromCharCode(value)}`, 'latin1'), banks);
}

/** What a PCR holds after extending the data's digests one after the other. */
export function extended(bank: LogBank, start: number, ...data: readonly Buffer[]): string {
  let value = Buffer.alloc(logBankBytes[bank]);
  value[value.length - 1] = start;
  const name = cryptoName(bank);
  for (const each of data) value = hash(name, Buffer.concat([value, hash(name, each, 'buffer')]), 'buffer');
  return value.toString('hex');
}
