import { hash } from 'node:crypto';
import { bankBytes, type PcrBank } from '../attest-server/wire/messages.ts';

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
  const fields = [Buffer.concat([Buffer.from(`${algorithm}:\0`), digest]), Buffer.from(`${name}\0`)];
  return entryOfFields(template, template === 'ima-sig' ? [...fields, Buffer.alloc(0)] : fields, pcr);
}

/** As any template writes it but the oldest, `ima`: each field with its size before it. */
export function entryOfFields(template: string, fields: readonly Buffer[], pcr = 10): MeasuredEntry {
  const data = Buffer.concat(fields.map(sized));
  const digests = digestsOf(data);
  const bytes = Buffer.concat([u32(pcr), digests.sha1, sized(Buffer.from(template)), sized(data)]);
  return { bytes, digests };
}

/** The entries of a recorded list, of templates that have a size before their data: all but the oldest, `ima`. */
export function entriesIn(list: Buffer): readonly MeasuredEntry[] {
  const entries: MeasuredEntry[] = [];
  for (let begin = 0; begin < list.length; ) {
    const name = begin + 4 + bankBytes.sha1;
    const data = name + 4 + list.readUInt32LE(name);
    const end = data + 4 + list.readUInt32LE(data);
    const isViolation = list.subarray(begin + 4, name).every((byte) => byte === 0);
    const digests = isViolation ? violation : digestsOf(list.subarray(data + 4, end));
    entries.push({ bytes: list.subarray(begin, end), digests });
    begin = end;
  }
  return entries;
}

function digestsOf(data: Buffer): MeasuredEntry['digests'] {
  return {
    sha1: hash('sha1', data, 'buffer'),
    sha256: hash('sha256', data, 'buffer'),
    sha384: hash('sha384', data, 'buffer'),
    sha512: hash('sha512', data, 'buffer'),
  };
}

/** What is extended where a file could not be measured as it was used. */
const violation: MeasuredEntry['digests'] = {
  sha1: Buffer.alloc(bankBytes.sha1, 0xff),
  sha256: Buffer.alloc(bankBytes.sha256, 0xff),
  sha384: Buffer.alloc(bankBytes.sha384, 0xff),
  sha512: Buffer.alloc(bankBytes.sha512, 0xff),
};

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([u32(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
