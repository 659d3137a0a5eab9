import { type StatusView, statusView } from '../../api/server-api.ts';
import { policyLabel } from '../../formats/policy-label.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { exit } from '../exit.ts';
import { relative, utc } from '../moment.ts';
import { countedStates } from '../node-order.ts';
import { type Format, print } from '../output.ts';
import { fields, type LabelledLine } from '../table.ts';
import { waitsForPerson } from './breaker.ts';
import { latchText } from './trust.ts';

/** `status`: how the server is; exits 0 where it is ready, 11 where it says that it is not. */
export async function showStatus({ io, server, exitWith }: CliContext, format: Format): Promise<void> {
  const client = await server();
  const status = await client.get('/v1/status', statusView);
  await print(io, format, status, () => page(status, client.server.host, io.now()));
  exitWith(status.ready.ok ? exit.ok : exit.notTrusted);
}

function page(status: StatusView, host: string, now: number): string {
  const { version, startedAt, ready, stateDir, store, policy, certificates, nodes, waiting, held, faulty } =
    status;
  const moment = (at: string) => `${utc(at)} (${relative(at, now)})`;
  return fields([
    ['Server', `${version} at ${host}`],
    ...trialLines(status),
    ['Started', moment(startedAt)],
    ['Ready', `${ready.ok ? 'yes' : 'no'}${ready.reason === null ? '' : `: ${ready.reason}`}`],
    ['Store', `${size(store.bytes)}, schema ${store.schema}`],
    ['State folder', space(stateDir)],
    ...backupLines(status, now),
    ['Policy', `${policyLabel(policy)}, in force here since ${moment(policy.since)}`],
    ...policyLines(status, now),
    ...declaredLine(status, now),
    ...certificates.map(
      ({ of, expiresAt }) =>
        [
          of === 'server' ? 'Certificate' : 'Authority',
          `${Date.parse(expiresAt) > now ? 'ends' : 'ended'} ${moment(expiresAt)}`,
        ] as const,
    ),
    ...status.connections.map(
      ({ port, proven, unproven }) =>
        [
          `Port ${port}`,
          `${proven === null ? '' : `${proven} agents proven, `}${unproven} connections unproven`,
        ] as const,
    ),
    ['Nodes', countsOf(nodes)],
    ...clusterLines(status, now),
    ...webhookLines(status, now),
    [
      'Waiting',
      `${waiting === 1 ? '1 TPM' : `${waiting} TPMs`} for approval${waiting > 0 ? ': assay enrol list' : ''}`,
    ],
    ...withoutTpmLine(status),
    ...faulty.flatMap(({ part, at, text, next }) => [
      ['Faulty', `${part}, read ${moment(at)}; the old one stays in force:`] as const,
      ...text.split('\n').map((line) => ['', line] as const),
      ...next.split('\n').map((line) => ['', `  ${line}`] as const),
    ]),
    ['Held', held.length === 0 ? 'nothing' : String(held.length)],
    ...held.flatMap(({ node, code, text, next }) => [
      ['', `${node ?? 'the server'}: ${code}: ${text}`] as const,
      ['', `  ${next}`] as const,
    ]),
  ]);
}

function backupLines({ backups }: StatusView, now: number): readonly LabelledLine[] {
  if (backups === undefined) return [];
  if (backups === null) return [['Backups', 'none by themselves (docs/backup.md)']];
  const { count, directory, latestAt, everySeconds, overdue, fault } = backups;
  const latest = latestAt === null ? '' : `, the latest ${utc(latestAt)} (${relative(latestAt, now)})`;
  const isLate = overdue ? [`overdue: one is to be made every ${everySeconds / 3600} h`] : [];
  const wrong = [...isLate, ...(fault === null ? [] : [`the latest try failed: ${printable(fault)}`])];
  return [
    ['Backups', `${count} in ${printable(directory)}${latest}`],
    ...wrong.map((text): LabelledLine => ['', text]),
    ...(wrong.length === 0 ? [] : [['', 'what to do: docs/runbooks/AssayBackupMissing.md'] as const]),
  ];
}

function trialLines({ trial }: StatusView): readonly LabelledLine[] {
  if (!trial) return [];
  return [
    ['Trial', 'the TPMs of its nodes may be programs: no verdict counts, and nothing is marked'],
    ['', 'What enrols now is refused once trial (ASSAY_TRIAL) is off: docs/trial.md'],
  ];
}

/** An earlier policy that people went back to, and another one that is being looked at. */
function policyLines({ policy: { rollback, comparing } }: StatusView, now: number): readonly LabelledLine[] {
  const lines: LabelledLine[] = [];
  if (rollback !== null) {
    const { by, at, reason, insteadOf, source } = rollback;
    const since = `since ${utc(at)} (${relative(at, now)}), by ${by}: ${reason}`;
    lines.push([
      'Rolled back',
      `${since}; ${insteadOf} stays out of force until the policy in ${source} changes`,
    ]);
  }
  if (comparing !== null)
    lines.push([
      'Comparing',
      `${comparing.policy} with it, before it comes into force: ${comparing.judged} nodes so far`,
    ]);
  return lines;
}

function withoutTpmLine({ withoutTpm }: StatusView): readonly LabelledLine[] {
  if (withoutTpm === 0) return [];
  const who = withoutTpm === 1 ? '1 machine says' : `${withoutTpm} machines say`;
  return [['Without TPM', `${who} so: assay get nodes --reason unsupported_tpm`]];
}

/** Which signed directory counts. */
function declaredLine({ declared }: StatusView, now: number): readonly LabelledLine[] {
  if (declared === null) return [];
  const { directory, inForce } = declared;
  const which =
    inForce === null
      ? 'none of it is in force yet'
      : `serial ${inForce.serial} by ${inForce.key}, in force since ${utc(inForce.since)} (${relative(inForce.since, now)})`;
  return [['Declared', `${directory}: ${which}`]];
}

/** Who marks, and what people decided about it. */
function clusterLines({ cluster }: StatusView, now: number): readonly LabelledLine[] {
  if (cluster === null) return [];
  const { synced, nodes, faults, lease, pause, latch, failing, exemptions } = cluster;
  const held = failing.filter(waitsForPerson);
  const waiting = held.reduce((sum, hold) => sum + hold.waiting, 0);
  const ours = [...new Set(held.flatMap(({ ours, value }) => (ours && value !== null ? [value] : [])))];
  const who =
    lease === null
      ? 'no server marks them'
      : lease.ours
        ? 'this server marks them'
        : `another server marks them: ${lease.holder}`;
  return [
    [
      'Cluster',
      synced ? `${nodes} nodes; ${who}` : 'its API has not listed all nodes yet, and nothing is marked',
    ],
    ...faults.map((fault): LabelledLine => ['', `wrong with its API: ${fault}`]),
    ...(pause === null
      ? []
      : ([
          ['Paused', `by ${pause.by} ${relative(pause.at, now)}: ${pause.reason}`],
          ['', '  assay resume'],
        ] as const)),
    [
      'Breaker',
      waiting === 0
        ? 'no taint waits for a person'
        : `the taints of ${waiting} nodes wait: assay breaker list`,
    ],
    ...ours.map(
      (change): LabelledLine => [
        '',
        `turned by a change of ours, and not by the nodes: ${printable(change)}`,
      ],
    ),
    ['Trust', latchText(latch, now)],
    ...exemptions.map(
      ({ node, until, by, reason }): LabelledLine => [
        'Exempt',
        `${node} until ${utc(until)}, by ${by}: ${reason}`,
      ],
    ),
  ];
}

function webhookLines({ webhook }: StatusView, now: number): readonly LabelledLine[] {
  if (webhook === null) return [];
  const { to, waiting, oldestAt, deliveredAt, fault, dropped } = webhook;
  const last =
    deliveredAt === null ? 'nothing delivered since the start' : `delivered ${relative(deliveredAt, now)}`;
  const queue =
    oldestAt === null ? 'nothing waits' : `${waiting} wait, the oldest since ${relative(oldestAt, now)}`;
  return [
    ['Webhook', `${to}: ${last}; ${queue}`],
    ...(fault === null ? [] : [['', fault] as const, ['', '  assay webhook test'] as const]),
    ...(dropped === 0 ? [] : [['', `${dropped} events were dropped, and nobody received them`] as const]),
  ];
}

function countsOf(nodes: StatusView['nodes']): string {
  const counts = countedStates.flatMap((state) => (nodes[state] > 0 ? [`${nodes[state]} ${state}`] : []));
  return counts.length === 0 ? 'none' : counts.join(', ');
}

function space({ free, total }: StatusView['stateDir']): string {
  if (free === null || total === null || total === 0) return 'the file system does not report its free space';
  return `${size(free)} of ${size(total)} free (${Math.floor((100 * free) / total)} %)`;
}

function size(bytes: number): string {
  const [unit, divisor] =
    bytes < 1024 ** 2
      ? (['KiB', 1024] as const)
      : bytes < 1024 ** 3
        ? (['MiB', 1024 ** 2] as const)
        : (['GiB', 1024 ** 3] as const);
  return `${(bytes / divisor).toFixed(1)} ${unit}`;
}
