import { existsSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { clusterView, type LatchView, type TrustTrialView, trustTrial } from '../../api/cluster-api.ts';
import { type AuditKeyCopy, showCopy } from '../../formats/audit-key-copy.ts';
import { printable } from '../../wire/printable.ts';
import type { Client } from '../client.ts';
import { type Consent, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import type { CliIo } from '../io.ts';
import { relative, utc } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { readFile } from '../read-file.ts';
import { counted, listed } from '../sentence.ts';

export interface TrustOptions extends Consent {
  readonly group?: readonly string[];
  readonly auditKeyCopy?: string;
  readonly output: Format;
}

/** `trust enable`: for good; first it says whom that touches, and asks. */
export async function enableTrust({ io, server }: CliContext, options: TrustOptions): Promise<void> {
  const { group: groups = [], output: format, dryRun = false } = options;
  const ask = questions(io, options);
  const client = await server();
  const trial = await client.get(
    `/v1/cluster/trust?groups=${encodeURIComponent(groups.join(','))}`,
    trustTrial,
  );
  if (dryRun) await print(io, format, trial, () => trialText(trial));
  if (trial.faults.length > 0)
    throw new CliError(
      `trust cannot be enabled: ${trial.faults.map(printable).join('; ')}`,
      'Correct the policy first; or name the groups that are ready with --group.',
    );
  if (dryRun) return;
  const copy = trial.auditKey && readCopy(io, trial.auditKey.keyId, options.auditKeyCopy);
  io.err(trialText(trial));
  await ask('This cannot be taken back in this cluster. Enable trust?');
  const request = { groups, ...(copy !== undefined && { auditKeyCopy: copy }) };
  const { latch } = await client.post('/v1/cluster/trust', request, clusterView);
  await print(io, format, latch, () => `${latchText(latch, io.now())}\n`);
}

/** Signs with the copy, here: the key itself goes nowhere. @throws CliError if no copy of an audit key is named */
function readCopy({ cwd }: CliIo, keyId: string, given: string | undefined): AuditKeyCopy {
  if (given === undefined)
    throw new CliError(
      `nothing was changed: trust is enabled only if a copy of the audit key (${printable(keyId)}) is kept elsewhere`,
      copying,
      exit.usage,
    );
  const file = resolve(cwd, given);
  const bytes = readFile(file);
  // Its database beside it: that is the state folder of a server, which is lost as a whole; a link to it is no copy.
  if (existsSync(join(dirname(realpathSync(file)), 'assay.db')))
    throw new CliError(`${file} is beside a server's database: that is not a copy elsewhere`, copying);
  const shown = showCopy(bytes.toString('utf8'));
  if (shown === null) throw new CliError(`${file} is no audit key, or a damaged one`, copying);
  return shown;
}

const copying =
  'Copy audit.key of the state folder to another machine, and name that copy with --audit-key-copy FILE; only a signature of it is sent.';

/** `trust status`: exits 11 where trust is not enabled. */
export async function showTrust(
  { io, server, exitWith }: CliContext,
  { output: format }: { readonly output: Format },
): Promise<void> {
  const latch = await readLatch(await server());
  await print(io, format, latch, () => `${latchText(latch, io.now())}\n`);
  exitWith(latch === null ? exit.notTrusted : exit.ok);
}

async function readLatch(client: Client): Promise<LatchView | null> {
  return (await client.get('/v1/cluster', clusterView)).latch;
}

/** A sentence for a person. */
export function latchText(latch: LatchView | null, now: number): string {
  if (latch === null) return 'trust is not enabled: policy and marks can be changed in any way';
  const { groups, by, at, inCluster, faults } = latch;
  const whom = groups.length === 0 ? 'all groups' : listed(groups, 20);
  const where =
    inCluster === true
      ? 'the cluster has it, too'
      : inCluster === false
        ? 'the cluster does not have it yet, and gets it again'
        : 'whether the cluster has it is not known';
  const below = faults.length === 0 ? '' : `; the policy in force asks for less: ${faults.join('; ')}`;
  return printable(
    `enabled for good for ${whom}, by ${by} at ${utc(at)} (${relative(at, now)}); ${where}${below}`,
  );
}

const mostNamed = 20;

function trialText({ groups, nodes, daemonSets, pendingPods, auditKey }: TrustTrialView): string {
  const unproven = nodes.filter(({ state }) => state !== 'trusted');
  const places = (workloads: TrustTrialView['daemonSets']) =>
    listed(
      workloads.map(({ namespace, name }) => `${namespace}/${name}`),
      mostNamed,
    );
  const lines = [
    `it covers ${groups.length === 0 ? 'all groups' : listed(groups)}, now ${counted(nodes.length, 'node')}, and each node that joins later`,
    ...(nodes.length === 0
      ? []
      : [
          unproven.length === 0
            ? 'each of them is trusted'
            : `${counted(unproven.length, 'node')} not trusted now: ${listed(
                unproven.map(({ name, state }) => `${name} (${state})`),
                mostNamed,
              )}`,
        ]),
    daemonSets.length === 0
      ? 'every DaemonSet tolerates the taints'
      : `${counted(daemonSets.length, 'DaemonSet')} without toleration, which start on no node before its proof: ${places(daemonSets)}`,
    pendingPods.length === 0
      ? 'no pod without toleration waits for a node'
      : `${counted(pendingPods.length, 'pod')} without toleration wait for a node: ${places(pendingPods)}`,
    ...(auditKey === undefined
      ? []
      : [
          `it needs a copy of the audit key ${printable(auditKey.keyId)}, kept elsewhere: --audit-key-copy FILE`,
        ]),
    'afterwards neither mode nor require of these groups can shrink; only a new cluster ends it',
  ];
  return lines.map((line) => `${line}\n`).join('');
}
