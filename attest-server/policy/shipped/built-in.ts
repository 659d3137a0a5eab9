/** The two policies that are shipped, `observe.yaml` and `strict.yaml`. Only this room reads the two files. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { aspects } from '../aspects.ts';
import { parsePolicy } from '../file/policy-file.ts';
import type { Policy } from '../policy.ts';

/** The policies that come with Assay: files that a person can read and copy, read once. */
function shipped(name: string): Policy {
  return parsePolicy(
    readFileSync(join(import.meta.dirname, `${name}.yaml`), 'utf8').replace(everything, requireAll),
    name,
  );
}

/**
 * The line of `strict` that requires every aspect of the list, so that a new one cannot be left out, but for those that need
 * machines which were prepared for them.
 */
const everything = /^( *)require: \[.*\] # every aspect$/m;
const required = aspects.filter(({ isOptIn }) => isOptIn !== true).map(({ name }) => name);
const requireAll = `$1require: [${required.join(', ')}]`;

/** The policy of a server without a policy file. */
export const observePolicy: Policy = shipped('observe');

/** Every aspect that is built so far, enforced. */
export const strictPolicy: Policy = shipped('strict');

/** The policy of this name; null if none has it, so that it may be a file's. */
export function builtInPolicy(name: string): Policy | null {
  return [observePolicy, strictPolicy].find((policy) => policy.name === name) ?? null;
}
