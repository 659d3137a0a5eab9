import { z } from 'zod';
import { plainName } from '../../formats/reference.ts';
import { gateActions, longestGateTimeout } from '../../wire/gate.ts';
import { reasonCodes } from '../../wire/reasons.ts';
import { modes, severities } from '../../wire/verdict.ts';
import { aspects, type BuiltAspect, builtAspects } from '../aspects.ts';
import { isNetwork, isRecipient } from '../keys.ts';
import { defaultEnrolments, enrolments } from '../policy.ts';

/** The fault of a field or value that the grammar knows and this version does not build. */
export const unsupported = 'not supported by this version';

const nodeGlob = z
  .string()
  .max(253)
  .regex(/^[a-z0-9.*?-]+$/, 'not a glob on a node name: lower-case letters, digits, dot, dash, * and ?')
  .regex(
    /^(?![.-])(?!.*([.]{2}|[.]-|-[.])).*(?<![.-])$/,
    'no node name is like this, so that no node could match',
  );

/** `boot`, or `{boot: tpm}`: that the TPM, and not the node alone, vouches for it. */
const required = z.union([
  z.enum(builtAspects),
  ...builtAspects.map((name) => z.strictObject({ [name]: z.literal('tpm') })),
]);

/** Which aspect an entry of `require` asks for, and whether the TPM must vouch for it. */
export function requiredAspect(entry: z.output<typeof required>): {
  readonly name: BuiltAspect;
  readonly byTpm: boolean;
} {
  if (typeof entry === 'string') return { name: entry, byTpm: false };
  const name = builtAspects.find((built) => built in entry);
  if (name === undefined) throw new Error('the schema of require lets an aspect through that is none');
  return { name, byTpm: true };
}

const labelName = /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

const groupBase = z.strictObject({
  name: plainName,
  nodes: z
    .array(nodeGlob)
    .min(1, 'no glob, so that no node could match')
    .max(256)
    .describe('globs on the node name; the first group that matches applies'),
  labels: z
    .record(
      z.string().regex(labelName, 'not the name of a label'),
      z.string('a label’s value is text: put it in quotes').max(63),
    )
    .default({})
    .describe('labels that the node must have, with these values; a node outside a cluster has no labels'),
  mode: z
    .enum(modes)
    .default('observe')
    .describe('observe: judged and shown; label and enforce also mark the node'),
  tpm: z
    .enum(['required', 'absent'])
    .default('required')
    .describe('absent: machines without a usable TPM, which are unsupported and never trusted'),
  tpmClass: z
    .array(z.enum(['discrete', 'firmware', 'virtual']))
    .min(1, 'empty, so that no TPM could do; leave it out for any')
    .max(3)
    .optional()
    .describe('allowed classes of TPM, according to the root that endorsed it; default: any'),
  enrolment: z
    .array(z.enum(enrolments))
    .min(1, 'empty, so that no node could enrol')
    .default([...defaultEnrolments])
    .describe('the methods with which a TPM may enrol'),
  require: z
    .array(required)
    .min(1, 'empty: a policy that requires nothing proves nothing')
    .default(['identity'])
    .describe('aspects that must be affirmed; {boot: tpm} demands that the TPM vouches for it'),
  freshness: z
    .int()
    .min(1)
    .max(86_400)
    .optional()
    .describe('seconds for which a verdict counts; never longer than the server is set to'),
  gate: z
    .strictObject({
      timeout: z
        .int()
        .min(1)
        .max(longestGateTimeout)
        .describe('seconds that a gate waits for identity and boot to be affirmed'),
      onTimeout: z
        .enum(gateActions)
        .default('hold')
        .describe('hold: kubelet does not start; open: it starts, on a node that is not proven'),
    })
    .optional()
    .describe('for nodes with a gate before kubelet (docs/gate.md); default: it waits without end'),
  keys: z
    .strictObject({
      recoveryRecipients: z
        .array(z.string().max(128).refine(isRecipient, 'not an age recipient (age1…), or mistyped'))
        .min(1, 'empty, so that nobody could open a disk without the server')
        .max(16)
        .describe('age recipients, each of whom can open every disk of these nodes without the server'),
      from: z
        .array(z.string().refine(isNetwork, 'not a network, such as 10.0.0.0/8'))
        .min(1, 'empty, so that no node could get a key; leave it out for any network')
        .max(64)
        .optional()
        .describe('networks from which a node may ask for its key; default: any'),
      allowUnmeasuredRoot: z
        .boolean()
        .default(false)
        .describe(
          'true: a node gets its key although nothing that was measured vouches for its root file system, as on stock distributions',
        ),
    })
    .optional()
    .describe('keys of the disks of these nodes (docs/disk-keys.md); default: none is given to them'),
  reaction: z.literal('none', unsupported).optional(),
  severity: z
    .partialRecord(z.enum(reasonCodes), z.enum(severities))
    .default({})
    .describe('how much a reason weighs, per code'),
});
/** A group that fits the grammar: its own members, and under their names what it says of aspects. */
export const groupInFile = groupBase.loose();

/** Each aspect that has rules brings their schema along. */
const group = groupBase.extend(
  Object.fromEntries(
    aspects.flatMap(({ name, schema }) => (schema === null ? [] : [[name, schema.optional()]])),
  ),
);

/** The policy file, as far as this version is built; `contradictions.ts` adds what spans several fields. */
export const policySchema = z.strictObject({
  apiVersion: z.literal('assay.dev/v1'),
  kind: z.literal('Policy'),
  groups: z.array(group).min(1, 'a policy without a group judges nothing').max(1024),
});

/** The JSON schema of the policy file, for editors and third parties. */
export function policyJsonSchema(): object {
  const { $schema, ...rest } = z.toJSONSchema(policySchema, { io: 'input' });
  return { $schema, title: 'Assay policy, assay.dev/v1', ...rest };
}

const grammar = z.toJSONSchema(policySchema, { io: 'input' });

/** Keys that the grammar knows at a place, to find the one that was meant; empty if there is none. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  let place: unknown = grammar;
  for (const step of path)
    place =
      typeof step === 'number' ? memberOf(place, 'items') : memberOf(memberOf(place, 'properties'), step);
  const names = memberOf(place, 'propertyNames');
  const keys = Object.keys(memberOf(place, 'properties') ?? {});
  return path.at(-1) === 'severity' && names !== undefined ? reasonCodes : keys;
}

function memberOf(value: unknown, key: PropertyKey): object | undefined {
  const member: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
  return typeof member === 'object' && member !== null ? member : undefined;
}
