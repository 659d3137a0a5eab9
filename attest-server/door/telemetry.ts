import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import { doorPorts, hitBounds } from './bounds.ts';
import type { Doors, DoorsParts } from './open.ts';

/** A source hit a bound of a port's door, and was turned away, or another one for it. */
export function doorReport({ figures, logger, now, limiter }: Reporting): Pick<DoorsParts, 'turnedAway'> {
  const refusals = figures.counter(
    'door_refusals_total',
    'Connections refused by a limit, for one source or for all',
    ['port', 'bound'],
    doorPorts.flatMap((port) => hitBounds.map((bound) => ({ port, bound }))),
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

export function doorFigures(figures: Figures, doors: Pick<Doors, 'unproven'>): void {
  figures.sampledBy(
    'unproven_connections',
    'Connections that have proven nothing',
    'port',
    doorPorts,
    (port) => doors.unproven(port).connections,
  );
  figures.sampled(
    'unproven_bytes',
    'Bytes of connections of agents that have proven nothing',
    () => doors.unproven('agents').bytes,
  );
}
