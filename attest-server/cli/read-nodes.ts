import { listOf, type NodeView, nodeView } from '../protocol/api.ts';
import type { Client } from './client.ts';

const nodeList = listOf(nodeView);

/** Every node that the server knows, page by page. */
export async function readNodes(server: Client): Promise<readonly NodeView[]> {
  const nodes: NodeView[] = [];
  let after: string | null = null;
  do {
    const query: string = after === null ? '' : `?after=${encodeURIComponent(after)}`;
    const page = await server.get(`/v1/nodes${query}`, nodeList);
    nodes.push(...page.items);
    after = page.items.length === 0 ? null : page.next;
  } while (after !== null);
  return nodes;
}
