import { hash } from 'node:crypto';
import type { Bundle } from '../protocol/bundle.ts';
import { bankBytes, type PcrBank } from '../protocol/messages.ts';
import type { Reference } from '../protocol/reference.ts';
import type { Proven } from '../verify/proven.ts';
import type { Answer, AttestedNode } from './answer.ts';

/** A content-addressed blob of the store. */
export interface Blob {
  /** SHA-256, hex. */
  readonly digest: string;
  readonly bytes: Buffer;
}

/** The policy and the references that verdicts are made from at present: two blobs, stored once each. */
export interface Context {
  readonly policy: string;
  readonly references: string;
  readonly blobs: readonly Blob[];
}

/** What is kept of one attestation: the parts as received, and digests for what many share. */
interface Kept {
  readonly at: number;
  readonly node: string;
  readonly attestationKey: string;
  readonly nonce: string;
  readonly channel: string;
  readonly quotes: Answer['evidence']['quotes'];
  /** Per bank the bitmap of the quoted PCRs. */
  readonly masks: Partial<Record<PcrBank, number>>;
  readonly facts: string;
  readonly bootLog: string | null;
  /** Whether the node had sent a log before: leaving it out is judged by that. */
  readonly sentBootLog: boolean;
  readonly endorsement: { readonly publicArea: string; readonly certificate: string | null };
  readonly policy: string;
  readonly references: string;
}

function context(policyText: string, references: readonly Reference[]): Context {
  const policy = blob(policyText);
  const named = blob(JSON.stringify(references));
  return { policy: policy.digest, references: named.digest, blobs: [policy, named] };
}

function pack(
  node: AttestedNode,
  answer: Answer,
  proven: Proven,
  moment: { readonly at: number; readonly sentBootLog: boolean },
  { policy, references }: Context,
): Blob {
  const { evidence } = answer;
  const kept: Kept = {
    ...moment,
    node: node.name,
    ...keysOf(node),
    nonce: answer.nonce.toString('hex'),
    channel: answer.channel.toString('hex'),
    quotes: evidence.quotes,
    masks: Object.fromEntries(proven.banks.map(({ bank, mask }) => [bank, mask])),
    facts: evidence.facts,
    bootLog: evidence.bootLog,
    policy,
    references,
  };
  return blob(JSON.stringify(kept));
}

const keys = new WeakMap<AttestedNode['ak'], Pick<Kept, 'attestationKey' | 'endorsement'>>();

/** The same in each answer of a connection, so written once. */
function keysOf(node: AttestedNode): Pick<Kept, 'attestationKey' | 'endorsement'> {
  const known = keys.get(node.ak);
  if (known !== undefined) return known;
  const made = {
    attestationKey: node.ak.publicArea.toString('base64'),
    endorsement: {
      publicArea: node.ekPublicArea.toString('base64'),
      certificate: node.ekCertificate?.toString('base64') ?? null,
    },
  };
  keys.set(node.ak, made);
  return made;
}

/** Makes the file that travels: everything that the verdict was made from. Null where a part is gone. */
async function unpack(
  digest: string,
  read: (digest: string) => Promise<Buffer | null>,
): Promise<Bundle | null> {
  const bytes = await read(digest);
  if (bytes === null) return null;
  const kept: Kept = JSON.parse(bytes.toString('utf8'));
  const [policy, references, bootLog] = await Promise.all([
    read(kept.policy),
    read(kept.references),
    kept.bootLog === null ? null : read(kept.bootLog),
  ]);
  if (policy === null || references === null) return null;
  return {
    version: 1,
    attestationKey: kept.attestationKey,
    binding: {
      nonce: kept.nonce,
      channel: kept.channel,
      facts: hash('sha256', kept.facts, 'hex'),
      bootLog: kept.bootLog ?? '',
      keyRequest: '',
    },
    quotes: kept.quotes.map(({ attest, signature, pcrs }) => ({
      attest,
      signature,
      pcrs: expand(pcrs, kept.masks),
    })),
    ...(bootLog === null ? {} : { bootLog: bootLog.toString('base64') }),
    facts: kept.facts,
    endorsement: kept.endorsement,
    context: {
      at: new Date(kept.at).toISOString(),
      node: kept.node,
      sentBootLog: kept.sentBootLog,
      policy: policy.toString('utf8'),
      references: JSON.parse(references.toString('utf8')),
    },
  };
}

/** From one concatenation a bank to one value a PCR. */
function expand(
  pcrs: Kept['quotes'][number]['pcrs'],
  masks: Kept['masks'],
): Partial<Record<PcrBank, Record<string, string>>> {
  const banks: Partial<Record<PcrBank, Record<string, string>>> = {};
  for (const bank of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
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

function blob(text: string): Blob {
  const bytes = Buffer.from(text);
  return { digest: hash('sha256', bytes, 'hex'), bytes };
}

/** How one attestation is kept, and how it becomes a bundle again. */
export const keptEvidence = { context, pack, unpack };
