import type { Answer, AttestedNode } from '../attest/answer.ts';
import type { LatestBoot } from '../attest/latest-boot.ts';
import type { Bundle } from '../protocol/bundle.ts';
import type { Reference } from '../protocol/reference.ts';
import type { Proven } from '../verify/proven.ts';
import { type Blob, blob, type Kept, type Keys, type Pcrs, sameText } from './kept-form.ts';

/** The policy and the references that verdicts are made from at present: two blobs, stored once each. */
export interface Context {
  readonly policy: string;
  readonly references: string;
  readonly blobs: readonly Blob[];
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

export function keptContext(policyText: string, references: readonly Reference[]): Context {
  const policy = blob(policyText);
  const named = blob(JSON.stringify(references));
  return { policy: policy.digest, references: named.digest, blobs: [policy, named] };
}

/** The answer's own blob, and those that it names. */
export function packEvidence(
  node: AttestedNode,
  { evidence, nonce, channel }: Answer,
  { banks }: Proven,
  { at, sentBootLog, labels = {}, previous, latest }: Moment,
  { policy, references, blobs }: Context,
): Blob & { readonly shared: readonly Blob[]; readonly userSpace: string | null } {
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
  return { digest, bytes, shared, userSpace: userSpace?.digest ?? null };
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
