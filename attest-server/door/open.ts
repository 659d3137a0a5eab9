/**
 * Decides who may come in at each port, before TLS: the `pace` of new connections, `places` of unproven ones
 * and their bytes, each by source, and the deadline to the request.
 */

import type { DoorPort, HitBound, SourceBounds } from './bounds.ts';
import { createDoor, type Door } from './door.ts';

export interface DoorsConfig {
  readonly sources: SourceBounds;
  /** Milliseconds. */
  readonly helloWithin: number;
}

export interface DoorsParts {
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  readonly turnedAway: (port: DoorPort, bound: HitBound, source: string) => void;
}

/** A door for each port; they share no bound, so that a flood of one port is none of another. */
export interface Doors extends AsyncDisposable, Readonly<Record<DoorPort, Door>> {
  /** What unproven connections hold at present. */
  unproven(port: DoorPort): { readonly bytes: number; readonly connections: number };
  /** Of each port, for people. @param provenAgents those who proved themselves: at the other ports nobody counts them */
  connections(provenAgents: number): readonly {
    readonly port: DoorPort;
    readonly proven: number | null;
    readonly unproven: number;
  }[];
}

export function openDoors({ sources, helloWithin }: DoorsConfig, { now, turnedAway }: DoorsParts): Doors {
  const door = (port: DoorPort) =>
    createDoor({
      bounds: sources,
      within: helloWithin,
      now,
      turnedAway: (bound, source) => turnedAway(port, bound, source),
    });
  const doors = { agents: door('agents'), api: door('api'), metrics: door('metrics') };
  return {
    agents: doors.agents,
    api: doors.api,
    metrics: doors.metrics,
    unproven: (port) => doors[port].unproven,
    connections: (provenAgents) =>
      (['agents', 'api', 'metrics'] as const).map((port) => ({
        port,
        proven: port === 'agents' ? provenAgents : null,
        unproven: doors[port].unproven.connections,
      })),
    async [Symbol.asyncDispose]() {},
  };
}
