import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { defaultTaintKeys } from '../../../attest-server/formats/marks.ts';
import { keyOf } from '../../../attest-server/marking/breaker.ts';
import type { MarkedGroup, NodeToMark } from '../../../attest-server/marking/judged-node.ts';
import { judgedNode } from '../../../attest-server/marking/judged-node.ts';
import type { Circumstances } from '../../../attest-server/marking/marks.ts';
import type { ClusterNode, Decisions, Exemption, Hold, Pause } from '../../../attest-server/marking/ports.ts';
import { classOf, type ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { NodeState, Reason, Verdict } from '../../../attest-server/wire/verdict.ts';

export const keys = defaultTaintKeys;
export const hour = 3_600_000;
/** The moment of these tests: milliseconds since the epoch. */
export const today = Date.UTC(2026, 10, 27);

export function madeGroup(given: Partial<MarkedGroup> = {}): MarkedGroup {
  return { name: 'workers', mode: 'enforce', tpm: 'required', require: ['identity', 'boot'], ...given };
}

function madeReason(code: ReasonCode, given: Partial<Reason> = {}): Reason {
  return {
    code,
    class: classOf(code),
    aspect: 'boot',
    severity: 'fail',
    source: 'tpm',
    expected: null,
    actual: null,
    text: `Because of ${code}. There is more.`,
    evidence: null,
    ...given,
  };
}

export interface MadeVerdict {
  readonly state: NodeState;
  readonly codes?: readonly ReasonCode[];
  /** Of the first reason. */
  readonly value?: string;
  readonly group?: MarkedGroup;
}

export function madeVerdict({ state, codes = [], value, group = madeGroup() }: MadeVerdict): Verdict {
  const { name, mode, require } = group;
  return {
    state,
    reasons: codes.map((code, index) =>
      madeReason(code, index === 0 && value !== undefined ? { value } : {}),
    ),
    aspects: {},
    group: name,
    require,
    mode,
    policy: 'policy@000000000000',
  };
}

/** A node that has the verdict since a minute, and was trusted an hour ago unless `trustedAt` says otherwise. */
export function madeStatus(
  name: string,
  verdict: MadeVerdict | null,
  given: Partial<NodeStatus> = {},
): NodeStatus {
  const state = verdict?.state ?? 'pending';
  return {
    name,
    ekDigest: `ek of ${name}`,
    state,
    verdict: verdict && madeVerdict(verdict),
    verifiedAt: today - 60_000,
    expiresAt: today + 24 * hour,
    trustedAt: state === 'trusted' ? null : today - hour,
    bootSeenAt: today - 2 * hour,
    bootedAfter: null,
    bootedAt: null,
    recordedAt: null,
    recordedEvidence: null,
    since: today - 60_000,
    resetCount: 1,
    restartCount: 0,
    clock: 1n,
    firmwareVersion: null,
    bootId: null,
    sequence: null,
    kernel: null,
    systemUuid: null,
    parts: {},
    memory: {},
    evidenceDigest: null,
    repeats: 0,
    trustedBy: null,
    ...given,
  };
}

export function judged(
  verdict: MadeVerdict | null,
  given: Partial<NodeStatus> = {},
  group = madeGroup(),
): NodeToMark {
  return judgedNode(madeStatus('node-1', verdict, given), group, today);
}

/** A Node that is older than all verdicts. */
export function madeNode(given: Partial<ClusterNode> = {}): ClusterNode {
  return {
    name: 'node-1',
    uid: 'uid-1',
    resourceVersion: '1',
    labels: {},
    taints: [],
    conditions: [],
    providerId: null,
    systemUuid: null,
    createdAt: today - 24 * hour,
    ...given,
  };
}

export const usual: Circumstances = {
  keys,
  paused: false,
  exemption: null,
  delay: null,
  isSettling: false,
  ownNode: null,
};

/** Decisions of people, without a store. */
export class MadeDecisions implements Decisions {
  paused: Pause | null = null;
  readonly exempt = new Map<string, Exemption>();
  readonly held = new Map<string, Hold>();
  readonly #listeners: ((node: string | null) => void)[] = [];

  pause(): Pause | null {
    return this.paused;
  }

  exemption(node: string): Exemption | null {
    return this.exempt.get(node) ?? null;
  }

  holds(): readonly Hold[] {
    return [...this.held.values()];
  }

  async hold(...holds: readonly Hold[]): Promise<void> {
    for (const hold of holds) this.held.set(keyOf(hold), hold);
  }

  async end(holds: readonly Hold[]): Promise<void> {
    for (const hold of holds) this.held.delete(keyOf(hold));
  }

  onChange(listener: (node: string | null) => void): void {
    this.#listeners.push(listener);
  }

  changed(node: string | null = null): void {
    for (const listener of this.#listeners) listener(node);
  }
}
