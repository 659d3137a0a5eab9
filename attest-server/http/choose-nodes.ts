import type { NodeView } from '../api/node-api.ts';
import { type NodeFilter, type Selector, selects } from '../api/node-filter.ts';
import { suggestion } from '../formats/nearest.ts';
import type { ListedNode } from './node-list.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';

interface PageBounds {
  /** Only nodes behind this name. */
  readonly after: string | undefined;
  readonly most: number;
}

/**
 * The nodes of a list that were asked for; no more of them are looked at closely than it takes.
 * @throws HttpProblem 400 for a group that neither the policy nor any node has, and for labels that nobody knows
 */
export function chooseNodes(
  listed: readonly Pick<ListedNode, 'name' | 'view'>[],
  { state, reason, group, selector }: NodeFilter,
  ports: Pick<ApiPorts, 'labelsOf' | 'policy'>,
  { after, most }: PageBounds,
): readonly NodeView[] {
  const hasLabels = labelTest(selector, ports);
  if (group !== undefined) checkGroups(group, ports, () => listed.flatMap(({ view }) => view().group ?? []));
  const found: NodeView[] = [];
  for (const { name, view } of listed) {
    if (found.length === most) break;
    if ((after !== undefined && name <= after) || !hasLabels(name)) continue;
    const node = view();
    const isWanted =
      (state?.includes(node.state) ?? true) &&
      (reason === undefined || node.reasons.some(({ code }) => reason.includes(code))) &&
      (group === undefined || (node.group !== null && group.includes(node.group)));
    if (isWanted) found.push(node);
  }
  return found;
}

/** Empty is no answer to a question that nobody can answer. */
function labelTest(
  selector: Selector | undefined,
  { labelsOf }: Pick<ApiPorts, 'labelsOf'>,
): (node: string) => boolean {
  if (selector === undefined) return () => true;
  if (labelsOf === null)
    throw new HttpProblem(400, 'selector: no labels are known, because this server is not in a cluster');
  return (node) => selects(selector, labelsOf(node));
}

/**
 * A misspelt group would otherwise look like one in which no node has a fault.
 * @param shown groups of verdicts from an earlier policy
 * @throws HttpProblem 400
 */
export function checkGroups(
  wanted: readonly string[],
  { policy }: Pick<ApiPorts, 'policy'>,
  shown: () => readonly string[],
): void {
  let known: ReadonlySet<string> = new Set(policy().groups.map(({ name }) => name));
  if (wanted.every((name) => known.has(name))) return;
  known = new Set([...known, ...shown()]);
  const unknown = wanted.find((name) => !known.has(name));
  if (unknown === undefined) return;
  const choice = known.size === 0 || known.size > 12 ? '' : `; there are ${[...known].join(', ')}`;
  throw new HttpProblem(
    400,
    `group: there is no group ${unknown.slice(0, 64)}${suggestion(unknown, [...known]) || choice}`,
  );
}
