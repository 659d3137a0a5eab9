import type { NodeLine } from '../api/node-api.ts';
import { suggestion } from '../formats/nearest.ts';
import type { NodeState } from '../wire/verdict.ts';
import { CliError, exit } from './exit.ts';

type NodeOrder = (a: NodeLine, b: NodeLine) => number;

/** In the order in which a person looks at them. */
export const worstFirst: readonly NodeState[] = ['untrusted', 'unknown', 'pending', 'unsupported', 'trusted'];

const orders = {
  name: byText(({ name }) => name),
  state: (a, b) => worstFirst.indexOf(a.state) - worstFirst.indexOf(b.state),
  reason: byText(({ reason }) => reason),
  group: byText(({ group }) => group),
  since: newestFirst(({ since }) => since),
  age: newestFirst(({ enrolledAt }) => enrolledAt),
  verified: newestFirst(({ verifiedAt }) => verifiedAt),
} as const satisfies Readonly<Record<string, NodeOrder>>;

/** The values of `--sort-by`. */
export const nodeOrders = Object.keys(orders);

/** Equal ones stand by their names. @throws CliError (usage) */
export function compareBy(column: string): NodeOrder {
  const [, order] = Object.entries(orders).find(([name]) => name === column) ?? [];
  if (order === undefined)
    throw new CliError(
      `--sort-by ${column} is not an order${suggestion(column, nodeOrders)}`,
      `Nodes are sorted by ${nodeOrders.join(', ')}.`,
      exit.usage,
    );
  return (a, b) => order(a, b) || orders.name(a, b);
}

/** Nodes without one stand last. */
function byText(of: (node: NodeLine) => string | null): NodeOrder {
  return (a, b) => {
    const [left, right] = [of(a), of(b)];
    if (left === right) return 0;
    if (left === null || right === null) return left === null ? 1 : -1;
    return left < right ? -1 : 1;
  };
}

/** Moments are RFC 3339 in UTC: their texts stand in the order of time. */
function newestFirst(of: (node: NodeLine) => string | null): NodeOrder {
  return (a, b) => {
    const [left, right] = [of(a), of(b)];
    return left === null || right === null ? byText(of)(a, b) : byText(of)(b, a);
  };
}

/** In the order in which states are counted for people. */
export const countedStates: readonly NodeState[] = [
  'trusted',
  'untrusted',
  'pending',
  'unknown',
  'unsupported',
];
