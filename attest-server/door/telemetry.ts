import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import { admissionPorts, hitBounds } from './bounds.ts';
import type { Admissions, AdmissionsParts } from './open.ts';

/** A source hit a bound of a port's admission, and was turned away, or another one for it. */
export function admissionReport({
  figures,
  logger,
  now,
  limiter,
}: Reporting): Pick<AdmissionsParts, 'turnedAway'> {
  const refusals = figures.counter(
    'door_refusals_total',
    'Connections refused by a limit, for one source or for all',
    ['port', 'bound'],
    admissionPorts.flatMap((port) => hitBounds.map((bound) => ({ port, bound }))),
  );
  const lines = limiter();
  return {
    turnedAway(port, bound, source) {
      refusals.inc({ port, bound });
      const omitted = lines.take(`${port} ${bound} ${source}`, now());
      if (omitted !== null)
        logger.warn({ port, bound, source, omitted }, 'a source reached a limit of connections');
    },
  };
}

export function admissionFigures(figures: Figures, admissions: Pick<Admissions, 'unproven'>): void {
  figures.sampledBy(
    'unproven_connections',
    'Connections that have proven nothing',
    'port',
    admissionPorts,
    (port) => admissions.unproven(port).connections,
  );
  figures.sampled(
    'unproven_bytes',
    'Bytes of connections of agents that have proven nothing',
    () => admissions.unproven('agents').bytes,
  );
}
