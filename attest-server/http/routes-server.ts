import { join } from 'node:path';
import { type StatusView, statusView, versionView, type WhoamiView, whoamiView } from '../api/server-api.ts';
import { type DeclaredFault, declaredFiles } from '../formats/declared.ts';
import { revisionOf } from '../formats/policy-label.ts';
import { webhookTest } from '../formats/webhook.ts';
import { shellWord } from '../wire/advice.ts';
import { nodeStates } from '../wire/verdict.ts';
import { readBody } from './body.ts';
import { clusterView } from './cluster-view.ts';
import { listNodes } from './node-list.ts';
import { rfc3339 } from './node-view.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';
import { actorOf, bodyBytes, nothing, ok, type Route, route } from './route.ts';

/** The server itself, and who asks it. */
export const serverRoutes: readonly Route[] = [
  route('GET', '/v1/version', 'reader', {
    operation: 'getVersion',
    summary: 'The version of the server',
    answer: versionView,
    handle: ({ server: { version } }) => ok({ version }),
  }),
  route('GET', '/v1/whoami', 'reader', {
    operation: 'getCaller',
    summary: 'Who the token of this request is for, what it may do, and until when',
    answer: whoamiView,
    handle(_ports, { caller }) {
      if (caller === null || caller.role === 'none') throw new Error('whoami was called without a caller');
      const { name, role, expiresAt } = caller;
      const view: WhoamiView = { name, role, expiresAt: rfc3339(expiresAt) };
      return ok(view);
    },
  }),
  route('GET', '/v1/status', 'reader', {
    operation: 'getStatus',
    summary:
      'How the server is: readiness, store, backups, policy, certificates, connections, nodes by state, what is held',
    answer: statusView,
    async handle(ports) {
      const { server, ready, policy } = ports;
      const { name, revision } = policy();
      const cluster = ports.cluster && clusterView(await ports.cluster.shown());
      const view: StatusView = {
        version: server.version,
        startedAt: new Date(server.startedAt).toISOString(),
        trial: server.trial,
        ready: ready(),
        stateDir: server.space(),
        store: server.store(),
        backups: backupsView(server.backups()),
        policy: {
          name,
          revision,
          since: new Date(server.policySince()).toISOString(),
          rollback: policyRollback(ports),
          comparing: ports.policyHistory.comparing(),
        },
        declared: declaredView(server.declared()),
        certificates: server.certificates().map(({ of, expiresAt }) => ({
          of,
          expiresAt: new Date(expiresAt).toISOString(),
        })),
        connections: [...server.connections()],
        nodes: await nodesByState(ports),
        waiting: (await ports.enrolment.approvals.waiting()).length,
        withoutTpm: ports.enrolment.claimedWithoutTpm().length,
        faulty: server.faulty().map(({ part, at, text, refused }) => ({
          part,
          at: new Date(at).toISOString(),
          text,
          next:
            refused === null ? nextFor(part, text, server, cluster) : nextForRefused(part, refused, server),
          refused: refused && {
            policy: refused.policy,
            digest: refused.digest,
            trusted: refused.trusted,
            untrusted: refused.untrusted,
          },
        })),
        cluster,
        webhook: ports.webhook?.shown() ?? null,
        held: [
          ...rollback(ports),
          ...belowLatch(cluster, server),
          ...(await heldNodes(ports)),
          ...(await ofEndedTrial(ports)),
        ],
      };
      return ok(view);
    },
  }),
  route('POST', '/v1/webhook/test', 'operator', {
    operation: 'testWebhook',
    summary: 'Send a message to the webhook now, and say what became of it',
    body: nothing,
    status: 201,
    problems: [409],
    answer: webhookTest,
    async handle({ webhook }, { message, caller }) {
      await readBody(message, nothing, bodyBytes);
      if (webhook === null)
        throw new HttpProblem(409, 'the server has no webhook', {
          next: 'Set webhook.url and webhook.secretFile: docs/events.md.',
        });
      return { status: 201, body: await webhook.test(actorOf(caller)) };
    },
  }),
];

/** The command that says what is wrong with a part of the configuration. */
function nextFor(
  part: string,
  text: string,
  server: ApiPorts['server'],
  cluster: StatusView['cluster'],
): string {
  const check = (policy: string) =>
    `assay policy check ${shellWord(policy)}${cluster?.latch == null ? '' : ' --latched'}`;
  if (part === 'policy') return check(server.policySource());
  const shown = server.declared();
  if (part !== 'declared' || shown === null) return 'journalctl -u assay-server -n 50';
  const { directory, inForce } = shown;
  // Of these the files alone do not tell: whoever checks them finds nothing.
  const known = new Map<string, string>([
    ['serial', `assay declare ${shellWord(directory)} --serial ${(inForce?.serial ?? 0) + 1}`],
    ['pins', 'assay get enrolments'],
    ['policy', check(join(directory, declaredFiles.policy))],
  ] satisfies [DeclaredFault, string][]);
  return known.get(text.split(':', 1)[0] ?? '') ?? 'assay-server check --here';
}

/** How a person sees what a refused policy would do, and has it nevertheless. */
function nextForRefused(
  part: string,
  { digest }: { readonly digest: string },
  server: ApiPorts['server'],
): string {
  const directory = part === 'declared' ? server.declared()?.directory : undefined;
  const source = directory === undefined ? server.policySource() : join(directory, declaredFiles.policy);
  const allow = `assay policy allow ${revisionOf(digest)} --reason "these nodes should lose their trust"`;
  return `assay policy simulate ${shellWord(source)}\n${allow}`;
}

function policyRollback({ policyHistory, server }: ApiPorts): StatusView['policy']['rollback'] {
  const rollback = policyHistory.rollback();
  if (rollback === null) return null;
  const { by, reason, at, insteadOf } = rollback;
  return {
    by,
    reason,
    at: new Date(at).toISOString(),
    insteadOf: revisionOf(insteadOf),
    source: server.policySource(),
  };
}

function declaredView(shown: ReturnType<ApiPorts['server']['declared']>): StatusView['declared'] {
  if (shown === null) return null;
  const { directory, inForce } = shown;
  if (inForce === null) return { directory, inForce };
  const { serial, key, digest, at } = inForce;
  return { directory, inForce: { serial, key, digest, since: new Date(at).toISOString() } };
}

function backupsView(shown: ReturnType<ApiPorts['server']['backups']>): StatusView['backups'] {
  if (shown === null) return null;
  const { directory, every, keep, count, latestAt, isOverdue, fault } = shown;
  return {
    directory,
    keep,
    count,
    fault,
    overdue: isOverdue,
    everySeconds: Math.round(every / 1000),
    latestAt: rfc3339(latestAt),
  };
}

async function nodesByState(ports: ApiPorts): Promise<StatusView['nodes']> {
  const states = (await listNodes(ports)).map(({ view }) => view().state);
  const counts = { pending: 0, trusted: 0, untrusted: 0, unknown: 0, unsupported: 0 };
  for (const state of nodeStates) counts[state] = states.filter((each) => each === state).length;
  return counts;
}

function rollback({ audit }: ApiPorts): StatusView['held'] {
  if (audit.rollback() === null) return [];
  return [
    {
      node: null,
      code: 'audit_rollback',
      text: 'entries may be missing, until a person says why',
      next: 'assay audit resolve --reason "the database was restored from a copy"',
    },
  ];
}

/** The policy in force asks for less than the latch wants, as after a new installation. */
function belowLatch(
  cluster: StatusView['cluster'],
  { policySource }: Pick<ApiPorts['server'], 'policySource'>,
): StatusView['held'] {
  const next = `assay policy check ${shellWord(policySource())} --latched`;
  return (cluster?.latch?.faults ?? []).map((text) => ({ node: null, code: 'latched', text, next }));
}

async function heldNodes({ store }: ApiPorts): Promise<StatusView['held']> {
  return (await store.statuses()).flatMap(({ name, ekDigest, sequence }) =>
    sequence === null || sequence.held === null
      ? []
      : [
          {
            node: name,
            code: sequence.held,
            text: 'its TPM is held: its proofs do not count until a person approves its key again',
            next: `assay enrol approve ${name} --ek ${ekDigest}`,
          },
        ],
  );
}

/** Nodes that enrolled while the server was on trial: each waits for a person since. */
async function ofEndedTrial({ server, store }: ApiPorts): Promise<StatusView['held']> {
  if (server.trial) return [];
  return (await store.nodes()).flatMap(({ name, ekDigest, trial }) =>
    trial === true
      ? [
          {
            node: name,
            code: 'trial_enrolment',
            text: 'it enrolled while the server was on trial: it is refused until a person approves its key again',
            next: `assay enrol approve ${name} --ek ${ekDigest}`,
          },
        ]
      : [],
  );
}
