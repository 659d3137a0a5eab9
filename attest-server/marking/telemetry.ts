import {
  admissionFaults,
  breakerScopes,
  clusterErrorReasons,
  enforcementActions,
  protectedThings,
  suppressions,
  wrongResources,
} from '../formats/marking.ts';
import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import { classOf, reasonCodes } from '../wire/reasons.ts';
import { modes } from '../wire/verdict.ts';
import type { MarkingFigures } from './figures.ts';
import type { MarkingParts } from './open.ts';

/** Of one reason, a line of the log in this time: each Node that cannot be marked would be one else. */
const lineEvery = 60_000;

/** Reports the actions of marking, and whatever prevents them. */
export function markingReport(reporting: Reporting): MarkingParts['report'] {
  const { figures, logger, now, refused, fault } = reporting;
  const actions = figures.counter(
    'enforcement_actions_total',
    'Marks that were set or removed in the cluster',
    ['action', 'result'],
    enforcementActions.flatMap((action) => ['done', 'failed'].map((result) => ({ action, result }))),
  );
  const suppressed = figures.counter(
    'enforcement_suppressed_total',
    'Marks that were not set or removed, by why',
    ['reason'],
    suppressions.map((reason) => ({ reason })),
  );
  const trips = figures.counter(
    'circuit_breaker_trips_total',
    'Times that taints of drift were held back',
    ['scope'],
    breakerScopes.map((scope) => ({ scope })),
  );
  const errors = figures.counter(
    'reconcile_errors_total',
    'Requests of marking that did not succeed',
    ['reason'],
    clusterErrorReasons.map((reason) => ({ reason })),
  );
  const restored = figures.counter(
    'startup_taints_restored_total',
    'Startup taints that a controller put back after they were removed',
  );
  const durations = figures.histogram(
    'reconcile_duration_seconds',
    'Time from looking at a Node until its marks are as they should be',
    [],
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
  );
  const lines = new Map<string, { at: number; omitted: number }>();
  return {
    acted: (action, isDone) => actions.inc({ action, result: isDone ? 'done' : 'failed' }),
    suppressed: (reason) => suppressed.inc({ reason }),
    reconciled: (seconds) => durations.observe(seconds),

    failed(error, node) {
      const { reason } = error;
      errors.inc({ reason });
      const line = lines.get(reason);
      const at = now();
      if (line !== undefined && at - line.at < lineEvery && at >= line.at) {
        line.omitted += 1;
        return;
      }
      logger.warn(
        { reason, node, omitted: line?.omitted ?? 0, err: error },
        `marks cannot be written: ${error.message}; it is tried again`,
      );
      lines.set(reason, { at, omitted: 0 });
    },

    tampered(node, text) {
      const about = { node, isEnrolled: true, address: 'cluster', isProven: true } as const;
      refused(
        { ...about, code: 'label_tamper', text },
        { node },
        { actor: 'server', action: 'marks.tamper' },
      );
    },

    startupTaintRestored(node) {
      restored.inc();
      logger.info({ node }, 'a controller put its startup taint back; it is removed again, ever more seldom');
    },

    doubted(doubt) {
      trips.inc({ scope: doubt });
      logger.warn({ scope: doubt }, doubtText[doubt]);
    },

    opened({ group, code, value }, nodes, isOurs) {
      trips.inc({ scope: isOurs ? 'our_change' : 'drift' });
      const why = isOurs ? `${value} turned them, and not what they show` : code;
      logger.error(
        { group, code, value, nodes },
        `taints of ${nodes} nodes of group ${group} are held back (${why}): decide with assay breaker release or hold`,
      );
    },

    leaseMoved(isOurs, holder) {
      if (isOurs) logger.info({ holder }, 'this server marks the Nodes of the cluster');
      else
        logger.warn(
          { holder },
          'this server marks no Node: another one has the lease, or it cannot be read or written',
        );
    },

    latchRestored(where) {
      logger.warn({ where }, `the latch was missing in the ${where}, and is there again`);
    },

    unprotected(faults) {
      if (faults.length === 0) logger.info('admission protects the marks of the cluster again');
      else logger.error({ code: 'marks_unprotected' }, faults.join('; '));
    },

    latchUnkept(text) {
      logger.warn(`the latch cannot be kept in the cluster: ${text}`);
    },

    fault,
  };
}

/** How it goes with the marks at each scrape. @param of null: the server marks nothing */
export function markingFigures(figures: Figures, of: (() => MarkingFigures) | null): void {
  let latest: MarkingFigures = none;
  let askedAt = Number.NEGATIVE_INFINITY;
  // One scrape asks once, though several series show it.
  const asked = () => {
    const at = performance.now();
    if (of !== null && at - askedAt > 100) [latest, askedAt] = [of(), at];
    return latest;
  };
  figures.sampled('enforcement_queue_length', 'Nodes that wait to be marked', () => asked().queue);
  figures.sampled('enforcement_leader', '1 where this server marks, since it has the lease; else 0', () =>
    asked().isLeader ? 1 : 0,
  );
  figures.sampledBy(
    'enforcement_mode',
    'Nodes of the cluster by the mode of their group',
    'mode',
    modes,
    (mode) => asked().modes.get(mode) ?? 0,
  );
  figures.sampledBy(
    'enforcement_waiting_nodes',
    'Nodes that lack a mark, or keep one, against their verdict, by why',
    'reason',
    suppressions,
    (reason) => asked().waiting.get(reason) ?? 0,
  );
  figures.sampled(
    'enforcement_wrong_nodes',
    'Nodes whose marks are not as they should be, without a reason for it',
    () => asked().wrong,
  );
  figures.sampledBy(
    'enforcement_wrong_resources',
    'NodeAttestations that are not as they should be: the old ones, reduced to the state alone, or not there',
    'shows',
    wrongResources,
    (shows) => asked().wrongResources.get(shows) ?? 0,
  );
  figures.sampledBy(
    'circuit_breaker_open',
    '1 while taints of drift are held back, else 0',
    'scope',
    breakerScopes,
    (scope) => (asked().open.has(scope) ? 1 : 0),
  );
  figures.sampledBy(
    'mass_failure_nodes',
    'Nodes of one group that fail this code with one value within ten minutes, where they are enough to open the breaker',
    'code',
    drift,
    (code) => asked().mass.get(code) ?? 0,
  );
  figures.gauge(
    'admission_fault',
    '1 where admission may let others change what this server writes into the cluster, by why; else 0',
    ['protects', 'cause'],
    (gauge) => {
      for (const protects of protectedThings)
        for (const cause of admissionFaults) gauge.set({ protects, cause }, 0);
      for (const { protects, cause } of asked().gaps) gauge.set({ protects, cause }, 1);
    },
  );
}

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

/** Codes by which the breaker counts nodes that fail the same way. */
const drift = reasonCodes.filter((code) => classOf(code) === 'drift');

const doubtText = {
  api: 'the API of the cluster fails again and again: no taint of drift is put meanwhile',
  clock: 'the clock of the server was set by more than 30 seconds: no taint of drift is put for ten minutes',
  upgrade: 'another version of the server is new on this store: no taint of drift is put for ten minutes',
} as const;
