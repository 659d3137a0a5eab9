import type { NodeStatus, Store } from '../store/store.ts';
import type { ApiPorts } from './ports.ts';

/** What was last found of nodes, as the server has it in memory. */
export interface Statuses {
  status(name: string): NodeStatus | null;
  statuses(): readonly NodeStatus[];
}

/** What the API and the metrics show of the store. */
export function shownStore(
  store: Pick<Store, 'node' | 'nodes' | 'history' | 'references'>,
  inMemory: Statuses,
): ApiPorts['store'] {
  return {
    node: (name) => store.node(name),
    nodes: () => store.nodes(),
    history: (name, page) => store.history(name, page),
    references: () => store.references(),
    // The deadlines of a server that was down are extended in memory, so the states are too.
    status: async (name) => inMemory.status(name),
    statuses: async () => inMemory.statuses(),
  };
}
