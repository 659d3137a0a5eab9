import { z } from 'zod';
import type { ResourceRequest } from './api-request.ts';
import { badRequest, type Cause, invalid, invalidValue, notSupported } from './status.ts';

/** How something is deleted, said in the body, or in the query where there is no body. */
export interface DeleteOptions {
  readonly uid: string | null;
  readonly resourceVersion: string | null;
  readonly dryRun: boolean;
  /** Finalizers that it gets: a controller would take them away again. */
  readonly finalizers: readonly string[];
  /** Null: as long as the object says itself. Seconds. */
  readonly grace: number | null;
}

const bodySchema = z.object({
  kind: z.literal('DeleteOptions').nullish(),
  dryRun: z.array(z.string()).nullish(),
  gracePeriodSeconds: z.int().nullish(),
  orphanDependents: z.boolean().nullish(),
  propagationPolicy: z.string().nullish(),
  preconditions: z.object({ uid: z.string().nullish(), resourceVersion: z.string().nullish() }).nullish(),
});

const policies = ['Foreground', 'Background', 'Orphan'] as const;
const finalizersBy: Readonly<Record<string, readonly string[]>> = {
  Foreground: ['foregroundDeletion'],
  Orphan: ['orphan'],
};

/** @param body null where there is none. @throws ApiError 400, 422 */
export function parseDeleteOptions({ query }: ResourceRequest, body: unknown): DeleteOptions {
  const parsed = bodySchema.safeParse(body ?? ofQuery(query));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const why = `${issue?.path.join('.')}: ${issue?.message}`;
    throw badRequest(`the body of a deletion is no DeleteOptions: ${why}`);
  }
  const { preconditions, gracePeriodSeconds, ...said } = parsed.data;
  const dryRun = said.dryRun ?? [];
  const policy = said.propagationPolicy ?? null;
  const causes: Cause[] = [];
  if (policy !== null && said.orphanDependents != null) {
    const why = 'orphanDependents and deletionPropagation cannot be both set';
    causes.push(invalidValue('propagationPolicy', policy, why));
  } else if (policy !== null && !policies.some((known) => known === policy)) {
    causes.push(notSupported('propagationPolicy', policy, [...policies, 'nil']));
  }
  if (dryRun.some((value) => value !== 'All')) causes.push(notSupported('dryRun', dryRun, ['All']));
  if (causes.length > 0) throw invalid({ group: 'meta.k8s.io', resource: 'DeleteOptions' }, causes);
  return {
    uid: preconditions?.uid ?? null,
    resourceVersion: preconditions?.resourceVersion ?? null,
    dryRun: dryRun.length > 0,
    finalizers: finalizersBy[policy ?? (said.orphanDependents === true ? 'Orphan' : '')] ?? [],
    grace: gracePeriodSeconds ?? null,
  };
}

function ofQuery(query: URLSearchParams) {
  const grace = query.get('gracePeriodSeconds');
  return {
    ...(query.has('dryRun') && { dryRun: query.getAll('dryRun') }),
    ...(grace !== null && { gracePeriodSeconds: /^-?\d+$/.test(grace) ? Number(grace) : grace }),
    ...(query.has('propagationPolicy') && { propagationPolicy: query.get('propagationPolicy') }),
    ...(query.has('orphanDependents') && { orphanDependents: query.get('orphanDependents') === 'true' }),
  };
}
