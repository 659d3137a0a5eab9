/**
 * Which nodes are gone from the cluster: `absence` decides; `presence` looks each second, writes down who
 * leaves, and archives who is gone for long. A node that is gone is hidden (`isHidden`), unless something is
 * held against it.
 */

import type { Absence, PresencePorts, PresentNodes } from './ports.ts';
import { Presence, type PresenceConfig, type PresenceFigures } from './presence.ts';

/** Which nodes are gone from the cluster. */
export interface PresenceRoom extends AsyncDisposable {
  /** Whether a node is missed or gone: that its evidence is overdue is shown, and not stored. */
  isAway(name: string): boolean;
  /** Gone, and nothing is held against it: no alert, no series, not counted, not in lists. */
  isHidden(name: string): boolean;
  /** Those of these that are not hidden. */
  present<Node extends { readonly name: string }>(nodes: readonly Node[]): readonly Node[];
  absenceOf(name: string): Absence | null;
  /** The same of any node, also an archived one. */
  readAbsence(name: string): Promise<Absence | null>;
  recalled(name: string): void;
  /** A node has proven itself. */
  proven(name: string): void;
  figures(): PresenceFigures;
  /** Looks from now on, until it is disposed of. `connected` gives null if a node's agent has no proven connection. */
  begin(
    nodes: Omit<PresentNodes, 'isConnected'>,
    agents: { connected(node: string): object | null },
  ): AsyncDisposable;
}

/** Milliseconds between two looks. */
const lookEvery = 1000;

export async function openPresence(config: PresenceConfig, ports: PresencePorts): Promise<PresenceRoom> {
  const { store, nodes, now, report } = ports;
  if (nodes === null)
    await store.forgetAll((count) => ({
      at: now(),
      actor: 'server',
      action: 'node.back',
      subject: 'nodes',
      code: null,
      detail: { by: 'server', count },
    }));
  const presence = new Presence(ports, config, nodes === null ? [] : await store.load());
  return {
    isAway: (name) => presence.isAway(name),
    isHidden: (name) => presence.isHidden(name),
    present: (nodes) => nodes.filter(({ name }) => !presence.isHidden(name)),
    absenceOf: (name) => presence.absenceOf(name),
    readAbsence: (name) => presence.readAbsence(name),
    recalled: (name) => presence.recalled(name),
    proven: (name) => presence.proven(name),
    figures: () => presence.figures(),
    begin(present, agents) {
      presence.begin({ ...present, isConnected: (node) => agents.connected(node) !== null });
      let looking: Promise<void> | null = null;
      const timer = setInterval(() => {
        looking ??= presence
          .look()
          .catch((error: unknown) => report.fault(error, 'presence'))
          .finally(() => {
            looking = null;
          });
      }, lookEvery);
      return {
        async [Symbol.asyncDispose]() {
          clearInterval(timer);
          await looking;
        },
      };
    },
    async [Symbol.asyncDispose]() {},
  };
}
