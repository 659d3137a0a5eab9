import { randomBytes } from 'node:crypto';
import type { Identification } from '../channel/ports.ts';
import type { ShownTokens } from '../channel/session.ts';
import { type AttestationKey, checkAttestationKey, checkTemplate } from '../verify/attestation-key.ts';
import { makeCredential } from '../verify/credential.ts';
import { checkEndorsement, type Endorsement } from '../verify/endorsement.ts';
import type { TrustRoots } from '../verify/endorsement-chain.ts';
import type {
  EndorsementLookup,
  EndorsementPath,
  EndorsementPaths,
  VouchedTpm,
} from '../verify/endorsement-paths.ts';
import { tpmIdentityOf } from '../verify/tpm-identity.ts';
import type { Hello } from '../wire/messages.ts';
import { ownBytes } from '../wire/own-bytes.ts';
import { mayWait } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import { roles } from '../wire/roles.ts';
import { sourceOf } from '../wire/source.ts';
import type { CandidateClaim } from './candidates.ts';
import { type Cluster, checkClusterToken, type TokenBearer } from './cluster.ts';
import type { EnrolledNode, EnrolmentStore, ProvenConnection } from './ports.ts';
import type { Registry } from './registry.ts';
import type { MachinesWithoutTpm } from './without-tpm.ts';

/** A connection's node: its record, and whether it is enrolled yet. */
export interface Peer {
  readonly record: EnrolledNode;
  readonly ak: AttestationKey;
  /** Data for its enrolment; null once it is enrolled, so that its connection does not keep it. */
  readonly enrolling: Enrolling | null;
  /** Of the audit log, as the agent kept it. */
  readonly checkpoint: string | null;
  /** Where its connection comes from and what its agent says that it is; null if its role does not stay. */
  readonly seen: ProvenConnection | null;
  /** How a root vouches for the certificate with which it is enrolled. Expensive: only for a node that has proven itself. */
  readonly endorsementPath: () => EndorsementPath | null;
}

interface Enrolling {
  readonly joinTokenId: string | null;
  /** How it waits if nobody vouches for it. */
  readonly claim: CandidateClaim;
  /** Endorsement of its TPM by the roots. Expensive: only for a node that has activated its credential. */
  readonly vouched: () => VouchedTpm;
}

export interface IdentifyParts {
  readonly store: Pick<EnrolmentStore, 'node'>;
  /** Where this node last proved itself; null if that is not known. */
  readonly lastSeen: (node: string) => Pick<ProvenConnection, 'address'> | null;
  readonly registry: Registry;
  /** Null: the server is in none. */
  readonly cluster: Pick<Cluster, 'nodeOfToken' | 'wantsToken'> | null;
  readonly candidates: { note(claim: CandidateClaim, now: number): void };
  readonly withoutTpm: Pick<MachinesWithoutTpm, 'note'>;
  readonly paths: EndorsementPaths;
  /** Whom we trust to endorse TPMs at present. */
  readonly trust: () => TrustRoots;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** @param address where the connection comes from. @throws Rejection */
export type Identify = (hello: Hello, tokens: ShownTokens, address: string) => Promise<Identification<Peer>>;

/**
 * Who says hello: checks its keys, asks the registry, and makes the credential that only the TPM of both keys opens.
 * A TPM for which nobody vouched is noted down as a candidate.
 */
export function createIdentify(parts: IdentifyParts): Identify {
  const { registry, cluster, candidates, paths, trust, now } = parts;
  return async (hello, tokens, address) => {
    const source = sourceOf(address);
    const { showsTokens, stays } = roles[hello.role];
    // Attack: a stolen TPM's machine, or a program in another pod, speaks for a node of the cluster.
    const wantsToken = cluster?.wantsToken(hello.node) === true;
    if (wantsToken && showsTokens)
      await checkClusterToken(cluster, hello.node, tokens.cluster, await whoAsks(hello, source, parts));
    if (hello.ek === null || hello.ak === null) throw await noTpm(hello, wantsToken ? null : source, parts);
    // It stays with the record of a node that enrols.
    const ekCertificate =
      hello.ek.certificate === null ? null : ownBytes(Buffer.from(hello.ek.certificate, 'base64'));
    const ek = checkEndorsement({
      publicArea: Buffer.from(hello.ek.publicArea, 'base64'),
      certificate: ekCertificate,
      chain: hello.ek.chain.map((der) => Buffer.from(der, 'base64')),
    });
    const ak = checkAttestationKey(Buffer.from(hello.ak.publicArea, 'base64'), hello.ak.name);
    checkTemplate(ak);
    const keys = {
      ekDigest: ek.digest,
      keyDigest: ek.keyDigest,
      ekPublicArea: ek.publicArea,
      ekCertificate,
      akPublicArea: ak.publicArea,
      akName: ak.name,
    };
    const claim: CandidateClaim = {
      node: hello.node,
      ekDigest: ek.digest,
      ekPublicArea: ek.publicArea,
      address,
      certificateSubject: ek.certificate?.subject ?? null,
      manufacturer: makerOf(ek),
    };
    const arrival = { at: now(), source };
    const found = await registry.identify(hello, keys, tokens, arrival).catch((error: unknown) => {
      if (isUndecided(error)) candidates.note(claim, now());
      throw error;
    });
    const enrolled = 'known' in found ? found.known : found.candidate;
    // Attack: who has no token comes in another role, for which nobody vouches but itself.
    if (wantsToken && !showsTokens && 'candidate' in found && found.candidate.bound === 'first-use') {
      candidates.note(claim, now());
      throw new Rejection(
        'enrolment_pending',
        `by first use the agent of ${hello.node} enrols, which shows a token of the cluster; the role ${hello.role} does not`,
      );
    }
    const isItsOwn = ekCertificate !== null && enrolled.ekCertificate?.equals(ekCertificate) === true;
    const followed = followedOnce(paths, ek, trust, now);
    const peer = {
      ak,
      checkpoint: hello.checkpoint ?? null,
      seen: stays ? { address, agent: hello.versions.program } : null,
      // A closure made here would keep all that another one made here uses, the claim as well.
      endorsementPath: isItsOwn ? pathOf(followed) : noPath,
    };
    if ('known' in found) {
      // The same bytes as the key's: held once.
      const record = { ...found.known, akPublicArea: ak.publicArea };
      return { node: { ...peer, record, enrolling: null }, activation: null };
    }
    const secret = randomBytes(32);
    const { credential, secret: encrypted } = makeCredential(
      ek.publicArea,
      Buffer.from(ak.name, 'hex'),
      secret,
      randomBytes,
    );
    const enrolling = { joinTokenId: found.joinTokenId, claim, vouched: () => followed().vouched };
    return {
      node: { ...peer, record: found.candidate, enrolling },
      activation: { credential, encrypted, secret },
    };
  };
}

/**
 * The bearer by whom tokens are counted: one that shows the very keys of an enrolled node counts as that node, at the
 * source where it last proved itself or elsewhere, so that no stranger uses up what it is asked about with. Nothing of
 * the keys is looked at but that they are the same.
 */
async function whoAsks(
  { node, ek, ak }: Hello,
  source: string,
  { store, lastSeen }: IdentifyParts,
): Promise<TokenBearer> {
  const stranger = { source, node: null, isAtHome: false };
  if (ek === null || ak === null) return stranger;
  const known = await store.node(node);
  if (known === null || known.akName !== ak.name) return stranger;
  if (!known.ekPublicArea.equals(Buffer.from(ek.publicArea, 'base64'))) return stranger;
  const home = lastSeen(node);
  return { source, node, isAtHome: home !== null && sourceOf(home.address) === source };
}

/** True for what a person may decide otherwise. */
export function isUndecided(error: unknown): boolean {
  return error instanceof Rejection && mayWait(error.code);
}

/** The certificates are held until then, and no longer: there is one such for each connection. */
function followedOnce(
  paths: EndorsementPaths,
  shown: Endorsement,
  trust: () => TrustRoots,
  now: () => number,
): () => EndorsementLookup {
  let state: Endorsement | EndorsementLookup = shown;
  return () => {
    if ('chain' in state) state = paths.follow(state, trust(), now());
    return state;
  };
}

function pathOf(followed: () => EndorsementLookup): Peer['endorsementPath'] {
  return () => followed().path;
}

const noPath = () => null;

/** Its own claim, for whoever decides about it. */
function makerOf({ certificate }: Endorsement): string | null {
  return certificate === null ? null : tpmIdentityOf(certificate).manufacturer;
}

/** A machine that merely says it has no TPM is `unsupported` only by policy, and an enrolled one proves nothing by it. */
async function noTpm(
  hello: Hello,
  source: string | null,
  { store, withoutTpm }: IdentifyParts,
): Promise<Rejection> {
  const enrolled = (await store.node(hello.node)) !== null;
  if (enrolled)
    return new Rejection(
      'identity_unproven',
      `${hello.node} is enrolled with a TPM, but this agent says that it has none`,
    );
  // Attack: names of machines that are none, in a role that needs no token, push out those of others.
  if (roles[hello.role].showsTokens) withoutTpm.note(hello.node, source);
  return new Rejection('unsupported_tpm', `${hello.node} says that it has no TPM`);
}
