import type { Logger } from 'pino';
import type { HistoryEntry } from '../attest/ports.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { type AuditPort, createReporter, type Reporter } from './report.ts';

export interface TelemetryParts {
  readonly logger: Logger;
  readonly version: string;
  /** Whether the metrics have series of each node. */
  readonly perNode: boolean;
  /** Milliseconds between two challenges of a node. */
  readonly challengeEvery: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of every verdict once it is committed. */
  readonly recorded: (entry: HistoryEntry) => void;
}

/** What the outside is told of what happens inside. It holds nothing that must be closed. */
export interface Telemetry extends AsyncDisposable {
  readonly metrics: Metrics;
  readonly report: Reporter;
  /** Where events go that belong into the audit log; those that came before wait for it. */
  auditTo(audit: AuditPort): void;
}

export function openTelemetry(parts: TelemetryParts): Telemetry {
  const { logger, version, perNode, challengeEvery, now, recorded } = parts;
  const metrics = createMetrics({ version, perNode, challengeEvery });
  const { report, auditTo } = createReporter({ logger, metrics, now, recorded });
  return { metrics, report, auditTo, async [Symbol.asyncDispose]() {} };
}
