import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { type Bundle, roleLeftOut } from '../formats/bundle.ts';
import type { Reference } from '../formats/reference.ts';
import type { TpmClass } from '../formats/tpm-class.ts';
import type { AttestationKey } from '../verify/attestation-key.ts';
import type { EndorsementPath } from '../verify/endorsement-paths.ts';
import type { ImaProblem } from '../verify/ima/proven-list.ts';
import type { Proven } from '../verify/proven.ts';
import { atMost } from '../wire/at-most.ts';
import { type PartName, type Parts, partNames } from '../wire/evidence.ts';
import type { PcrBank } from '../wire/messages.ts';
import type { Role } from '../wire/roles.ts';
import type { SupplementName } from '../wire/supplements.ts';
import { type AnswerKeys, type Blob, blob, type KeptAnswer } from './kept-form.ts';
import { keepReferences } from './kept-references.ts';
import { packValues } from './quote-values.ts';

/** The policy and the references that verdicts are made from at present: a blob each, and the lists that references name. */
export interface Context {
  readonly policy: string;
  readonly references: string;
  readonly blobs: readonly Blob[];
}

export function keptContext(policyText: string, references: readonly Reference[]): Context {
  const policy = blob(policyText);
  const { text, lists } = keepReferences(references);
  const named = blob(text);
  const listed = [...lists].map(
    ([digest, files]) => new OfServer(digest, () => Buffer.from(files, 'base64')),
  );
  const own = [policy, named].map(({ digest, bytes }) => new OfServer(digest, () => bytes));
  return { policy: policy.digest, references: named.digest, blobs: [...own, ...listed] };
}

/** Who answered. */
export interface AnsweringNode {
  readonly name: string;
  readonly ekDigest: string;
  readonly ekPublicArea: Buffer;
  readonly ekCertificate: Buffer | null;
  readonly ak: Pick<AttestationKey, 'name' | 'publicArea'>;
  readonly endorsementPath?: () => EndorsementPath | null;
  readonly tpmClass?: TpmClass;
}

/** An answer in the form in which it is kept. */
export interface AnsweredEvidence {
  readonly nonce: Buffer;
  readonly channel: Buffer;
  /** Key request that its quotes sign as well; absent if none was made. */
  readonly keyRequest?: Buffer | undefined;
  /** Base64. */
  readonly quotes: readonly { readonly attest: string; readonly signature: string }[];
  readonly facts: string;
  /** Those with bytes came with it; the others were kept before. */
  readonly parts: Parts;
  /** Kept supplements, besides their parts. */
  readonly supplements: readonly PackedSupplement[];
}

export interface PackedSupplement {
  readonly name: SupplementName;
  /** Bytes that follow after everything that its part lists; null for a supplement that does not grow. */
  readonly tail: Buffer | null;
  /** Of what the part lists, that which may not be kept yet. */
  readonly blobs: readonly Blob[];
}

/** Circumstances at the moment of an answer. */
export interface AnswerMoment {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly sentParts: readonly PartName[];
  /** Memory of the aspects about the node before this answer. */
  readonly memory: Readonly<Record<string, unknown>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly previous: Bundle['previous'];
  /** As they were fixed at enrolment, where that is known. */
  readonly banks?: readonly PcrBank[] | undefined;
  /** Why IMA's list does not count, if nothing of it is kept. */
  readonly imaProblem?: ImaProblem | undefined;
  /** Who answered. */
  readonly by: Role;
  /** The server is on trial. */
  readonly trial?: true | undefined;
}

/** The answer's own blob, and those that it names. */
export interface PackedAnswer {
  readonly own: Blob;
  readonly shared: readonly Blob[];
}

/** Who signed last, and how a root vouched for it. */
interface SeenKeys {
  readonly ekDigest: string;
  /** That of the latest connection, which holds it anyway. */
  certificate: Buffer | null;
  readonly root: string | undefined;
  readonly until: number | undefined;
  /** Of the blob that holds them. */
  readonly digest: string;
}

/** Latest PCR values of a node. */
interface SeenValues {
  readonly resetCount: number;
  readonly values: readonly SeenBank[];
  /** How often they moved within this boot. */
  readonly moved: number;
  /** Of the blob that holds them; null until they held still once. */
  readonly digest: string | null;
}

/** Digest: of the quote that covers it. */
type SeenBank = Pick<Proven['banks'][number], 'bank' | 'mask' | 'pcrDigest'>;

/** Latest keys and values shown under one attestation key. */
interface SeenOfKey {
  keys: SeenKeys | null;
  values: SeenValues | null;
}

/** Shared blobs stay for long: a node whose values move more often within a boot keeps its own in each answer. */
const sharedPerBoot = 8;
/** Nodes of which something is remembered; what is forgotten costs a hash, or values that are written once more. */
const mostNodes = 131_072;

/** Packs answers as they are kept. What it remembers saves hashes and rows, and changes nothing else. */
export class Packer {
  /** By the name of the attestation key. */
  readonly #seen = new LRUCache<string, SeenOfKey>(atMost(mostNodes));

  pack(
    node: AnsweringNode,
    { nonce, channel, keyRequest, quotes, facts, parts, supplements }: AnsweredEvidence,
    { banks, clock }: Pick<Proven, 'banks' | 'clock'>,
    moment: AnswerMoment,
    { policy, references, blobs }: Context,
  ): PackedAnswer {
    const seen = this.#seenOf(node.ak.name);
    const keys = keysOf(seen, node, moment.at);
    const values = valuesOf(seen, clock.resetCount, banks);
    const own = values === null ? packValues(banks) : [];
    const kept: KeptAnswer = {
      version: 2,
      named: { keys: keys.digest, policy, references, values: values?.digest },
      binding: {
        nonce: nonce.toString('hex'),
        channel: channel.toString('hex'),
        facts: hash('sha256', facts, 'hex'),
        bootLog: parts.boot?.digest ?? '',
        keyRequest: keyRequest?.toString('hex') ?? '',
      },
      quotes: quotes.map(({ attest, signature }, index) => ({ attest, signature, values: own[index] })),
      facts,
      parts: byDigest(parts),
      tails: tailsOf(supplements),
      previous: moment.previous,
      context: {
        at: new Date(moment.at).toISOString(),
        node: node.name,
        sentParts: [...moment.sentParts],
        memory: Object.keys(moment.memory).length > 0 ? { ...moment.memory } : undefined,
        tpmClass: node.tpmClass,
        labels: Object.keys(moment.labels).length > 0 ? { ...moment.labels } : undefined,
        banks: moment.banks && [...moment.banks],
        imaProblem: moment.imaProblem,
        by: moment.by === roleLeftOut ? undefined : moment.by,
        trial: moment.trial,
      },
    };
    const text = JSON.stringify(kept);
    const shared: Blob[] = [keys, ...blobs];
    if (values !== null) shared.push(values);
    addParts(parts, shared);
    for (const { blobs: listed } of supplements) shared.push(...listed);
    return { own: new SeldomWritten(hash('sha256', text, 'hex'), () => text), shared };
  }

  #seenOf(akName: string): SeenOfKey {
    const known = this.#seen.get(akName);
    if (known !== undefined) return known;
    const fresh: SeenOfKey = { keys: null, values: null };
    this.#seen.set(akName, fresh);
    return fresh;
  }
}

/** Hashed again if the certificate, or its path to a root, has changed. */
function keysOf(seen: SeenOfKey, node: AnsweringNode, at: number): Blob {
  const path = pathOf(node, at);
  const { ekDigest, ekCertificate: certificate } = node;
  const known = seen.keys;
  const isSame =
    known?.ekDigest === ekDigest &&
    known.root === path?.root &&
    known.until === path?.until &&
    sameBytes(known.certificate, certificate);
  const text = () => keysText(node, path);
  if (isSame) {
    known.certificate = certificate;
    return new SeldomWritten(known.digest, text);
  }
  const { digest } = blob(text());
  seen.keys = { ekDigest, certificate, root: path?.root, until: path?.until, digest };
  return new SeldomWritten(digest, text);
}

/** The PCR values as one blob where they held still since the answer before; else null. */
function valuesOf(seen: SeenOfKey, resetCount: number, banks: Proven['banks']): Blob | null {
  const before = seen.values;
  const heldStill = before !== null && areSameBanks(before.values, banks);
  const moved = before?.resetCount === resetCount ? before.moved + (heldStill ? 0 : 1) : 0;
  const isShared = heldStill && before.moved < sharedPerBoot;
  const text = () => JSON.stringify(packValues(banks));
  const digest = isShared ? (before.digest ?? blob(text()).digest) : null;
  const values = heldStill
    ? before.values
    : banks.map(({ bank, mask, pcrDigest }) => ({ bank, mask, pcrDigest }));
  seen.values = { resetCount, values, moved, digest };
  return digest === null ? null : new SeldomWritten(digest, text);
}

function areSameBanks(some: readonly SeenBank[], others: readonly SeenBank[]): boolean {
  return (
    some.length === others.length &&
    some.every(({ bank, mask, pcrDigest }, index) => {
      const other = others[index];
      return bank === other?.bank && mask === other.mask && pcrDigest === other.pcrDigest;
    })
  );
}

function sameBytes(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other);
}

/** The path is that of the certificate with which the node was enrolled, or none. */
function pathOf({ endorsementPath = () => null, ekCertificate }: AnsweringNode, at: number) {
  const shown = endorsementPath();
  const isOwn = shown !== null && ekCertificate?.equals(shown.certificate) === true;
  return isOwn && at <= shown.until ? shown : null;
}

function keysText(node: AnsweringNode, path: EndorsementPath | null): string {
  const keys: AnswerKeys = {
    attestationKey: node.ak.publicArea.toString('base64'),
    endorsement: {
      publicArea: node.ekPublicArea.toString('base64'),
      certificate: node.ekCertificate?.toString('base64') ?? null,
      chain: path?.chain.map((der) => der.toString('base64')),
    },
    roots: path === null ? undefined : [path.root],
  };
  return JSON.stringify(keys);
}

function byDigest(parts: Parts): KeptAnswer['parts'] {
  const named: KeptAnswer['parts'] = {};
  for (const name of partNames) {
    const part = parts[name];
    if (part !== undefined) named[name] = { digest: part.digest };
  }
  return named;
}

/** Those that came with it. */
function addParts(parts: Parts, to: Blob[]): void {
  for (const name of partNames) {
    const part = parts[name];
    if (part !== undefined && part.bytes !== null) to.push({ digest: part.digest, bytes: part.bytes });
  }
}

function tailsOf(supplements: readonly PackedSupplement[]): KeptAnswer['tails'] {
  let tails: KeptAnswer['tails'];
  for (const { name, tail } of supplements)
    if (tail !== null && tail.length > 0) tails = { ...tails, [name]: tail.toString('base64') };
  return tails;
}

/**
 * A blob that the store already has, except the first time; or that another replaces, often before it is written. Its
 * bytes are made when they are asked for, and kept for no node.
 */
class SeldomWritten implements Blob {
  readonly digest: string;
  readonly #make: () => string | Buffer;

  constructor(digest: string, make: () => string | Buffer) {
    this.digest = digest;
    this.#make = make;
  }

  get bytes(): Buffer {
    const made = this.#make();
    return typeof made === 'string' ? Buffer.from(made) : made;
  }
}

class OfServer extends SeldomWritten {
  readonly isOfServer = true;
}
