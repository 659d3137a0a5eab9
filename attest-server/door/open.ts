/**
 * Decides who may come in at each port, before TLS: the `accept-rate` of new connections, `slots` of unproven ones
 * and their bytes, each by source, and the deadline to the request.
 */

import { type Admission, createAdmission } from './admission.ts';
import type { AdmissionPort, HitBound, SourceBounds } from './bounds.ts';

export interface AdmissionsConfig {
  readonly sources: SourceBounds;
  /** Milliseconds. */
  readonly helloWithin: number;
}

export interface AdmissionsParts {
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  readonly turnedAway: (port: AdmissionPort, bound: HitBound, source: string) => void;
}

/** Admission for each port. Ports share no bound, so that a flood of one does not reach another. */
export interface Admissions extends AsyncDisposable, Readonly<Record<AdmissionPort, Admission>> {
  /** Bytes and number of connections that are unproven at present. */
  unproven(port: AdmissionPort): { readonly bytes: number; readonly connections: number };
  /** Of each port, for people. @param provenAgents those who proved themselves: at the other ports nobody counts them */
  connections(provenAgents: number): readonly {
    readonly port: AdmissionPort;
    readonly proven: number | null;
    readonly unproven: number;
  }[];
}

export function openAdmissions(
  { sources, helloWithin }: AdmissionsConfig,
  { now, turnedAway }: AdmissionsParts,
): Admissions {
  const admission = (port: AdmissionPort) =>
    createAdmission({
      bounds: sources,
      within: helloWithin,
      now,
      turnedAway: (bound, source) => turnedAway(port, bound, source),
    });
  const admissions = { agents: admission('agents'), api: admission('api'), metrics: admission('metrics') };
  return {
    agents: admissions.agents,
    api: admissions.api,
    metrics: admissions.metrics,
    unproven: (port) => admissions[port].unproven,
    connections: (provenAgents) =>
      (['agents', 'api', 'metrics'] as const).map((port) => ({
        port,
        proven: port === 'agents' ? provenAgents : null,
        unproven: admissions[port].unproven.connections,
      })),
    async [Symbol.asyncDispose]() {},
  };
}
