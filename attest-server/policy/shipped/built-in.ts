import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parsePolicy } from '../file/policy-file.ts';
import type { Policy } from '../policy.ts';

/** The policies that come with Assay: files that a person can read and copy, read once. */
function shipped(name: string): Policy {
  return parsePolicy(readFileSync(join(import.meta.dirname, `${name}.yaml`), 'utf8'), name);
}

/** What holds without a policy file. */
export const observePolicy: Policy = shipped('observe');

/** Every aspect that is built so far, enforced. */
export const strictPolicy: Policy = shipped('strict');
