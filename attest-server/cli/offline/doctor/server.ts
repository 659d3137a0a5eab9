import { type ClusterRightsView, clusterRights } from '../../../api/cluster-api.ts';
import { type StatusView, statusView, type WhoamiView, whoamiView } from '../../../api/server-api.ts';
import { shellWord } from '../../../wire/advice.ts';
import { type Check, finding, okay } from '../../../wire/checks.ts';
import type { Client } from '../../client.ts';
import type { CliContext } from '../../context.ts';
import { CliError } from '../../exit.ts';
import { relative, utc } from '../../moment.ts';

const day = 86_400_000;
/** By then somebody should have renewed it: the server renews its own certificate long before. */
const endsSoon = { server: 7 * day, authority: 30 * day, token: 7 * day } as const;
/** Milliseconds between two clocks by which a short-lived token is misjudged. */
const mostApart = 60_000;
/** Share of the file system of the state folder. */
export const leastFree = 0.1;

/** The server as whoever holds this token sees it. What cannot be asked is named by one check. */
export async function checkServer({ io, server, version }: CliContext): Promise<readonly Check[]> {
  try {
    const client = await server();
    const caller = await client.get('/v1/whoami', whoamiView);
    const status = await client.get('/v1/status', statusView);
    const now = io.now();
    return [
      okay('server', `${client.server.origin}; its certificate is vouched for`),
      checkToken(caller, now),
      status.version === version
        ? okay('versions', `${version}, here and at the server`)
        : finding('versions', 'warning', `${version} here, ${status.version} at the server`, 'assay version'),
      checkClock(client, now),
      ...checkStatus(status, now),
      ...(status.cluster === null ? [] : [await checkRights(client)]),
    ];
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    const { message, hint } = error;
    const lines = (hint ?? '').split('\n');
    const commands = lines.filter((line) => line.startsWith('  ')).map((line) => line.trim());
    const prose = lines.filter((line) => line !== '' && !line.startsWith('  '));
    return [
      finding('server', 'failed', [message, ...prose].join('\n'), commands.join('\n') || 'assay status'),
    ];
  }
}

function checkToken({ name, role, expiresAt }: WhoamiView, now: number): Check {
  const until = expiresAt === null ? 'until it is revoked' : `until ${utc(expiresAt)}`;
  const isSoon = expiresAt !== null && Date.parse(expiresAt) - now < endsSoon.token;
  const next = `assay token create --name ${name.slice(name.indexOf(':') + 1)}-next --role ${role}`;
  return isSoon
    ? finding('token', 'warning', `${name}, ${role}, ends ${relative(expiresAt, now)}`, next)
    : okay('token', `${name}, ${role}, ${until}`);
}

function checkClock({ answeredAt }: Client, now: number): Check {
  const theirs = answeredAt();
  const next = 'timedatectl status';
  if (theirs === null) return finding('clock', 'not looked at', 'the server does not tell its time', next);
  const apart = now - theirs;
  const text = `${Math.round(apart / 1000)} s from that of the server`;
  return Math.abs(apart) <= mostApart ? okay('clock', text) : finding('clock', 'failed', text, next);
}

function checkStatus(status: StatusView, now: number): readonly Check[] {
  const { ready, certificates, stateDir, faulty, held, trial, webhook } = status;
  const log = 'journalctl -u assay-server -n 50';
  return [
    ready.ok
      ? okay('readiness', ready.reason ?? 'it is ready')
      : finding('readiness', 'failed', ready.reason ?? 'it is not ready', log),
    ...certificates.map(({ of, expiresAt }) => {
      const name = of === 'server' ? 'certificate' : 'authority';
      const left = Date.parse(expiresAt) - now;
      const text = `${left > 0 ? 'ends' : 'ended'} ${utc(expiresAt)} (${relative(expiresAt, now)})`;
      if (left >= endsSoon[of]) return okay(name, text);
      return finding(
        name,
        left > 0 ? 'warning' : 'failed',
        text,
        of === 'server' ? log : 'assay authority rotate',
      );
    }),
    checkSpace(stateDir),
    ...checkBackups(status, log),
    ...faulty.map(({ part, text, next }) => finding(part, 'failed', text, next)),
    ...held.map(({ node, code, text, next }) => finding(node ?? code, 'warning', `${code}: ${text}`, next)),
    checkCluster(status),
    ...(trial
      ? [finding('trial', 'warning', 'no verdict counts, and nothing is marked', 'assay status')]
      : []),
    ...(webhook === null
      ? []
      : [
          webhook.fault === null
            ? okay('webhook', webhook.to)
            : finding('webhook', 'failed', webhook.fault, 'assay webhook test'),
        ]),
  ];
}

function checkBackups({ backups }: StatusView, next: string): readonly Check[] {
  if (backups == null) return [];
  const { count, directory, latestAt, overdue, fault } = backups;
  const latest = latestAt === null ? 'none yet' : `the latest ${utc(latestAt)}`;
  const found = `${count} in ${directory}, ${latest}`;
  if (!overdue && fault === null) return [okay('backups', found)];
  const text = [found, ...(overdue ? ['one is overdue'] : []), ...(fault === null ? [] : [fault])].join('; ');
  return [finding('backups', overdue ? 'failed' : 'warning', text, next)];
}

function checkSpace({ free, total }: StatusView['stateDir']): Check {
  if (free === null || total === null || total === 0)
    return finding('space', 'not looked at', 'the file system does not report it', 'assay status');
  const text = `${Math.floor((100 * free) / total)} % of the file system of the state folder is free`;
  return free / total >= leastFree ? okay('space', text) : finding('space', 'warning', text, 'assay status');
}

function checkCluster({ cluster }: StatusView): Check {
  if (cluster === null)
    return finding('cluster', 'not looked at', 'the server marks no nodes', 'assay get policy');
  const { synced, faults, lease, nodes } = cluster;
  if (faults.length > 0) return finding('cluster', 'failed', faults.join('\n'), 'assay status');
  if (!synced) return finding('cluster', 'failed', 'its API has not listed all nodes yet', 'assay status');
  return lease === null
    ? finding('cluster', 'warning', 'no server marks its nodes', 'assay status')
    : okay('cluster', nodes === 1 ? '1 node' : `${nodes} nodes`);
}

/** The server asks the API of its cluster for each right: nobody else may ask as the server. */
async function checkRights(client: Client): Promise<Check> {
  const asked = await client.get('/v1/cluster/rights', clusterRights).catch((error: unknown) => {
    if (error instanceof CliError) return error;
    throw error;
  });
  if (asked instanceof CliError)
    return finding('cluster rights', 'not looked at', asked.message, 'assay status');
  const { user, items } = asked;
  const missing = items.filter(({ allowed }) => !allowed);
  if (missing.length === 0) return okay('cluster rights', `${user} has all ${items.length}`);
  const isUsual = /^system:serviceaccount:[^:]+:assay-server$/.test(user);
  const text = [
    `${user} lacks ${missing.length} of ${items.length}:`,
    ...missing.map((right) => `- ${rightText(right)}; without it waits: ${right.waits}`),
    isUsual
      ? 'Apply its roles again: with Helm by the first command, else by the second, below the installed package or a clone.'
      : 'Give it what manifests/base/rbac/server.yaml grants to the account assay-server. What it has:',
  ];
  const next = isUsual
    ? 'helm get manifest assay | kubectl apply -f -\nkubectl apply -f manifests/base/rbac/server.yaml'
    : `kubectl auth can-i --list --as ${shellWord(user)}`;
  return finding('cluster rights', 'failed', text.join('\n'), next);
}

function rightText({ verb, group, resource, namespace, name }: ClusterRightsView['items'][number]): string {
  const [plural = '', subresource] = resource.split('/');
  return [
    `${verb} ${plural}${group === '' ? '' : `.${group}`}${subresource === undefined ? '' : `/${subresource}`}`,
    ...(name === null ? [] : [`named ${name}`]),
    ...(namespace === null ? [] : [`in ${namespace}`]),
  ].join(' ');
}
