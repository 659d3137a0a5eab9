import { hash } from 'node:crypto';
import type { Bundle } from '../protocol/bundle.ts';
import { bankBytes, type PcrBank } from '../protocol/messages.ts';
import type { Reference } from '../protocol/reference.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
import type { Proven } from '../verify/proven.ts';
import type { Answer, AttestedNode } from './answer.ts';
import { type LatestBoot, sameText } from './latest-boot.ts';

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

type Pcrs = Answer['evidence']['quotes'][number]['pcrs'];

/** Who signs: the same in each answer of a node, so a blob of its own. */
interface Keys {
  readonly attestationKey: string;
  readonly endorsement: {
    readonly publicArea: string;
    readonly certificate: string | null;
    /** With the root below: how it vouches for the certificate, where one does. */
    readonly chain?: string[];
  };
  /** PEM */
  readonly roots?: string[];
}

/** What is kept of one attestation: the parts as received, and digests for what many share. */
interface Kept extends Partial<Keys> {
  readonly at: number;
  readonly node: string;
  /** Digest of `Keys`; evidence of before this was so carries them itself. */
  readonly keys?: string;
  readonly nonce: string;
  readonly channel: string;
  /** `pcrs` are the values, or the digest of values that came before. */
  readonly quotes: readonly {
    readonly attest: string;
    readonly signature: string;
    readonly pcrs: Pcrs | string;
  }[];
  /** Per bank the bitmap of the quoted PCRs. */
  readonly masks: Partial<Record<PcrBank, number>>;
  readonly facts: string;
  readonly bootLog: string | null;
  /** Digest of what user space measured after it. */
  readonly userspaceLog?: string;
  /** Whether the node had sent a log before: leaving it out is judged by that. */
  readonly sentBootLog: boolean;
  readonly tpmClass?: TpmClass;
  /** Those by which a group of the policy chooses; absent where there are none. */
  readonly labels?: Readonly<Record<string, string>>;
  /** What the counters were compared with. */
  readonly previous?: Bundle['previous'];
  readonly policy: string;
  readonly references: string;
}

/** What is true at the moment of an answer. */
interface Moment {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly sentBootLog: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  readonly previous: Bundle['previous'];
  /** The node's proof before this one. */
  readonly latest: LatestBoot | undefined;
}

/** Shared blobs stay for long: a node whose values move more often within a boot keeps its own in each answer. */
const sharedPerBoot = 8;

function context(policyText: string, references: readonly Reference[]): Context {
  const policy = blob(policyText);
  const named = blob(JSON.stringify(references));
  return { policy: policy.digest, references: named.digest, blobs: [policy, named] };
}

/** The answer's own blob, and those that it names. */
function pack(
  node: AttestedNode,
  { evidence, nonce, channel }: Answer,
  { banks }: Proven,
  { at, sentBootLog, labels = {}, previous, latest }: Moment,
  { policy, references, blobs }: Context,
): Blob & { readonly shared: readonly Blob[] } {
  const keys = keysOf(node, at);
  const values = valuesOf(evidence, banks, latest);
  const userSpace =
    evidence.userspaceLog === undefined ? null : blob(Buffer.from(evidence.userspaceLog, 'base64'));
  const kept: Kept = {
    ...{ at, sentBootLog, node: node.name, keys: keys.digest, ...(previous && { previous }) },
    ...(node.tpmClass && { tpmClass: node.tpmClass }),
    ...(Object.keys(labels).length > 0 && { labels }),
    nonce: nonce.toString('hex'),
    channel: channel.toString('hex'),
    quotes:
      values === null
        ? evidence.quotes
        : evidence.quotes.map(({ attest, signature }) => ({ attest, signature, pcrs: values.digest })),
    masks: masksOf(banks),
    ...{ facts: evidence.facts, bootLog: evidence.bootLog, policy, references },
    ...(userSpace && { userspaceLog: userSpace.digest }),
  };
  const { digest, bytes } = blob(JSON.stringify(kept));
  const shared = [keys, ...(values ? [values] : []), ...(userSpace ? [userSpace] : []), ...blobs];
  return { digest, bytes, shared };
}

function masksOf(banks: Proven['banks']): Kept['masks'] {
  const masks: Kept['masks'] = {};
  for (const { bank, mask } of banks) masks[bank] = mask;
  return masks;
}

const keyDigests = new WeakMap<AttestedNode['ak'], { readonly digest: string; readonly until: number }>();

/** Hashed once a connection, and once more where the path to a root ends meanwhile. */
function keysOf(node: AttestedNode, at: number): Blob {
  let found = keyDigests.get(node.ak);
  if (found === undefined || at > found.until) {
    const until = pathOf(node, at)?.until ?? Number.POSITIVE_INFINITY;
    found = { digest: blob(keysText(node, at)).digest, until };
    keyDigests.set(node.ak, found);
  }
  return new SeldomWritten(found.digest, () => keysText(node, at));
}

/** The path is that of the certificate with which the node was enrolled, or none. */
function pathOf({ endorsementPath: shown = null, ekCertificate }: AttestedNode, at: number) {
  const isOwn = shown !== null && ekCertificate?.equals(shown.certificate) === true;
  return isOwn && at <= shown.until ? shown : null;
}

function keysText(node: AttestedNode, at: number): string {
  const path = pathOf(node, at);
  const keys: Keys = {
    attestationKey: node.ak.publicArea.toString('base64'),
    endorsement: {
      publicArea: node.ekPublicArea.toString('base64'),
      certificate: node.ekCertificate?.toString('base64') ?? null,
      ...(path && { chain: path.chain.map((der) => der.toString('base64')) }),
    },
    ...(path && { roots: [path.root] }),
  };
  return JSON.stringify(keys);
}

const valueDigests = new WeakMap<Proven['banks'], { readonly digest: string; readonly pcrs: Pcrs }>();

/** The PCR values as one blob where they held still since the answer before; else null. */
function valuesOf(
  { quotes }: Answer['evidence'],
  banks: Proven['banks'],
  latest: LatestBoot | undefined,
): Blob | null {
  const [quote] = quotes;
  if (quote === undefined || latest?.banks !== banks || latest.moved >= sharedPerBoot) return null;
  // Kept as they arrived: the same values can be written in more than one way.
  const pcrs = latest.pcrs !== null && sameText(latest.pcrs, quote.pcrs) ? latest.pcrs : quote.pcrs;
  let found = valueDigests.get(banks);
  if (found === undefined || found.pcrs !== pcrs) {
    found = { digest: blob(JSON.stringify(pcrs)).digest, pcrs };
    valueDigests.set(banks, found);
  }
  return new SeldomWritten(found.digest, () => JSON.stringify(pcrs));
}

/** Null where the digest is that of something else that is kept: a log, a policy. */
function parseKept(bytes: Buffer): Kept | null {
  try {
    const kept: Kept | null = JSON.parse(bytes.toString('utf8'));
    return typeof kept?.nonce === 'string' && Array.isArray(kept.quotes) ? kept : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** When an answer came, and the digests of what it names; null for bytes that are no kept answer. */
function named(bytes: Buffer): { readonly at: number; readonly digests: readonly string[] } | null {
  const kept = parseKept(bytes);
  if (kept === null) return null;
  const values = kept.quotes.map(({ pcrs }) => (typeof pcrs === 'string' ? pcrs : null));
  const all = [kept.keys, kept.bootLog, kept.userspaceLog, kept.policy, kept.references, ...values];
  return { at: kept.at, digests: all.flatMap((digest) => digest ?? []) };
}

/** Makes the file that travels: everything that the verdict was made from. Null where a part is gone. */
async function unpack(digest: string, read: Read): Promise<Bundle | null> {
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

/** What the store has already, but for the first time: its bytes are made when they are asked for, and kept for no node. */
class SeldomWritten implements Blob {
  readonly digest: string;
  readonly #text: () => string;

  constructor(digest: string, text: () => string) {
    this.digest = digest;
    this.#text = text;
  }

  get bytes(): Buffer {
    return Buffer.from(this.#text());
  }
}

function blob(content: string | Buffer): Blob {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return { digest: hash('sha256', bytes, 'hex'), bytes };
}

/** How one attestation is kept, and how it becomes a bundle again. */
export const keptEvidence = { context, pack, unpack, named };
