import type { Policy } from './policy.ts';
import { parsePolicy } from './policy-file.ts';

const observe = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: default
    nodes: ["*"]
    mode: observe
    require: [identity]
`;

const strict = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: default
    nodes: ["*"]
    mode: enforce
    require: [identity, boot]
`;

/** What holds without a policy file. */
export const observePolicy: Policy = parsePolicy(observe, 'observe');

/** Every aspect that is built so far, enforced. */
export const strictPolicy: Policy = parsePolicy(strict, 'strict');
