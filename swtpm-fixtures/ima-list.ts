import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from '../attest-server/protocol/messages.ts';

/** An entry of a list, and what a kernel from 5.8 on extends for it. */
export interface MeasuredEntry {
  readonly bytes: Buffer;
  readonly digests: Readonly<Record<PcrBank, Buffer>>;
}

/** The first entry of a kernel's list: a hash over PCRs 0 to 9, or to 7, of one bank. @param values of all its PCRs */
export function aggregateEntry(bank: PcrBank, values: Buffer, last: 7 | 9 = 9): MeasuredEntry {
  const digest = hash(bank, values.subarray(0, (last + 1) * bankBytes[bank]), 'buffer');
  return measuredEntry({ algorithm: bank, digest, name: 'boot_aggregate' });
}

/** As the templates ima-ng and ima-sig write it. */
export function measuredEntry({
  algorithm = 'sha256',
  digest,
  name,
  template = 'ima-sig',
  pcr = 10,
}: {
  readonly algorithm?: string;
  readonly digest: Buffer;
  readonly name: string;
  readonly template?: string;
  readonly pcr?: number;
}): MeasuredEntry {
  const data = Buffer.concat([
    sized(Buffer.concat([Buffer.from(`${algorithm}:\0`), digest])),
    sized(Buffer.from(`${name}\0`)),
    ...(template === 'ima-sig' ? [sized(Buffer.alloc(0))] : []),
  ]);
  const digests = {
    sha1: hash('sha1', data, 'buffer'),
    sha256: hash('sha256', data, 'buffer'),
    sha384: hash('sha384', data, 'buffer'),
    sha512: hash('sha512', data, 'buffer'),
  };
  const bytes = Buffer.concat([u32(pcr), digests.sha1, sized(Buffer.from(template)), sized(data)]);
  return { bytes, digests };
}

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([u32(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
