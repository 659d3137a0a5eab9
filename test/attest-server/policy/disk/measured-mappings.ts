import { hash } from 'node:crypto';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { DiskPart } from '../../../../attest-server/wire/disk.ts';
import { aggregateEntry, entryOfFields, type MeasuredEntry } from '../../../../swtpm-fixtures/ima-list.ts';
import { partOf, provenByHand } from '../../verify/made-by-hand.ts';
import { madeProof } from '../made-proof.ts';

/** What the device mapper tells IMA, and what it is of: name, uuid and numbers. */
export interface ToldMapping {
  readonly event: 'dm_table_load' | 'dm_device_resume' | 'dm_device_remove';
  readonly device: string;
  readonly text: string;
}

const version = 'dm_version=4.48.0;';
const cryptWords = 'target_name=crypt,target_version=1.28.0,allow_discards=n,same_cpu_crypt=n';

/** A line of a table as drivers/md/dm-crypt.c tells it. @param keyBytes of the key */
export function cryptLine(cipher: string, keyBytes: number): string {
  return `${cryptWords},cipher_string=${cipher},key_size=${keyBytes},key_parts=1,key_extra_size=0,key_mac_size=0;`;
}

export const linearLine = 'target_name=linear,target_version=1.4.0,device_name=254:48,start=32768;';

/** A table that is loaded and then used: drivers/md/dm-ima.c. */
export function tableInUse(name: string, uuid: string, device: string, ...lines: string[]): ToldMapping[] {
  const [major, minor] = device.split(':');
  const of = `name=${name},uuid=${uuid},major=${major},minor=${minor},minor_count=1,num_targets=${lines.length};`;
  const targets = lines.map(
    (line, at) => `target_index=${at},target_begin=${at * 1000},target_len=1000,${line}`,
  );
  const table = `${version}${of}${targets.join('')}`;
  const resumed = `${version}${of}active_table_hash=sha256:${hash('sha256', table)};current_device_capacity=1000;`;
  return [
    { event: 'dm_table_load', device, text: table },
    { event: 'dm_device_resume', device, text: resumed },
  ];
}

/**
 * Evidence with this part and a list in which the kernel told this of its mappings. What it told before it leaves out, as a
 * kernel does that was built without IMA_DISABLE_HTABLE.
 */
export function proofWithMappings(part: DiskPart, told: readonly ToldMapping[], kernels = 1): Proven {
  const values = Buffer.alloc(24 * 32);
  const aggregate = aggregateEntry('sha256', values);
  const other = aggregateEntry('sha256', Buffer.alloc(24 * 32, 1));
  const seen = new Set<string>();
  const entries = told
    .filter(({ event, text }) => !seen.has(`${event} ${text}`) && seen.add(`${event} ${text}`))
    .map(criticalData);
  const list = [aggregate, ...entries, ...Array.from({ length: kernels - 1 }, () => other)];
  const pcr10 = values.subarray(10 * 32, 11 * 32);
  for (const { digests } of list)
    hash('sha256', Buffer.concat([pcr10, digests.sha256]), 'buffer').copy(pcr10);
  const ima = Buffer.concat(list.map(({ bytes }) => bytes));
  return provenByHand(madeProof({ values, ima }), {
    parts: { disk: partOf(Buffer.from(JSON.stringify(part))) },
  });
}

function criticalData({ event, text }: ToldMapping): MeasuredEntry {
  const digest = Buffer.concat([Buffer.from('sha256:\0'), hash('sha256', text, 'buffer')]);
  return entryOfFields('ima-buf', [digest, Buffer.from(`${event}\0`), Buffer.from(text)]);
}
