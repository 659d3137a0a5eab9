import { z } from 'zod';
import { reasonCodes } from '../protocol/reasons.ts';
import { plainName } from '../protocol/reference.ts';
import { builtAspects, defaultEnrolments, enrolments } from './policy.ts';

/** Of a field or value that the grammar knows and this version does not build. */
export const unsupported = 'not supported by this version';

const nodeGlob = z
  .string()
  .max(253)
  .regex(/^[a-z0-9.*?-]+$/, 'not a glob on a node name: lower-case letters, digits, dot, dash, * and ?');

const group = z.strictObject({
  name: plainName,
  nodes: z.array(nodeGlob).min(1, 'no glob, so that no node could match').max(256),
  mode: z.enum(['observe', 'label', 'enforce']).default('observe'),
  enrolment: z
    .array(z.enum(enrolments))
    .min(1, 'empty, so that no node could enrol')
    .default([...defaultEnrolments]),
  require: z
    .array(z.enum(builtAspects))
    .min(1, 'empty: a policy that requires nothing proves nothing')
    .default(['identity']),
  boot: z
    .strictObject({
      references: z
        .array(plainName)
        .min(1, 'empty, so that no boot could match; leave it out for any active reference of the group')
        .max(256)
        .optional(),
    })
    .optional(),
  // Of these only what holds anyway: it promises nothing that is not done.
  labels: z
    .record(z.string(), z.unknown())
    .refine((labels) => Object.keys(labels).length === 0, unsupported)
    .optional(),
  tpm: z.literal('required', unsupported).optional(),
  reaction: z.literal('none', unsupported).optional(),
  severity: z.partialRecord(z.enum(reasonCodes), z.enum(['fail', 'warn', 'info'])).default({}),
});

/** The policy file, as far as this version is built; `policy-file.ts` adds what spans several fields. */
export const policySchema = z.strictObject({
  apiVersion: z.literal('assay.dev/v1'),
  kind: z.literal('Policy'),
  groups: z.array(group).min(1, 'a policy without a group judges nothing').max(1024),
});

/** The JSON schema of the policy file, for editors and third parties. */
export function policyJsonSchema(): object {
  return z.toJSONSchema(policySchema, { io: 'input' });
}

/** What the grammar knows and this version does not build: refused, since ignoring it would promise a check. */
export const notBuilt = {
  group: ['disk', 'firewall', 'host', 'keys', 'runtime', 'tpmClass'],
  boot: ['secureBoot', 'cmdline', 'scope'],
  require: ['runtime', 'disk', 'firewall', 'host'],
} as const satisfies Record<string, readonly string[]>;
