import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { AuthorityView } from '../api/authority-api.ts';
import type { ReferenceCandidates } from '../api/candidates-api.ts';
import type { ReasonView } from '../api/node-api.ts';
import type { HistoryEntry, NodeStatus } from '../attest/ports.ts';
import type { ShownTurn } from '../attest/turns.ts';
import type { AuditFindings, AuditSearch } from '../audit/ports.ts';
import type { ShownBackups } from '../backups/open.ts';
import type { Connected } from '../channel/ports.ts';
import type { ShownDirectory } from '../declared/open.ts';
import type { Approvals } from '../enrolment/approvals.ts';
import type { KnownClaim } from '../enrolment/claims.ts';
import type { EnrolledNode, JoinToken, Pin, ProvenConnection } from '../enrolment/ports.ts';
import type { UnsupportedNode } from '../enrolment/without-tpm.ts';
import type { AuditEvent } from '../formats/audit.ts';
import type { Bundle } from '../formats/bundle.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { EventName } from '../formats/event.ts';
import type { Reference, ReferenceAction, ReferenceKind } from '../formats/reference.ts';
import type { FaultCause, StorageFault } from '../formats/server-fault.ts';
import type { EndedConnection, KubeletStatus } from '../formats/silence.ts';
import type { PolicyRevision, Rollback } from '../in-force/ports.ts';
import type { Volumes } from '../keys/volumes.ts';
import type { HeldRights } from '../kubernetes/rights.ts';
import type { Control } from '../marking/control.ts';
import type { Observation } from '../policy/draft/observation.ts';
import type { SimulatedNode } from '../policy/draft/simulation.ts';
import type { PolicyFault } from '../policy/file/policy-error.ts';
import type { Policy, PolicyGroup } from '../policy/policy.ts';
import type { SharedReference } from '../policy/reference-reach.ts';
import type { Absence } from '../presence/ports.ts';
import type { CaptureDraft } from '../references/capture.ts';
import type { NextBoot } from '../references/next-boots.ts';
import type { Webhook } from '../webhook/open.ts';
import type { Advice, AdviceContext } from '../wire/advice.ts';
import type { AuditOrigin } from '../wire/audit-key.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { ApiRole, Caller } from './roles.ts';

/** Whom the cluster knows. */
export interface ClusterUsers {
  /**
   * Null if the cluster does not vouch for the token; the role is `none` where it grants nothing here.
   * @param source from where it comes
   * @throws an error named ClusterError if the cluster gave no answer
   */
  whoIs(token: string, source: string): Promise<Pick<Caller, 'name' | 'role'> | null>;
}

/** Dependencies of the API; `server.ts` supplies them. */
export interface ApiPorts {
  readonly store: ShownStore;
  readonly tokens: {
    authenticate(
      authorization: string | undefined,
      address: string | undefined,
    ): Promise<Caller | ExpiredToken | null> | Caller | ExpiredToken | null;
  };
  /** Whoever is behind this connection showed a valid token. */
  known(socket: Socket): void;
  readonly namedTokens: Pick<NamedTokens, 'create' | 'list' | 'revoke'>;
  readonly enrolment: EnrolmentPorts;
  /** The proven connection of a node's agent; null if there is none. */
  connected(node: string): Connected | null;
  /** How the latest one ended; null while there is one, and where none was proven since the server started. */
  ended(node: string): EndedConnection | null;
  /** Whether its cluster has the kubelet of this node as Ready; null if that is not known. */
  kubeletReady(node: string): KubeletStatus | null;
  /** Milliseconds until this node is asked again, if it has spent its judging time; otherwise 0. */
  waits(node: string): number;
  /** Who brought the reference of this name, and when (RFC 3339); null if nobody is named. */
  affirmedBy(reference: string): { readonly by: string; readonly at: string } | null;
  /** Nodes that are gone from the cluster. */
  readonly presence: {
    /** Gone, and nothing is held against it. */
    isHidden(node: string): boolean;
    absenceOf(node: string): Absence | null;
    /** The same of any node, also an archived one. */
    readAbsence(node: string): Promise<Absence | null>;
  };
  /** The labels of nodes in their cluster; null if the server is in none. */
  readonly labelsOf: ((node: string) => Readonly<Record<string, string>>) | null;
  /** The marks of the cluster, and what people decide about them; null if the server is in none. */
  readonly cluster: Control | null;
  /** Null if the server is in none. @throws an error named ClusterError if its API gave no answer */
  readonly clusterRights: (() => Promise<HeldRights>) | null;
  readonly references: ReferencePorts;
  readonly volumes: Pick<
    Volumes,
    | 'list'
    | 'add'
    | 'rotate'
    | 'cancelRotation'
    | 'remove'
    | 'revoke'
    | 'rewrap'
    | 'wrappingKeys'
    | 'escrow'
    | 'refusals'
  >;
  /** The group of a node at present. */
  groupOf(node: string): Pick<PolicyGroup, 'name' | 'keys'>;
  /**
   * The evidence behind the node's latest verdict, or another one of it by its digest or the first digits of it; null if
   * none is kept. @throws HttpProblem 400 if several begin so
   */
  bundle(node: string, evidence: string | null): Promise<Bundle | null>;
  readonly audit: AuditPorts;
  /** @returns what writes the stream of events into an answer @throws HttpProblem 409, 429 */
  listen(request: ListenRequest): Promise<(response: ServerResponse) => void>;
  /** Null if there is none. */
  readonly webhook: Webhook['told'];
  readonly authority: AuthorityPorts;
  /** Change of ours that turned the verdict of a node; null if none did. */
  turned(node: string): ShownTurn | null;
  /** Advice on a reason, as complete as knowledge of the node allows. */
  advise(reason: ReasonView, known: AdviceContext): Advice;
  /** Advice on a fault of the server. */
  faultAdvice(cause: FaultCause): string;
  /** Why nothing can be stored at present; null if all works. */
  storageFault(): StorageFault | null;
  policy(): Policy;
  readonly policies: PolicyPorts;
  readonly policyHistory: PolicyHistoryPorts;
  ready(): Readiness;
  readonly server: ServerPort;
  /** Has this node asked for evidence now. @returns false if it is not connected */
  challengeNow(node: string): boolean;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Counts one answered request; the route is one of the table's patterns or `unmatched`. */
  answered(method: string, route: string, status: number, seconds: number): void;
  /** A caller without a valid token, or whose role does not suffice. `actor` is his token's name or his address. */
  refused(code: ReasonCode, text: string, actor: string): void;
  /** Our own fault behind a 500, for the log: the caller learns nothing about it. */
  fault(error: unknown, route: string): void;
}

/** Who is enrolled, who wants to be, and by what. */
export interface EnrolmentPorts {
  readonly approvals: Approvals;
  /** Whether the policy lets a node of this name enrol by that method. */
  mayEnrol(node: string, by: EnrolmentMethod): boolean;
  /** Who came under which name and was refused; nothing of it is proven. */
  claims(): ReadonlyMap<string, readonly KnownClaim[]>;
  /** From where a node's agent last came; null if that is not known. */
  lastSeen(node: string): ProvenConnection | null;
  /** Machines without a TPM, as policy expects of them. */
  unsupported(): readonly UnsupportedNode[];
  /** Names of machines that say they have no TPM, where policy expects one. */
  claimedWithoutTpm(): readonly string[];
  importPins(pins: readonly Pin[], actor: string): Promise<void>;
  /** Gives the token's text, which is stored nowhere. */
  createJoinToken(request: { node: string; ttlMs: number; actor: string }): Promise<string>;
  /** By the time at which they end, the latest first. */
  joinTokens(): Promise<readonly Omit<JoinToken, 'secretHash'>[]>;
  /** False if no unused one has that id. */
  revokeJoinToken(id: string, actor: string): Promise<boolean>;
}

interface CaptureOrder {
  readonly nodes: readonly string[];
  readonly name: string;
  readonly kind: ReferenceKind;
  readonly group: string | null;
  readonly staged: boolean;
  readonly only: readonly string[] | null;
  readonly initrd: boolean;
  /** Of kind `boot`: demand boot_aggregate of boots like these, where one of the nodes gave it. */
  readonly aggregate: boolean;
  readonly reason: string | null;
  /** The digest of what somebody was shown of it. */
  readonly shown: string | null;
  readonly actor: string;
}

/** References as people make and change them. */
export interface ReferencePorts {
  /**
   * Makes references of what nodes last proved: one, or as many as it takes to cover them all.
   * @throws Rejection if there is nothing to capture; an error named CaptureError or NotNow says why not
   */
  capture(request: CaptureOrder): Promise<readonly [Reference, ...Reference[]]>;
  /** The same, and stores none of them. @throws as `capture` does */
  draft(request: CaptureOrder): Promise<CaptureDraft>;
  readonly life: ReferenceLifePort;
  /** Boots that nodes show and no active reference has. */
  candidates(filter: {
    readonly group?: string | undefined;
    readonly kind?: ReferenceKind | undefined;
  }): Promise<ReferenceCandidates>;
  /** How many nodes of the group show one thing with this node that no reference in force has, and its codes; null: none. */
  /** By node; of others there is no forecast. */
  nextBoots(only?: string): Promise<ReadonlyMap<string, NextBoot>>;
  shared(
    node: string,
    group: string,
  ): { readonly nodes: number; readonly codes: readonly ReasonCode[] } | null;
}

/** Stored state that the API and the metrics show. */
export interface ShownStore extends HistoryStore {
  node(name: string): Promise<EnrolledNode | null>;
  /** By name, without those that are archived. */
  nodes(): Promise<readonly EnrolledNode[]>;
  /** Of any node, also an archived one. */
  status(name: string): Promise<NodeStatus | null>;
  statuses(): Promise<readonly NodeStatus[]>;
  /** Why the node's latest answer failed, if that was a fault of ours; otherwise null. */
  serverFault(name: string): FaultCause | null;
  references(): Promise<readonly Reference[]>;
}

export interface HistoryStore {
  /** Newest first; no two rows of a node share their `at`. `before` is the `at` of the last row of the page before, exclusive. */
  history(name: string, page: { limit: number; before?: number }): Promise<readonly HistoryEntry[]>;
  /** The latest rows that changed the state, newest first. */
  transitions(name: string, limit: number): Promise<readonly HistoryEntry[]>;
}

/** Tokens of people and programs, each under its own name, so that the audit log says who acted. */
export interface NamedTokens {
  /** Takes the `Authorization` header; null if it carries no token of ours. */
  authenticate(authorization: string | undefined): Promise<Caller | ExpiredToken | null>;
  /** Gives the token's text, which is stored nowhere; null if a token of that name holds. */
  create(request: TokenRequest): Promise<{ readonly text: string; readonly expiresAt: number | null } | null>;
  list(): Promise<readonly ApiToken[]>;
  /** False if there is none of that name. */
  revoke(name: string, actor: string): Promise<boolean>;
}

/** A formerly valid token was shown whole: its holder may know why it is no longer valid. */
export interface ExpiredToken {
  readonly token: string;
  readonly role: ApiRole;
  /** Milliseconds since the epoch. */
  readonly expiredAt: number;
}

export interface TokenRequest {
  readonly name: string;
  readonly role: ApiRole;
  /** Null: until it is revoked. */
  readonly ttlMs: number | null;
  readonly actor: string;
}

/** A token of a person or a program for the API. */
export interface ApiToken {
  /** The part of the token's text by which it is found; no secret. */
  readonly id: string;
  /** Unique. */
  readonly name: string;
  readonly role: string;
  /** SHA-256 of the secret, hex. */
  readonly secretHash: string;
  readonly createdBy: string;
  readonly createdAt: number;
  /** Null: it holds until it is revoked. */
  readonly expiresAt: number | null;
}

/** Tokens as they are kept. A resolved promise of a writing method means: on disk. */
export interface TokenStore {
  find(id: string): Promise<ApiToken | null>;
  /** By name. */
  list(): Promise<readonly ApiToken[]>;
  /** False, and nothing is written, where the id is taken, or the name by a token that holds when this one is made. */
  add(token: ApiToken, audit: AuditEvent): Promise<boolean>;
  /** False, with nothing written, if there is none of that name. */
  remove(name: string, audit: AuditEvent): Promise<boolean>;
}

/** Reference values over their life; an error named NotNow says what their state does not allow. */
export interface ReferenceLifePort {
  /** Null if there is none of that name. */
  change(
    name: string,
    action: ReferenceAction,
    reason: string,
    actor: string,
    taint: boolean,
  ): Promise<{
    readonly reference: Reference;
    /** Active ones that affirm what was revoked. */
    readonly sharedWith: readonly SharedReference[];
  } | null>;
  /** Null if there is none of that name. @param change.until milliseconds since the epoch */
  announce(
    name: string,
    change: { readonly nodes: readonly string[] | null; readonly reason: string; readonly until: number },
    actor: string,
  ): Promise<Reference | null>;
  endAnnouncement(name: string, actor: string): Promise<Reference | null>;
  add(reference: Reference, actor: string): Promise<Reference>;
  /** False if there is none of that name. */
  remove(name: string, reason: string, actor: string): Promise<boolean>;
}

/** Nodes in the order of their names; `after` is the last one of the page before. */
interface NodePage {
  readonly after?: string | undefined;
  readonly limit: number;
}

interface SimulatedPage {
  readonly items: readonly SimulatedNode[];
  readonly next: string | null;
}

/** Effect that a step of a reference's life would have. */
export interface ReferenceTrial {
  readonly reference: Reference;
  /** The state that the step leads to. */
  readonly to: Reference['state'];
  /** Active references that affirm what it would revoke; of any other step, none. */
  readonly sharedWith: readonly SharedReference[];
  readonly items: readonly (SimulatedNode & {
    /** It is like the reference; left out where this version cannot tell. */
    readonly like?: boolean;
  })[];
  readonly next: string | null;
}

/** Trials of policies and references other than the active ones. Nothing is stored. */
export interface PolicyPorts {
  /** The groups of the policy in force, as JSON: as a file has them, defaults filled in. */
  groups(): readonly object[];
  /**
   * A page of nodes, their latest evidence judged by the policy in force and by this text.
   * @throws PolicyError for a policy that cannot be used; an error named TooManyTrials where many wait
   */
  simulate(
    policy: { readonly text: string; readonly file: string },
    page: NodePage,
  ): Promise<SimulatedPage & { readonly latched: readonly PolicyFault[]; readonly refusedShare: number }>;
  /**
   * The same by the policy in force, as the references are and as they would be after this action; null if there is
   * none of that name.
   * @throws an error named NotNow if its state does not allow the action, or TooManyTrials
   */
  simulateReference(name: string, action: ReferenceAction, page: NodePage): Promise<ReferenceTrial | null>;
  /**
   * Of a page of nodes, those that would lack a proof once these references are in force, and those that cannot be judged.
   * @param andTrusted also those that would turn trusted @throws an error named TooManyTrials
   */
  simulateAdded(added: readonly Reference[], page: NodePage, andTrusted: boolean): Promise<SimulatedPage>;
  /** Observations from the latest evidence of a page of nodes. @throws an error named TooManyTrials */
  observations(page: NodePage): Promise<{
    readonly items: readonly Observation[];
    readonly unseen: readonly string[];
    readonly next: string | null;
  }>;
}

/** Policies that were active, for the API, and an administrator's decisions about them. */
export interface PolicyHistoryPorts {
  /** Every one that is kept: the one in force, then the others, the latest to end first. */
  list(): Promise<readonly PolicyRevision[]>;
  /** By the first digits of its digest. @throws an error named NotNow if none is kept, or several begin so */
  kept(digits: string): Promise<PolicyRevision & { readonly text: string }>;
  /** Null: what file or directory give is in force. */
  rollback(): Rollback | null;
  /** Policy that is being compared with the active one; null: none. */
  comparing(): { readonly policy: string; readonly judged: number } | null;
  /**
   * Puts an earlier policy in force until the text in file or directory changes.
   * @param digits the first ones of its digest
   * @throws an error named NotNow if none is kept, several begin so, or it is in force; PolicyError where the latch, or this
   * version, refuses it
   */
  goBack(
    digits: string,
    word: { readonly by: string; readonly reason: string },
  ): Promise<{ readonly before: Policy; readonly now: Policy }>;
  /**
   * Lets one policy come into force, however many nodes it makes untrusted: at once if it was refused for that.
   * @param digits of its digest, 12 at least
   * @throws an error named NotNow if it is in force
   */
  allow(
    digits: string,
    word: { readonly by: string; readonly reason: string },
  ): Promise<{
    readonly digest: string;
    readonly isInForce: boolean;
    /** Another objection to it; null: none, or it was not refused yet. */
    readonly refused: string | null;
  }>;
}

/** The audit log for the API, and an administrator's actions on it. */
export interface AuditPorts {
  search(search: AuditSearch): Promise<AuditFindings>;
  checkpoints(page: {
    after: number;
    /** Only those of more entries. */
    above: number;
    limit: number;
  }): Promise<readonly { readonly id: number; readonly note: string }[]>;
  /** Of the origin that signs now, and of those whose key was lost. */
  keys(): AuditOrigin & { readonly earlier: readonly AuditOrigin[] };
  /** Signs the head where something changed. */
  sign(): Promise<void>;
  /** Fault of the log until a person resolves it; null if there is none. */
  rollback(): string | null;
  rotate(actor: string): Promise<{ readonly keyId: string }>;
  /** A person says why the log is another one than was signed; false if nothing was reported. */
  resolve(actor: string, reason: string): Promise<boolean>;
  backup(actor: string): Promise<{ readonly path: string; readonly bytes: number }>;
}

/** Which events a listener wants; all that are given must fit. */
export interface EventFilter {
  readonly node?: string | undefined;
  /** A group of the policy: what happens to it, and to the nodes that are in it then. */
  readonly group?: string | undefined;
  readonly event?: readonly EventName[] | undefined;
}

/** Who listens, from where on, and to what. */
export interface ListenRequest {
  readonly caller: Caller;
  readonly authorization: string | undefined;
  readonly address: string | undefined;
  /** The id of the last event that the listener has; null: it wants those that come. */
  readonly after: string | null;
  readonly filter: EventFilter;
  /** False: it ends with the latest event that there is. */
  readonly isLive: boolean;
}

/** The server's authority for the API. A text says why nothing was done. */
export interface AuthorityPorts {
  view(): Promise<AuthorityView>;
  rotate(actor: string): Promise<AuthorityView | string>;
  finish(force: boolean, actor: string): Promise<AuthorityView | string>;
  retire(actor: string): Promise<AuthorityView | string>;
}

/** The server as a process. Times are milliseconds since the epoch. */
export interface ServerPort {
  readonly version: string;
  readonly startedAt: number;
  readonly trial: boolean;
  /** Source of the server's policy, as `assay policy check` takes it. */
  policySource(): string;
  /** The signed directory of the settings; null if there is none. */
  declared(): ShownDirectory | null;
  policySince(): number;
  /** Parts of the configuration whose old form is in force, since the new one has faults. */
  faulty(): readonly {
    readonly part: string;
    readonly at: number;
    readonly text: string;
    /** A policy that is well written and would make so many of so many trusted nodes untrusted; else null. */
    readonly refused: {
      readonly policy: string;
      readonly digest: string;
      readonly trusted: number;
      readonly untrusted: number;
    } | null;
  }[];
  /** Bytes on the file system of the state folder; null if it does not say. */
  space(): { readonly free: number | null; readonly total: number | null };
  store(): { readonly schema: number; readonly bytes: number };
  /** Copies that it makes by itself; null: none. */
  backups(): ShownBackups | null;
  certificates(): readonly { readonly of: 'server' | 'authority'; readonly expiresAt: number }[];
  connections(): readonly {
    readonly port: 'agents' | 'api' | 'metrics';
    /** Null if those who proved themselves are not counted. */
    readonly proven: number | null;
    readonly unproven: number;
  }[];
}

export interface Readiness {
  readonly ok: boolean;
  /** One sentence where not ok. */
  readonly reason: string | null;
}
