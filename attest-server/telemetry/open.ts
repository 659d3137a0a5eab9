/**
 * The means by which a room reports (`reporting`): the registry of metrics (`figures`), the log and what of a
 * flood it says (`log-limiter`), and the audit log. All nodes, counted at each scrape (`fleet`), and series of
 * each (`node-series`). The `telemetry` file of a room says what its events do to metrics, log and audit log.
 */

import type { Logger } from 'pino';
import type { ProbePorts } from '../http/probes.ts';
import { Figures } from './figures.ts';
import { type FleetSources, fleetFigures } from './fleet.ts';
import { type AuditPort, createReporting, type Reporting } from './reporting.ts';

export interface TelemetryParts {
  readonly logger: Logger;
  readonly version: string;
  /** Whether the server is on trial. */
  readonly trial: boolean;
  /** Whether the metrics have series of each node. */
  readonly perNode: boolean;
  /** Milliseconds between two challenges of a node. */
  readonly challengeEvery: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Metrics, logs and audit events of the server. It holds nothing that must be closed. */
export interface Telemetry extends AsyncDisposable {
  readonly reporting: Reporting;
  /** Where events go that belong into the audit log; those that came before wait for it. */
  auditTo(audit: AuditPort): void;
  /** Metrics of all rooms, and of the nodes, at a scrape. */
  scraped(sources: FleetSources): ProbePorts['metrics'];
}

export function openTelemetry(parts: TelemetryParts): Telemetry {
  const { logger, version, trial, perNode, challengeEvery, now } = parts;
  const figures = new Figures();
  figures.gauge('build_info', 'Always 1; the label is the version', ['version']).set({ version }, 1);
  figures
    .gauge('challenge_interval_seconds', 'Time between two challenges of a node')
    .set(challengeEvery / 1000);
  figures
    .gauge('trial', '1 on a server on trial, whose verdicts count for nothing; else 0')
    .set(trial ? 1 : 0);
  const { reporting, auditTo } = createReporting({ figures, logger, now });
  return {
    reporting,
    auditTo,
    scraped: (sources) => fleetFigures(figures, perNode, sources),
    async [Symbol.asyncDispose]() {},
  };
}
