import { type HistoryView, nodeView } from '../../../protocol/api.ts';
import { printable } from '../../../protocol/printable.ts';
import { type Client, Refusal } from '../../client.ts';
import { CliError, exit } from '../../exit.ts';
import { readHistory } from '../../read-history.ts';
import { readNodes } from '../../read-nodes.ts';
import { type BootSide, readNodeSide } from './side.ts';

/** An earlier boot of a node, and when it was last found trusted (RFC 3339). */
export interface TrustedBoot {
  readonly side: BootSide;
  readonly at: string;
}

const pageSize = 500;

/**
 * The last boot of a node before the one that runs which was trusted, and of which evidence is kept.
 * @throws CliError that says what else to compare with
 */
export async function readLastTrusted(server: Client, name: string): Promise<TrustedBoot> {
  const node = await server.get(`/v1/nodes/${encodeURIComponent(name)}`, nodeView);
  // A server of before calls it otherwise.
  const seenAt = node.bootSeenAt ?? node.bootedAt;
  if (seenAt === null)
    throw new CliError(
      `${printable(name)} has proven no boot yet`,
      `See why:\n  assay why ${printable(name)}`,
      exit.error,
    );
  let isErased = false;
  let before: string | null = String(Date.parse(seenAt));
  while (before !== null) {
    const page = await readHistory(server, name, { limit: pageSize, transitions: false, before });
    for (const entry of page.items) {
      // What changed nothing is erased long before what did.
      if (entry.state !== 'trusted' || entry.evidence === null || (isErased && !entry.transition)) continue;
      const side = await readKept(server, entry, entry.evidence);
      if (side !== null) return { side, at: entry.at };
      isErased = true;
    }
    before = page.next;
  }
  throw await nothingToCompare(server, name, node.group, isErased);
}

/** Null where it was erased. */
async function readKept(server: Client, { node }: HistoryView, evidence: string): Promise<BootSide | null> {
  try {
    return await readNodeSide(server, node, evidence);
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
}

async function nothingToCompare(
  server: Client,
  name: string,
  group: string | null,
  isErased: boolean,
): Promise<CliError> {
  const alike = (await readNodes(server)).find(
    (other) => other.name !== name && other.state === 'trusted' && other.group === group,
  );
  const hint =
    alike === undefined
      ? 'Compare it with a firmware log or a bundle of a good boot:\n  assay boot diff FILE'
      : `Compare it with a node of its group that is trusted:\n  assay boot diff ${printable(alike.name)}`;
  return new CliError(
    isErased
      ? `the server keeps no evidence of an earlier trusted boot of ${printable(name)}`
      : `${printable(name)} has no earlier boot that was trusted`,
    `${hint} ${printable(name)}`,
    exit.error,
  );
}
