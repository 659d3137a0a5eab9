import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { attestationResource, latchResource, resourceGroup, resourceVersion } from '../formats/marks.ts';
import {
  ClusterError,
  type ClusterLease,
  type ClusterNode,
  type ClusterWriter,
  type PatchOperation,
  type Workload,
} from '../marking/ports.ts';
import { isNotFound, orNull } from './ask.ts';
import { createConfigMaps } from './config-maps.ts';
import { createEvents } from './events.ts';
import { parseNode } from './node.ts';
import type { ClusterRequest, Requests } from './requests.ts';
import { markingLease } from './rights.ts';

export interface WriterParts {
  readonly requests: Pick<Requests, 'json'>;
  /** The server's own. */
  readonly namespace: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const apiVersion = `${resourceGroup}/${resourceVersion}`;
const ours = `/apis/${apiVersion}`;
const attestations = `${ours}/${attestationResource.plural}`;
/** Objects of one page of a list, and how many workloads a dry run reads at most. */
const perPage = 500;
const mostWorkloads = 20_000;

const items = z.object({
  metadata: z.object({ continue: z.string().nullish() }).nullish(),
  items: z.array(z.unknown()).nullish(),
});
const about = z.object({
  metadata: z.object({
    name: z.string(),
    namespace: z.string().default(''),
    resourceVersion: z.string().optional(),
    uid: z.string().default(''),
  }),
});
const attestation = about.extend({ status: z.unknown().optional() });
/** That it is there is what counts: one whose content was taken away holds for all groups. */
const latch = z.object({
  spec: z
    .object({ groups: z.array(z.string()).default([]), by: z.string(), enabledAt: z.string() })
    .catch({ groups: [], by: 'unknown', enabledAt: '' }),
});
const lease = about.extend({
  spec: z
    .object({
      holderIdentity: z.string().nullish(),
      leaseDurationSeconds: z.number().nullish(),
      renewTime: z.string().nullish(),
      acquireTime: z.string().nullish(),
      leaseTransitions: z.number().nullish(),
    })
    .default({}),
});
const ofLease = { resource: 'leases.coordination.k8s.io', name: markingLease, lane: 'reads' } as const;
const tolerations = z
  .array(
    z.object({
      key: z.string().exactOptional(),
      operator: z.string().exactOptional(),
      value: z.string().exactOptional(),
      effect: z.string().exactOptional(),
    }),
  )
  .nullish();
const daemonSet = about.extend({
  spec: z.object({ template: z.object({ spec: z.object({ tolerations }) }) }),
});
const pod = about.extend({ spec: z.object({ tolerations }) });

/** Writes the server's changes to the cluster. */
export function createWriter({ requests, namespace, now }: WriterParts): ClusterWriter {
  const leases = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const configMaps = createConfigMaps({ requests });
  const applyStatus = (name: string, status: Readonly<Record<string, unknown>>) =>
    requests.json(
      {
        verb: 'apply',
        resource: `${attestationResource.plural}.${resourceGroup}/status`,
        name,
        path: `${attestations}/${encodeURIComponent(name)}/status`,
        query: { force: 'true' },
        body: { apiVersion, kind: attestationResource.kind, metadata: { name }, status },
        lane: 'resources',
      },
      attestation,
    );
  const makeWith = async (name: string, status: Readonly<Record<string, unknown>>) => {
    await requests
      .json({
        verb: 'apply',
        resource: `${attestationResource.plural}.${resourceGroup}`,
        name,
        path: `${attestations}/${encodeURIComponent(name)}`,
        query: { force: 'true' },
        body: { apiVersion, kind: attestationResource.kind, metadata: { name } },
        lane: 'resources',
      })
      .catch(asMissingDefinition);
    return applyStatus(name, status);
  };
  const listAll = async <T>(asked: Omit<ClusterRequest, 'verb' | 'name' | 'lane'>, schema: z.ZodType<T>) => {
    const found: T[] = [];
    let next = '';
    do {
      const query = { ...asked.query, limit: String(perPage), ...(next !== '' && { continue: next }) };
      const page = await requests.json({ ...asked, query, verb: 'list', name: '', lane: 'reads' }, items);
      for (const item of page.items ?? []) {
        const parsed = schema.safeParse(item);
        if (parsed.success) found.push(parsed.data);
      }
      next = page.metadata?.continue ?? '';
    } while (next !== '' && found.length < mostWorkloads);
    return found;
  };

  const writer: ClusterWriter = {
    patchNode: (name, operations, subresource = '') =>
      requests.json(
        {
          verb: 'patch',
          resource: `nodes${subresource}`,
          name,
          path: `/api/v1/nodes/${encodeURIComponent(name)}${subresource}`,
          body: operations,
          tests: operations.some(({ op }) => op === 'test'),
          lane: 'marks',
        },
        asNode,
      ),

    readNode: (name) =>
      orNull(
        requests.json(
          {
            verb: 'get',
            resource: 'nodes',
            name,
            path: `/api/v1/nodes/${encodeURIComponent(name)}`,
            lane: 'marks',
          },
          asNode,
        ),
      ),

    async applyAttestation({ name }, status, isThere) {
      const applied = isThere ? await orNull(applyStatus(name, status)) : null;
      const { status: shown } = applied ?? (await makeWith(name, status));
      if (isDeepStrictEqual(shown, status)) return;
      // What others wrote beside it stays with what is applied, and may be greener.
      await writer.removeAttestation(name);
      await makeWith(name, status);
    },

    async attestations() {
      const resource = `${attestationResource.plural}.${resourceGroup}`;
      const found = await listAll({ resource, path: attestations }, attestation).catch(asMissingDefinition);
      return found.map(({ metadata: { name }, status }) => ({ name, status }));
    },

    async removeAttestation(name) {
      await orNull(
        requests.json({
          verb: 'delete',
          resource: `${attestationResource.plural}.${resourceGroup}`,
          name,
          path: `${attestations}/${encodeURIComponent(name)}`,
          lane: 'resources',
        }),
      );
    },

    event: createEvents({ requests, now }),

    async readLatch() {
      const found = await orNull(
        requests.json(
          {
            verb: 'get',
            resource: `${latchResource.plural}.${resourceGroup}`,
            name: latchResource.name,
            path: `${ours}/${latchResource.plural}/${latchResource.name}`,
            lane: 'reads',
          },
          latch,
        ),
      );
      return found === null ? null : found.spec;
    },

    async applyLatch(wanted) {
      const before = await writer.readLatch();
      if (before !== null && covers(before.groups, wanted.groups)) return;
      const { plural, name, kind } = latchResource;
      const about = { resource: `${plural}.${resourceGroup}`, lane: 'reads' } as const;
      const path = `${ours}/${plural}`;
      // Never by server-side apply: a set that is applied without its items takes the whole spec with it.
      const asked: ClusterRequest =
        before === null
          ? {
              ...about,
              verb: 'create',
              name: '',
              path,
              body: { apiVersion, kind, metadata: { name }, spec: wanted },
            }
          : {
              ...about,
              verb: 'patch',
              name,
              path: `${path}/${name}`,
              ...widened(before.groups, wanted.groups),
            };
      await requests.json(asked).catch(asMissingDefinition);
    },

    readConfig: (name) => configMaps.read({ namespace, name }),
    writeConfig: (name, data) => configMaps.write({ namespace, name }, data, 'make'),

    async workloads() {
      const daemonSets = await listAll(
        { resource: 'daemonsets.apps', path: '/apis/apps/v1/daemonsets' },
        daemonSet,
      );
      const pods = await listAll(
        {
          resource: 'pods',
          path: '/api/v1/pods',
          query: { fieldSelector: 'spec.nodeName=,status.phase=Pending' },
        },
        pod,
      );
      return {
        daemonSets: daemonSets.map(({ metadata, spec }) =>
          workload(metadata, spec.template.spec.tolerations),
        ),
        pendingPods: pods.map(({ metadata, spec }) => workload(metadata, spec.tolerations)),
      };
    },

    async uid() {
      const name = 'kube-system';
      const { metadata } = await requests.json(
        { verb: 'get', resource: 'namespaces', name, path: `/api/v1/namespaces/${name}`, lane: 'reads' },
        about,
      );
      if (metadata.uid === '')
        throw new ClusterError('failed', 'get namespaces kube-system: the answer names no uid');
      return metadata.uid;
    },

    async readLease() {
      const found = await orNull(
        requests.json({ ...ofLease, verb: 'get', path: `${leases}/${ofLease.name}` }, lease),
      );
      return found && asLease(found);
    },

    async writeLease(wanted) {
      const { name } = ofLease;
      const { holder, durationSeconds, renewedAt, acquiredAt, transitions, resourceVersion } = wanted;
      const body = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name, namespace, ...(resourceVersion !== null && { resourceVersion }) },
        spec: {
          // Given back: the field of a holder may not be empty.
          ...(holder !== null && { holderIdentity: holder }),
          leaseDurationSeconds: durationSeconds,
          leaseTransitions: transitions,
          ...(renewedAt !== null && { renewTime: renewedAt }),
          ...(acquiredAt !== null && { acquireTime: acquiredAt }),
        },
      };
      const asked: ClusterRequest =
        resourceVersion === null
          ? { ...ofLease, verb: 'create', path: leases, body }
          : { ...ofLease, verb: 'update', path: `${leases}/${name}`, body };
      return asLease(await requests.json(asked, lease));
    },
  };
  return writer;
}

function asLease({ metadata, spec }: z.infer<typeof lease>): ClusterLease {
  return {
    holder: spec.holderIdentity || null,
    durationSeconds: spec.leaseDurationSeconds ?? 0,
    renewedAt: spec.renewTime ?? null,
    acquiredAt: spec.acquireTime ?? null,
    transitions: spec.leaseTransitions ?? 0,
    resourceVersion: metadata.resourceVersion ?? null,
  };
}

const asNode: z.ZodType<ClusterNode> = z.unknown().transform((object, context) => {
  try {
    return parseNode(object);
  } catch {
    context.addIssue({ code: 'custom', message: 'no Node' });
    return z.NEVER;
  }
});

/** Groups that are none stand for all of today and tomorrow. */
function covers(held: readonly string[], wanted: readonly string[]): boolean {
  if (held.length === 0) return true;
  return wanted.length > 0 && wanted.every((group) => held.includes(group));
}

/** Who switched it on first, and when, stays. */
function widened(held: readonly string[], wanted: readonly string[]): Pick<ClusterRequest, 'body' | 'tests'> {
  const groups = wanted.length === 0 ? [] : [...new Set([...held, ...wanted])];
  const path = '/spec/groups';
  return {
    tests: true,
    body: [
      { op: 'test', path, value: held },
      { op: 'replace', path, value: groups },
    ],
  };
}

function workload(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  held: z.infer<typeof tolerations>,
): Workload {
  return { namespace, name, tolerations: held ?? [] };
}

/** Of a kind of resource that the cluster does not know, not even the list is there. */
function asMissingDefinition(error: unknown): never {
  if (!isNotFound(error)) throw error;
  throw new ClusterError(
    'not_found',
    `the cluster has no resources of ${apiVersion}: apply manifests/base/crds`,
    null,
    error,
  );
}
