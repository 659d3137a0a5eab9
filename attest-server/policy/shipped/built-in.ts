import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtAspects } from '../aspects.ts';
import { parsePolicy } from '../file/policy-file.ts';
import type { Policy } from '../policy.ts';

/** The policies that come with Assay: files that a person can read and copy, read once. */
function shipped(name: string): Policy {
  return parsePolicy(
    readFileSync(join(import.meta.dirname, `${name}.yaml`), 'utf8').replace(everything, requireAll),
    name,
  );
}

/** What `strict` requires is every aspect of the list, so that a new one cannot be left out. */
const everything = /^( *)require: \[.*\] # every aspect$/m;
const requireAll = `$1require: [${builtAspects.join(', ')}]`;

/** What holds without a policy file. */
export const observePolicy: Policy = shipped('observe');

/** Every aspect that is built so far, enforced. */
export const strictPolicy: Policy = shipped('strict');

/** That of this name; null where none has it, so that it may be a file's. */
export function builtInPolicy(name: string): Policy | null {
  return [observePolicy, strictPolicy].find((policy) => policy.name === name) ?? null;
}
