import { z } from 'zod';
import type { AdmissionReader } from '../marking/ports.ts';
import { orNull } from './ask.ts';
import type { Requests } from './requests.ts';

const group = 'admissionregistration.k8s.io';
const names = z.array(z.string()).default([]);
/** No namespaceSelector: it skips no resource that is in no namespace, as all of ours are. */
const match = z.object({
  resourceRules: z
    .array(
      z.object({
        apiGroups: names,
        apiVersions: names,
        operations: names,
        resources: names,
        resourceNames: names,
        scope: z.string().default('*'),
      }),
    )
    .default([]),
  excludeResourceRules: z.array(z.unknown()).default([]),
  objectSelector: z.record(z.string(), z.unknown()).default({}),
});
const policy = z.object({
  spec: z
    .object({
      failurePolicy: z.string().default('Fail'),
      matchConstraints: match,
      matchConditions: z.array(z.object({ name: z.string() })).default([]),
      validations: z.array(z.unknown()).default([]),
      paramKind: z.unknown().optional(),
    })
    .transform(({ failurePolicy, matchConstraints, matchConditions, validations, paramKind }) => ({
      failurePolicy,
      match: matchConstraints,
      conditions: matchConditions.map(({ name }) => name),
      hasValidations: validations.length > 0,
      hasParams: paramKind != null,
    })),
});
const binding = z.object({
  spec: z
    .object({
      policyName: z.string(),
      validationActions: names,
      matchResources: match.nullish(),
      paramRef: z.unknown().optional(),
    })
    .transform(({ policyName, validationActions, matchResources, paramRef }) => ({
      policyName,
      actions: validationActions,
      match: matchResources ?? null,
      hasParams: paramRef != null,
    })),
});

/** Reads the cluster's admission policies and their bindings. */
export function createAdmissionReader({
  requests,
}: {
  readonly requests: Pick<Requests, 'json'>;
}): AdmissionReader {
  const read = async <T>(plural: string, name: string, schema: z.ZodType<{ readonly spec: T }>) => {
    const found = await orNull(
      requests.json(
        {
          verb: 'get',
          resource: `${plural}.${group}`,
          name,
          path: `/apis/${group}/v1/${plural}/${encodeURIComponent(name)}`,
          lane: 'reads',
        },
        schema,
      ),
    );
    return found?.spec ?? null;
  };
  return {
    policy: (name) => read('validatingadmissionpolicies', name, policy),
    binding: (name) => read('validatingadmissionpolicybindings', name, binding),
  };
}
