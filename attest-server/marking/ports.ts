import type { HistoryEntry, NodeStatus } from '../attest/ports.ts';
import type { AuditEvent } from '../formats/audit.ts';
import type { ClusterErrorReason } from '../formats/marking.ts';

/** The clocks of a process, and its chance. */
export interface Clock {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** From 0 to 1. */
  readonly random: () => number;
}

export interface Taint {
  readonly key: string;
  readonly value?: string;
  readonly effect: string;
  readonly timeAdded?: string;
}

export interface NodeCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
  readonly lastHeartbeatTime?: string;
}

/** A Node of the cluster in its latest state from the API: only the members that rooms of the server read. */
export interface ClusterNode {
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly conditions: readonly NodeCondition[];
  /** The id of its machine in a cloud. */
  readonly providerId: string | null;
  /** SMBIOS, as its kubelet says it. */
  readonly systemUuid: string | null;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}

/** Nodes of the cluster; kept up to date by a watch, so that reading them costs no request. */
export interface ClusterNodes {
  /**
   * False until the first whole list is there, and again where nothing was heard for three minutes: nothing may be
   * concluded from an absence then.
   */
  synced(): boolean;
  get(name: string): ClusterNode | null;
  all(): Iterable<ClusterNode>;
  /** `after` is null once it is gone; a Node that is created again has another uid. */
  onChange(listener: (name: string, after: ClusterNode | null, before: ClusterNode | null) => void): void;
}

export type PatchOperation =
  | { readonly op: 'test' | 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** An answer of the API that is no success, or none at all. */
export class ClusterError extends Error {
  override readonly name = 'ClusterError';
  /**
   * `conflict`: what was tested is another by now. `unreachable`: also where no answer came in time. `gone`: what was
   * told before cannot be continued, list all again.
   */
  readonly reason: ClusterErrorReason;
  /** Milliseconds for which the API wants to be left alone; null if it says nothing. */
  readonly retryAfter: number | null;

  constructor(
    reason: ClusterError['reason'],
    text: string,
    retryAfter: number | null = null,
    cause?: unknown,
  ) {
    super(text, { cause });
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

/** Marking's writes to the cluster. Each method rejects with a ClusterError, and waits for no longer than its bound. */
export interface ClusterWriter {
  /** JSON patch of the Node, or of its subresource `status`. Gives the Node as it is afterwards. */
  patchNode(
    name: string,
    operations: readonly PatchOperation[],
    subresource?: '' | '/status',
  ): Promise<ClusterNode>;
  /** The Node as it is now, from the API itself. Null: there is none. */
  readNode(name: string): Promise<ClusterNode | null>;
  /**
   * Server-side apply of the status of the NodeAttestation of that name, which is made where there is none.
   * @param isThere what is known of that: to be wrong costs a request
   */
  applyAttestation(
    node: ClusterNode,
    status: Readonly<Record<string, unknown>>,
    isThere: boolean,
  ): Promise<void>;
  /** All that are there. */
  attestations(): Promise<readonly PublishedAttestation[]>;
  /** Where there is none, all is well. */
  removeAttestation(name: string): Promise<void>;
  /** An Event on the Node. */
  event(node: ClusterNode, event: ClusterEvent): Promise<void>;
  /** The latch as the cluster has it; null if there is none. */
  readLatch(): Promise<ClusterLatch | null>;
  /** Makes it, or adds groups to it: it never shrinks. */
  applyLatch(latch: ClusterLatch): Promise<void>;
  /** A ConfigMap in the server's namespace; null if there is none. */
  readConfig(name: string): Promise<Readonly<Record<string, string>> | null>;
  /** A key of a ConfigMap in the server's namespace, which is made where there is none. */
  writeConfig(name: string, data: Readonly<Record<string, string>>): Promise<void>;
  /** DaemonSets, and pods that wait for a node: what a dry run of the latch names. */
  workloads(): Promise<Workloads>;
  /** The uid of the namespace kube-system, which is that of the cluster. */
  uid(): Promise<string>;
  /** The lease of servers in the server's own namespace; null if there is none. */
  readLease(): Promise<ClusterLease | null>;
  /**
   * Makes it, or replaces the one that was read, and gives it as it is then.
   * @throws ClusterError `conflict` if another one is there by now
   */
  writeLease(lease: ClusterLease): Promise<ClusterLease>;
}

export interface PublishedAttestation {
  readonly name: string;
  /** As somebody wrote it; undefined: nobody did. */
  readonly status: unknown;
}

/** Who marks: one server at most, and none without it (coordination.k8s.io/v1, Lease). */
export interface ClusterLease {
  /** Null: it was given back. */
  readonly holder: string | null;
  readonly durationSeconds: number;
  /** RFC 3339; null if nobody said. */
  readonly renewedAt: string | null;
  readonly acquiredAt: string | null;
  readonly transitions: number;
  /** Null in one that is to be made. */
  readonly resourceVersion: string | null;
}

export interface ClusterEvent {
  readonly type: 'Normal' | 'Warning';
  /** A reason code in CamelCase, or a word such as `Trusted`. */
  readonly reason: string;
  readonly message: string;
}

export interface ClusterLatch {
  /** Groups of the policy; empty: all of today and tomorrow. */
  readonly groups: readonly string[];
  readonly by: string;
  /** RFC 3339. */
  readonly enabledAt: string;
}

export interface Toleration {
  readonly key?: string;
  readonly operator?: string;
  readonly value?: string;
  readonly effect?: string;
}

export interface Workload {
  readonly namespace: string;
  readonly name: string;
  readonly tolerations: readonly Toleration[];
}

export interface Workloads {
  readonly daemonSets: readonly Workload[];
  readonly pendingPods: readonly Workload[];
}

/** Which requests an admission policy or its binding looks at; members as in admissionregistration.k8s.io/v1. */
export interface AdmissionMatch {
  readonly resourceRules: readonly AdmissionRule[];
  readonly excludeResourceRules: readonly unknown[];
  readonly objectSelector: Readonly<Record<string, unknown>>;
}

export interface AdmissionRule {
  readonly apiGroups: readonly string[];
  readonly apiVersions: readonly string[];
  readonly operations: readonly string[];
  readonly resources: readonly string[];
  /** None: all. */
  readonly resourceNames: readonly string[];
  readonly scope: string;
}

export interface AdmissionPolicy {
  readonly failurePolicy: string;
  readonly match: AdmissionMatch;
  /** Names of its matchConditions. */
  readonly conditions: readonly string[];
  /** False: it only annotates. */
  readonly hasValidations: boolean;
  readonly hasParams: boolean;
}

export interface AdmissionBinding {
  readonly policyName: string;
  readonly actions: readonly string[];
  /** Null: what the policy looks at. */
  readonly match: AdmissionMatch | null;
  readonly hasParams: boolean;
}

/** Reads what the cluster has of an admission policy and of its binding, which have one name; null: there is none. */
export interface AdmissionReader {
  /** @throws ClusterError */
  policy(name: string): Promise<AdmissionPolicy | null>;
  /** @throws ClusterError */
  binding(name: string): Promise<AdmissionBinding | null>;
}

/** Committed verdicts on nodes; `attest` supplies them. */
export interface CommittedVerdicts {
  status(name: string): NodeStatus | null;
  statuses(): readonly NodeStatus[];
  /** Called for each verdict once it is committed, or accepted as equal to the one before. Must not throw. */
  onRecorded(listener: (entry: HistoryEntry, from: NodeStatus['state'] | null) => void): void;
}

/** Decisions of people, as marking reads them: kept in memory, so that reading costs nothing. */
export interface Decisions {
  pause(): Pause | null;
  /** Null if there is none, or it has ended. */
  exemption(node: string): Exemption | null;
  holds(): readonly Hold[];
  /** Opens them: from now on `holds` has them, and they are kept. */
  hold(...holds: readonly Hold[]): Promise<void>;
  /** Ends those that hold no node any more. */
  end(holds: readonly Hold[]): Promise<void>;
  /** Called for each decision, also if one ended by itself. @param node null: it is about many */
  onChange(listener: (node: string | null) => void): void;
}

/** A person stops all marking for a time. The loss of the label goes on. */
export interface Pause {
  readonly by: string;
  readonly reason: string;
  readonly at: number;
}

/** A person lets a node work although it is not trusted. Milliseconds since the epoch. */
export interface Exemption {
  readonly node: string;
  readonly reason: string;
  readonly by: string;
  readonly at: number;
  readonly until: number;
}

/** Taints that wait for a person. One of each group of nodes, code and value. */
export interface Hold {
  /** Group of the policy. */
  readonly group: string;
  readonly code: string;
  /** Strongest digest of what differs; null if there is none. */
  readonly value: string | null;
  readonly at: number;
  /** `held`: a person said so, and it stays. `released`: those nodes are tainted. `open`: nobody decided yet. */
  readonly decision: 'open' | 'held' | 'released';
  readonly by: string | null;
  readonly reason: string | null;
}

/** Trust that cannot be taken back: of these groups of the policy, empty for all of today and tomorrow. */
export interface Latch {
  readonly groups: readonly string[];
  readonly by: string;
  readonly at: number;
}

/** Store of the decisions of people about marks. A resolved promise of a writing method means: committed, with its audit entry. */
export interface MarkingStore {
  /** One that cannot be read any more is a pause: no mark is added. */
  pause(): Promise<Pause | null>;
  setPause(pause: Pause | null, audit: AuditEvent): Promise<void>;
  /** One that cannot be read any more covers all groups. */
  latch(): Promise<Latch | null>;
  /** @throws Error if it would shrink */
  setLatch(latch: Latch, audit: AuditEvent): Promise<void>;
  holds(): Promise<readonly Hold[]>;
  /** Each replaces the one of its group, code and value; all or none. */
  saveHolds(holds: readonly { readonly hold: Hold; readonly audit: AuditEvent }[]): Promise<void>;
  /** Those that hold no node any more. */
  removeHolds(holds: readonly { readonly hold: Hold; readonly audit: AuditEvent }[]): Promise<void>;
  exemptions(): Promise<readonly Exemption[]>;
  setExemption(exemption: Exemption, audit: AuditEvent): Promise<void>;
  /** False, with nothing written, if there is none. */
  removeExemption(node: string, audit: AuditEvent): Promise<boolean>;
}
