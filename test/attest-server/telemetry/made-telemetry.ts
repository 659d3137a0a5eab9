import { pino } from 'pino';
import type { FleetSources } from '../../../attest-server/telemetry/fleet.ts';
import { openTelemetry, type TelemetryParts } from '../../../attest-server/telemetry/open.ts';

const none = () => [];

/** Telemetry that logs nothing and knows of no node, save what is given; and what a scrape tells. */
export function madeTelemetry(given: Partial<TelemetryParts & FleetSources> = {}) {
  const parts = { logger: pino({ level: 'silent' }), now: () => 7, ...given };
  const telemetry = openTelemetry({
    version: '0.1.0',
    trial: false,
    perNode: true,
    challengeEvery: 60_000,
    ...parts,
  });
  const sources = { flapping: none, unenrolled: none, claimedWithoutTpm: none, ...given };
  return { ...telemetry, scraped: telemetry.scraped(sources) };
}
