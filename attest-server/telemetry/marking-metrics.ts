import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import {
  admissionFaults,
  type BreakerScope,
  breakerScopes,
  type ClusterErrorReason,
  clusterErrorReasons,
  type EnforcementAction,
  enforcementActions,
  protectedThings,
  type Suppression,
  suppressions,
  wrongResources,
} from '../formats/marking.ts';
import type { MarkingFigures } from '../marking/figures.ts';
import { classOf, reasonCodes } from '../wire/reasons.ts';
import { modes } from '../wire/verdict.ts';

/** What marking counts. */
export interface MarkingMetrics {
  acted(action: EnforcementAction, isDone: boolean): void;
  suppressed(reason: Suppression): void;
  reconciled(seconds: number): void;
  failed(reason: ClusterErrorReason): void;
  startupTaintRestored(): void;
  tripped(scope: BreakerScope): void;
  /** Asked at each scrape how it goes with the marks. */
  figures(of: () => MarkingFigures): void;
}

const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const none: MarkingFigures = {
  queue: 0,
  isLeader: false,
  modes: new Map(),
  waiting: new Map(),
  wrong: 0,
  wrongResources: new Map(),
  open: new Set(),
  mass: new Map(),
  gaps: [],
};

/** The codes of which the breaker counts nodes that fail alike. */
const drift = reasonCodes.filter((code) => classOf(code) === 'drift');

export function markingMetrics(registry: Registry): MarkingMetrics {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter<L>({ name: `assay_${name}`, help, labelNames: [...labelNames], registers });
  let figures: () => MarkingFigures = () => none;
  const gauge = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    collect: (of: Gauge<L>, now: MarkingFigures) => void,
  ) =>
    new Gauge<L>({
      name: `assay_${name}`,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        collect(this, figures());
      },
    });

  const actions = counter('enforcement_actions_total', 'Marks that were set or removed in the cluster', [
    'action',
    'result',
  ]);
  const suppressed = counter('enforcement_suppressed_total', 'Marks that were not set or removed, by why', [
    'reason',
  ]);
  const trips = counter('circuit_breaker_trips_total', 'Times that taints of drift were held back', [
    'scope',
  ]);
  const errors = counter('reconcile_errors_total', 'Requests of marking that did not succeed', ['reason']);
  const restored = counter(
    'startup_taints_restored_total',
    'Startup taints that a controller put back after they were removed',
    [],
  );
  const durations = new Histogram({
    name: 'assay_reconcile_duration_seconds',
    help: 'Time from looking at a Node until its marks are as they should be',
    buckets,
    registers,
  });
  gauge('enforcement_queue_length', 'Nodes that wait to be marked', [], (of, { queue }) => of.set(queue));
  gauge('enforcement_leader', '1 where this server marks, since it has the lease; else 0', [], (of, now) =>
    of.set(now.isLeader ? 1 : 0),
  );
  gauge('enforcement_mode', 'Nodes of the cluster by the mode of their group', ['mode'], (of, now) => {
    for (const mode of modes) of.set({ mode }, now.modes.get(mode) ?? 0);
  });
  gauge(
    'enforcement_waiting_nodes',
    'Nodes that lack a mark, or keep one, against their verdict, by why',
    ['reason'],
    (of, now) => {
      for (const reason of suppressions) of.set({ reason }, now.waiting.get(reason) ?? 0);
    },
  );
  gauge(
    'enforcement_wrong_nodes',
    'Nodes whose marks are not as they should be, without a reason for it',
    [],
    (of, { wrong }) => of.set(wrong),
  );
  gauge(
    'enforcement_wrong_resources',
    'NodeAttestations that are not as they should be: the old ones, reduced to the state alone, or not there',
    ['shows'],
    (of, now) => {
      for (const shows of wrongResources) of.set({ shows }, now.wrongResources.get(shows) ?? 0);
    },
  );
  gauge('circuit_breaker_open', '1 while taints of drift are held back, else 0', ['scope'], (of, now) => {
    for (const scope of breakerScopes) of.set({ scope }, now.open.has(scope) ? 1 : 0);
  });
  gauge(
    'mass_failure_nodes',
    'Nodes of one group that fail this code with one value within ten minutes, where they are enough to open the breaker',
    ['code'],
    (of, { mass }) => {
      for (const code of drift) of.set({ code }, mass.get(code) ?? 0);
    },
  );

  gauge(
    'admission_fault',
    '1 where admission may let others change what this server writes into the cluster, by why; else 0',
    ['protects', 'cause'],
    (of, { gaps }) => {
      for (const protects of protectedThings)
        for (const cause of admissionFaults) of.set({ protects, cause }, 0);
      for (const { protects, cause } of gaps) of.set({ protects, cause }, 1);
    },
  );

  for (const action of enforcementActions)
    for (const result of ['done', 'failed']) actions.inc({ action, result }, 0);
  for (const reason of suppressions) suppressed.inc({ reason }, 0);
  for (const scope of breakerScopes) trips.inc({ scope }, 0);
  for (const reason of clusterErrorReasons) errors.inc({ reason }, 0);

  return {
    acted: (action, isDone) => actions.inc({ action, result: isDone ? 'done' : 'failed' }),
    suppressed: (reason) => suppressed.inc({ reason }),
    reconciled: (seconds) => durations.observe(seconds),
    failed: (reason) => errors.inc({ reason }),
    startupTaintRestored: () => restored.inc(),
    tripped: (scope) => trips.inc({ scope }),
    figures(of) {
      // One scrape asks once, though several series show it.
      let kept: { readonly figures: MarkingFigures; readonly at: number } | null = null;
      figures = () => {
        const at = performance.now();
        if (kept === null || at - kept.at > 100) kept = { figures: of(), at };
        return kept.figures;
      };
    },
  };
}
