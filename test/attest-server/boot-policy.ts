import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import type { Policy } from '../../attest-server/policy/policy.ts';

/** A policy file for tests of identity and boot: `strict` would wait for parts that their machines do not send. */
export const bootPolicyFile = join(import.meta.dirname, 'boot-policy.yaml');

export const bootPolicy: Policy = parsePolicy(readFileSync(bootPolicyFile, 'utf8'), 'boot-policy');
