import type { EnrolledNode } from '../enrolment/ports.ts';
import { nodeName } from '../wire/messages.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';

/** The enrolled node of this name. @throws HttpProblem 404 */
export async function findNode(store: ApiPorts['store'], name: string | undefined): Promise<EnrolledNode> {
  const valid = nodeName.safeParse(name).data;
  const enrolled = valid === undefined ? null : await store.node(valid);
  if (enrolled === null) throw noSuchNode(name);
  return enrolled;
}

export function noSuchNode(name: string | undefined): HttpProblem {
  const valid = nodeName.safeParse(name).data;
  return new HttpProblem(404, `there is no such node${valid === undefined ? '' : `: ${valid}`}`);
}
