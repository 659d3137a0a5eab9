import { hash } from 'node:crypto';
import type { Bundle } from '../protocol/bundle.ts';
import { bankBytes, type PcrBank, pcrBanks } from '../protocol/messages.ts';
import { type Kept, type Keys, type Pcrs, parseKept } from './kept-form.ts';

/** Makes the file that travels: everything that the verdict was made from. Null where a part is gone. */
export async function unpackEvidence(digest: string, read: Read): Promise<Bundle | null> {
  const bytes = await read(digest);
  if (bytes === null) return null;
  const kept = parseKept(bytes);
  if (kept === null) return null;
  const [policy, references, bootLog, userSpace, keys, quotes] = await Promise.all([
    read(kept.policy),
    read(kept.references),
    kept.bootLog === null ? null : read(kept.bootLog),
    kept.userspaceLog === undefined ? null : read(kept.userspaceLog),
    readKeys(kept, read),
    Promise.all(kept.quotes.map((quote) => readPcrs(quote, read))),
  ]);
  if (policy === null || references === null || keys === null) return null;
  const expanded = [];
  for (const { attest, signature, pcrs } of quotes) {
    if (pcrs === null) return null;
    expanded.push({ attest, signature, pcrs: expand(pcrs, kept.masks) });
  }
  return {
    version: 1,
    attestationKey: keys.attestationKey,
    binding: {
      nonce: kept.nonce,
      channel: kept.channel,
      facts: hash('sha256', kept.facts, 'hex'),
      bootLog: kept.bootLog ?? '',
      keyRequest: '',
    },
    quotes: expanded,
    ...(bootLog === null ? {} : { bootLog: bootLog.toString('base64') }),
    ...(userSpace === null ? {} : { userspaceLog: userSpace.toString('base64') }),
    facts: kept.facts,
    ...(kept.previous && { previous: kept.previous }),
    endorsement: keys.endorsement,
    context: {
      at: new Date(kept.at).toISOString(),
      node: kept.node,
      sentBootLog: kept.sentBootLog,
      ...(kept.tpmClass && { tpmClass: kept.tpmClass }),
      ...(kept.labels && { labels: kept.labels }),
      policy: policy.toString('utf8'),
      references: JSON.parse(references.toString('utf8')),
      ...(keys.roots && { roots: keys.roots }),
    },
  };
}

type Read = (digest: string) => Promise<Buffer | null>;

async function readKeys({ keys, attestationKey, endorsement }: Kept, read: Read): Promise<Keys | null> {
  if (attestationKey !== undefined && endorsement !== undefined) return { attestationKey, endorsement };
  const bytes = keys === undefined ? null : await read(keys);
  return bytes === null ? null : JSON.parse(bytes.toString('utf8'));
}

async function readPcrs({ attest, signature, pcrs }: Kept['quotes'][number], read: Read) {
  if (typeof pcrs !== 'string') return { attest, signature, pcrs };
  const bytes = await read(pcrs);
  const values: Pcrs | null = bytes === null ? null : JSON.parse(bytes.toString('utf8'));
  return { attest, signature, pcrs: values };
}

/** From one concatenation a bank to one value a PCR. */
function expand(pcrs: Pcrs, masks: Kept['masks']): Partial<Record<PcrBank, Record<string, string>>> {
  const banks: Partial<Record<PcrBank, Record<string, string>>> = {};
  for (const bank of pcrBanks) {
    const values = pcrs[bank];
    if (values === undefined) continue;
    const bytes = Buffer.from(values, 'base64');
    const mask = masks[bank] ?? 0;
    const size = bankBytes[bank];
    let at = 0;
    const each: Record<string, string> = {};
    for (let pcr = 0; pcr < 24; pcr += 1) {
      if ((mask & (1 << pcr)) === 0) continue;
      each[pcr] = bytes.toString('hex', at, at + size);
      at += size;
    }
    banks[bank] = each;
  }
  return banks;
}
