import * as api from '../api/cluster-api.ts';
import * as shown from '../api/node-api.ts';
import { type AuditKeyCopy, faultOfCopy } from '../formats/audit-key-copy.ts';
import type { Control } from '../marking/control.ts';
import type { Workload } from '../marking/ports.ts';
import { auditKeyId } from '../wire/checkpoint.ts';
import { nodeName } from '../wire/messages.ts';
import { readBody } from './body.ts';
import { clusterView, exemptionView, holdView, pauseView } from './cluster-view.ts';
import { endOf } from './end-of.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';
import { actorOf, bodyBytes, ok, type Route, route, routeWithQuery } from './route.ts';

/** Routes on which people see the marks of their cluster, and decide about them. */
export const clusterRoutes: readonly Route[] = [
  route('GET', '/v1/cluster', 'reader', {
    operation: 'getCluster',
    summary: 'How nodes are marked in the cluster: groups, pause, latch, what the breaker holds, exemptions',
    problems: [409],
    answer: api.clusterView,
    async handle(ports) {
      return ok(clusterView(await controlOf(ports).shown()));
    },
  }),
  route('GET', '/v1/cluster/rights', 'reader', {
    operation: 'getClusterRights',
    summary:
      'Which rights the server has in its cluster, of those that it needs: the API of the cluster is asked for each',
    problems: [409],
    answer: api.clusterRights,
    async handle({ clusterRights }) {
      if (clusterRights === null) throw noCluster();
      const { user, rights } = await clusterRights();
      const view: api.ClusterRightsView = { user, items: [...rights] };
      return ok(view);
    },
  }),
  route('POST', '/v1/cluster/pause', 'operator', {
    operation: 'pauseMarking',
    summary:
      'Add no mark to any node until somebody resumes; the label of nodes that are not trusted still goes',
    body: api.pauseRequest,
    status: 201,
    problems: [409],
    answer: api.pauseView,
    async handle(ports, { message, caller }) {
      const control = controlOf(ports);
      const { reason } = await readBody(message, api.pauseRequest, bodyBytes);
      return { status: 201, body: pauseView(await control.pause(actorOf(caller), reason)) };
    },
  }),
  route('POST', '/v1/cluster/resume', 'operator', {
    operation: 'resumeMarking',
    summary: 'Mark nodes again',
    status: 201,
    problems: [409],
    answer: api.resumeAnswer,
    async handle(ports, { caller }) {
      return { status: 201, body: { wasPaused: await controlOf(ports).resume(actorOf(caller)) } };
    },
  }),
  ...(['hold', 'release'] as const).map((step) =>
    route('POST', `/v1/cluster/breaker/${step}`, 'operator', {
      operation: `${step}Breaker`,
      summary:
        step === 'hold'
          ? 'Keep taints away that wait, whatever the breaker is set to do after a time'
          : 'Let the taints come that wait: what changed is bad indeed',
      body: api.holdRequest,
      status: 201,
      problems: [404, 409],
      answer: api.holdAnswer,
      async handle(ports, { message, caller }) {
        const control = controlOf(ports);
        const { groups, code, reason } = await readBody(message, api.holdRequest, bodyBytes);
        const decision = step === 'hold' ? 'held' : 'released';
        const decided = await control.decide(decision, { groups, code }, { by: actorOf(caller), reason });
        if (decided.length === 0)
          throw new HttpProblem(
            404,
            `nothing waits ${whereOf(groups, code)} that is not ${decision} already`,
            {
              next: 'See what waits:\n  assay breaker list',
            },
          );
        return { status: 201, body: { items: decided.map(holdView) } };
      },
    }),
  ),
  route('POST', '/v1/cluster/exemptions', 'operator', {
    operation: 'exemptNode',
    summary: 'Let a node work although it is not trusted, for a time: no taint of ours, and never the label',
    body: api.exemptRequest,
    status: 201,
    problems: [404, 409],
    answer: shown.exemptionView,
    async handle(ports, { message, caller }) {
      const control = controlOf(ports);
      const { node, reason, ...ending } = await readBody(message, api.exemptRequest, bodyBytes);
      const until = endOf(ending, ports.now(), api.longestExemption);
      const made = await control.exempt({ node, reason, by: actorOf(caller), until });
      if (made === null) throw new HttpProblem(404, `there is no such node: ${node}`);
      return { status: 201, body: exemptionView(made) };
    },
  }),
  route('DELETE', '/v1/cluster/exemptions/{node}', 'operator', {
    operation: 'endExemption',
    summary: 'End the exemption of a node before its time',
    problems: [409],
    answer: api.exemptionEnded,
    async handle(ports, { path, caller }) {
      const control = controlOf(ports);
      const node = nodeName.safeParse(path.node).data;
      if (node === undefined || !(await control.endExemption(node, actorOf(caller))))
        throw new HttpProblem(404, `there is no exemption${node === undefined ? '' : ` of ${node}`}`);
      return ok({ ended: node });
    },
  }),
  routeWithQuery('GET', '/v1/cluster/trust', 'reader', {
    operation: 'tryTrust',
    summary:
      'Whom trust would touch that cannot be taken back: nodes, and DaemonSets and waiting pods that do not tolerate the taints',
    query: api.trustQuery,
    problems: [409],
    answer: api.trustTrial,
    async handle(ports, { query }) {
      const groups = query.groups.split(',').filter((group) => group !== '');
      const { faults, nodes, daemonSets, pendingPods } = await controlOf(ports).tryTrust(groups);
      const view: api.TrustTrialView = {
        groups,
        faults: [...faults],
        nodes: [...nodes],
        daemonSets: daemonSets.map(workloadView),
        pendingPods: pendingPods.map(workloadView),
        auditKey: keySigningNow(ports),
      };
      return ok(view);
    },
  }),
  route('POST', '/v1/cluster/trust', 'admin', {
    operation: 'enableTrust',
    summary:
      'Enable trust for good: mode and require of these groups can no longer shrink. It needs proof of a copy of the audit key',
    body: api.trustRequest,
    status: 201,
    problems: [409],
    answer: api.clusterView,
    async handle(ports, { message, caller }) {
      const control = controlOf(ports);
      const { groups, auditKeyCopy } = await readBody(message, api.trustRequest, bodyBytes);
      checkCopy(ports, auditKeyCopy);
      const person = { by: actorOf(caller), copyOf: keySigningNow(ports).keyId };
      const made = await control.enableTrust(groups, person);
      if ('faults' in made) throw new HttpProblem(409, `trust cannot be enabled: ${made.faults.join('; ')}`);
      return { status: 201, body: clusterView(made) };
    },
  }),
  route('GET', '/v1/cluster/unmark', 'admin', {
    operation: 'tryUnmark',
    summary: 'Which nodes carry marks, and which: what unmark would remove',
    problems: [409],
    answer: api.unmarkTrial,
    handle(ports) {
      const { latched, nodes } = controlOf(ports).tryUnmark();
      const view: api.UnmarkTrialView = {
        latched,
        nodes: nodes.map(({ node, labels, taints, conditions }) => ({
          node,
          labels: [...labels],
          taints: [...taints],
          conditions: [...conditions],
        })),
      };
      return ok(view);
    },
  }),
  route('POST', '/v1/cluster/unmark', 'admin', {
    operation: 'unmarkCluster',
    summary:
      'Pause, and remove every mark from every node: the label first; under the latch only with the uid of the cluster',
    body: api.unmarkRequest,
    status: 201,
    problems: [409],
    answer: api.unmarkAnswer,
    async handle(ports, { message, caller }) {
      const control = controlOf(ports);
      const { clusterUid, reason } = await readBody(message, api.unmarkRequest, bodyBytes);
      const done = await control.unmark({ by: actorOf(caller), reason, clusterUid });
      if ('refused' in done) throw new HttpProblem(409, done.refused);
      const { nodes, attestations } = done;
      return { status: 201, body: { nodes: [...nodes], attestations } };
    },
  }),
];

/** @throws HttpProblem 409 if the server is in no cluster */
function controlOf({ cluster }: Pick<ApiPorts, 'cluster'>): Control {
  if (cluster === null) throw noCluster();
  return cluster;
}

function noCluster(): HttpProblem {
  return new HttpProblem(409, 'this server is set to no cluster, and marks no nodes', {
    next: 'Name the cluster in its configuration: kubernetes.api (ASSAY_KUBERNETES_API).',
  });
}

/** @throws HttpProblem 409 if no copy of the key that signs now is shown: one disk would end what cannot be taken back */
function checkCopy({ audit }: Pick<ApiPorts, 'audit'>, copy: AuditKeyCopy | undefined): void {
  const fault = copy === undefined ? 'none was shown' : faultOfCopy(audit.keys(), copy);
  if (fault === null) return;
  throw new HttpProblem(409, `trust is enabled only if a copy of the audit key is kept elsewhere: ${fault}`, {
    code: 'audit_key_not_copied',
    next: 'Copy audit.key of the state folder to another machine, and show it from there:\n  assay trust enable --audit-key-copy FILE',
  });
}

function keySigningNow({ audit }: Pick<ApiPorts, 'audit'>): { origin: string; keyId: string } {
  const { origin, keys } = audit.keys();
  return { origin, keyId: auditKeyId(origin, Buffer.from(keys.at(-1)?.publicKey ?? '', 'base64')) };
}

function workloadView({ namespace, name }: Workload): { namespace: string; name: string } {
  return { namespace, name };
}

function whereOf(groups: readonly string[], code: string | null): string {
  const where = groups.length === 0 ? 'in any group' : `in ${groups.join(', ')}`;
  return code === null ? where : `${where} with the code ${code}`;
}
