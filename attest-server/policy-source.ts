import { readFile } from 'node:fs/promises';
import { observePolicy, strictPolicy } from './policy/built-in.ts';
import type { Enrolment, Policy } from './policy/policy.ts';
import { parsePolicy } from './policy/policy-file.ts';

/**
 * A built-in policy by its name, or a file; null is `observe`.
 * @throws PolicyError with every fault of the file
 */
export async function readPolicy(name: string | null, ways: readonly Enrolment[]): Promise<Policy> {
  if (name === null || name === observePolicy.name) return observePolicy;
  if (name === strictPolicy.name) return strictPolicy;
  return parsePolicy(await readFile(name, 'utf8'), name, ways);
}
