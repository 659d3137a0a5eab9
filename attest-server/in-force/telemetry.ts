import { policyLabel } from '../formats/policy-label.ts';
import { turnsUntrusted } from '../formats/trust-loss.ts';
import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import type { RulesInForce } from './open.ts';
import { type FaultyPart, type ReloadedPart, reloadedParts } from './reload.ts';
import type { InForceReport } from './report.ts';

/** How many nodes a line of the log names. */
const mostNodes = 20;

export function inForceReport({ figures, logger, now, audit }: Reporting): InForceReport {
  const policies = figures.gauge(
    'policy_last_change_timestamp_seconds',
    'When another policy came into force',
    ['policy'],
  );
  const reloadFailures = figures.counter(
    'reload_failures_total',
    'Parts that were faulty when the server read them again',
    ['part'],
    reloadedParts.map((part) => ({ part })),
  );
  let inForce: string | null = null;
  return {
    policyInForce(policy) {
      const subject = policyLabel(policy);
      policies.reset();
      policies.set({ policy: policy.name }, now() / 1000);
      if (subject === inForce) return;
      logger.info({ policy: subject, before: inForce }, 'another policy is in force');
      audit('policy.load', subject, { before: inForce });
      inForce = subject;
    },

    policyCompared(policy, nodes) {
      const changed = nodes.filter((each) => each.changed);
      const untrusted = changed.filter(turnsUntrusted);
      const fields = {
        policy: policyLabel(policy),
        nodes: nodes.length,
        unjudged: nodes.filter(({ after }) => after === null).length,
        changed: changed.length,
        untrusted: untrusted.length,
        named: [...new Set([...untrusted, ...changed])].slice(0, mostNodes).map(({ node }) => node),
      };
      const text = `on the latest evidence, the new policy changes the verdict of ${changed.length} of ${nodes.length} nodes; ${untrusted.length} turn untrusted`;
      logger[untrusted.length > 0 ? 'warn' : 'info'](fields, text);
    },

    notReloaded(part, text) {
      reloadFailures.inc({ part });
      // Of a file with many faults the log has all; the audit log says that it was refused, and the first of them.
      audit('reload.refuse', part, { text: text.slice(0, 1000) });
    },
  };
}

export function inForceFigures(
  figures: Figures,
  {
    faulty,
    history,
  }: Pick<RulesInForce, 'faulty'> & {
    readonly history: Pick<RulesInForce['history'], 'comparing' | 'rollback'>;
  },
): void {
  const faultOf = (part: ReloadedPart) => faulty().find((its) => its.part === part);
  figures.sampledBy(
    'reload_faulty',
    '1 while the old form of this part is in force, since the new one has faults, else 0',
    'part',
    reloadedParts,
    (part) => (faultOf(part) === undefined ? 0 : 1),
  );
  figures.sampledBy(
    'policy_refused_nodes',
    'Trusted nodes that a policy would make untrusted, which is refused for that; 0: none is refused. -1: it could not be compared',
    'part',
    ['declared', 'policy'],
    (part) => refusedNodes(faultOf(part)?.refused ?? null),
  );
  figures.sampled(
    'policy_comparing',
    '1 while a policy is compared with the one in force before it takes its place, else 0',
    () => (history.comparing() === null ? 0 : 1),
  );
  figures.sampled(
    'policy_rollback_timestamp_seconds',
    'Since when an earlier policy is in force in place of the one that is given; 0: it is not',
    () => (history.rollback()?.at ?? 0) / 1000,
  );
}

function refusedNodes(refused: FaultyPart['refused']): number {
  if (refused === null) return 0;
  return refused.untrusted === 0 ? -1 : refused.untrusted;
}
