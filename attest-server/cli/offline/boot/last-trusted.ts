import type { HistoryView } from '../../../api/api.ts';
import { printable } from '../../../wire/printable.ts';
import type { ReasonCode } from '../../../wire/reasons.ts';
import { type Client, Refusal } from '../../client.ts';
import { CliError, exit } from '../../exit.ts';
import { readHistory } from '../../read-history.ts';
import { readNode, readNodes } from '../../read-nodes.ts';
import { type BootSide, readNodeSide } from './side.ts';

/** An earlier boot of a node, and when it was last found trusted (RFC 3339). */
export interface TrustedBoot {
  readonly side: BootSide;
  readonly at: string;
  /** Why it may be no good boot: its policy did not require what stood against it. */
  readonly doubt: ReasonCode | null;
}

const pageSize = 500;

/**
 * The last boot of a node before the one that runs which was trusted, and of which evidence is kept: where there is one,
 * one against which nothing stood.
 * @throws CliError that says what else to compare with
 */
export async function readLastTrusted(server: Client, name: string): Promise<TrustedBoot> {
  const node = await readNode(server, name);
  const seenAt = node.bootSeenAt;
  if (seenAt === null)
    throw new CliError(
      `${printable(name)} has proven no boot yet`,
      `See why:\n  assay why ${printable(name)}`,
      exit.error,
    );
  const kept = new KeptSides(server);
  const doubtful: HistoryView[] = [];
  let before: string | null = String(Date.parse(seenAt));
  while (before !== null) {
    const page = await readHistory(server, name, { limit: pageSize, transitions: false, before });
    for (const entry of page.items) {
      if (entry.state !== 'trusted') continue;
      if (doubtOf(entry) !== null) doubtful.push(entry);
      else {
        const found = await kept.of(entry);
        if (found !== null) return found;
      }
    }
    before = page.next;
  }
  for (const entry of doubtful) {
    const found = await kept.of(entry);
    if (found !== null) return found;
  }
  throw await nothingToCompare(server, name, node.group, kept.isErased);
}

/** Attack: a boot that nobody knew, trusted while the policy asked for less, stands for the good one. */
function doubtOf({ reasons }: HistoryView): ReasonCode | null {
  return reasons.find((reason) => reason.aspect === 'boot' && reason.class === 'drift')?.code ?? null;
}

class KeptSides {
  readonly #server: Client;
  isErased = false;

  constructor(server: Client) {
    this.#server = server;
  }

  async of(entry: HistoryView): Promise<TrustedBoot | null> {
    const { at, evidence, transition } = entry;
    // What changed nothing is erased long before what did.
    if (evidence === null || (this.isErased && !transition)) return null;
    const side = await readKept(this.#server, entry, evidence);
    this.isErased ||= side === null;
    return side && { side, at, doubt: doubtOf(entry) };
  }
}

/** Null if it was erased. */
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
