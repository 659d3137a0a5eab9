import type * as api from '../api/cluster-api.ts';
import type { ExemptionView, MarksView } from '../api/node-api.ts';
import type { ClusterShown, FailingShown } from '../marking/control.ts';
import type { Exemption, Pause } from '../marking/ports.ts';
import type { ShownMarks } from '../marking/shown-marks.ts';

export function clusterView(shown: ClusterShown): api.ClusterView {
  const { uid, synced, nodes, apiFaults, lease, groups, pause, latch, failing, exemptions } = shown;
  return {
    uid,
    synced,
    nodes,
    faults: [...apiFaults],
    lease: lease && { holder: lease.holder, ours: lease.isOurs },
    groups: [...groups],
    pause: pause && pauseView(pause),
    latch: latch && {
      groups: [...latch.groups],
      by: latch.by,
      at: momentOf(latch.at),
      inCluster: latch.inCluster,
      faults: [...latch.faults],
    },
    failing: failing.map(holdView),
    exemptions: exemptions.map(exemptionView),
  };
}

export function holdView({
  group,
  code,
  value,
  nodes,
  tainted,
  waiting,
  isOurs,
  hold,
}: FailingShown): api.HoldView {
  return {
    group,
    code,
    value,
    nodes,
    tainted,
    waiting,
    ours: isOurs,
    decision: hold?.decision ?? null,
    at: hold === null ? null : momentOf(hold.at),
    by: hold?.by ?? null,
    reason: hold?.reason ?? null,
  };
}

export function pauseView({ by, reason, at }: Pause): api.PauseView {
  return { by, reason, at: momentOf(at) };
}

export function exemptionView({ node, reason, by, at, until }: Exemption): ExemptionView {
  return { node, reason, by, at: momentOf(at), until: momentOf(until) };
}

export function marksView({ there, wanted, suppressed, tamperedAt, resource }: ShownMarks): MarksView {
  return {
    there: carriedView(there),
    wanted: carriedView(wanted),
    suppressed,
    tamperedAt: tamperedAt === null ? null : momentOf(tamperedAt),
    resource: resource && { shows: resource.shows, fault: resource.fault?.message ?? null },
  };
}

function carriedView({ taints, ...rest }: ShownMarks['there']): MarksView['there'] {
  return { taints: [...taints], ...rest };
}

function momentOf(at: number): string {
  return new Date(at).toISOString();
}
