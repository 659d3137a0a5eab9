import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { checkPolicy } from '../policy/file/policy-file.ts';
import type { Enrolment, Policy } from '../policy/policy.ts';
import { observePolicy, strictPolicy } from '../policy/shipped/built-in.ts';

/**
 * A built-in policy by its name, or a file; null is `observe`. What is doubtful in it is logged.
 * @param methods by which nodes can enrol at this server
 * @throws PolicyError with every fault of the file
 */
export async function readPolicy(
  name: string | null,
  methods: readonly Enrolment[],
  logger: Logger,
): Promise<Policy> {
  if (name === null || name === observePolicy.name) return observePolicy;
  if (name === strictPolicy.name) return strictPolicy;
  const { policy, warnings } = checkPolicy(await readFile(name, 'utf8'), name, methods);
  for (const { line, field, text } of warnings) logger.warn({ file: name, line, field }, text);
  return policy;
}
