import type { NodeView } from '../protocol/api.ts';
import { nodeView, unsupportedView } from './node-view.ts';
import type { ApiPorts } from './ports.ts';

/** A node in a list; it is looked at closely only if it is shown. */
export interface ListedNode {
  readonly name: string;
  readonly view: () => NodeView;
}

/** Every enrolled node, and those without a TPM of which policy says so, in the order of their names. */
export async function listNodes({
  store,
  unsupported,
  now,
}: Pick<ApiPorts, 'unsupported' | 'now'> & {
  readonly store: Pick<ApiPorts['store'], 'nodes' | 'statuses' | 'serverFault'>;
}): Promise<ListedNode[]> {
  const [nodes, statuses] = await Promise.all([store.nodes(), store.statuses()]);
  const byName = new Map(statuses.map((status) => [status.name, status]));
  const names = new Set(nodes.map(({ name }) => name));
  return [
    ...nodes.map((enrolled) => ({
      name: enrolled.name,
      view: () =>
        nodeView(byName.get(enrolled.name) ?? null, enrolled, now(), store.serverFault(enrolled.name)),
    })),
    ...unsupported()
      .filter(({ name }) => !names.has(name))
      .map((node) => ({ name: node.name, view: () => unsupportedView(node) })),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
}
