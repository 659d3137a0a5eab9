import { readdirSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { installAccounts, renewAgentToken, startAgentPod } from '../attest-server/kubernetes/agent-pod.ts';
import { inFolder, rounded } from '../bench/attestation.ts';
import { asShipped, type MeasuredServer, startMeasured } from '../bench/measured-server.ts';
import { populate } from '../bench/population.ts';
import { kindOfTable, tableBytes } from '../bench/table-bytes.ts';
import { type Counts, startAttack } from './attack.ts';
import type { EnrolledOrder } from './enrolled.ts';
import type { EnrolledProgram } from './enrolled-programs.ts';
import { comesBack, HonestAgents, type Returns, sendImage } from './honest-agents.ts';
import { handedOn } from './owned-node.ts';

export interface EnrolledSiege {
  readonly seconds: number;
  /** Nodes that are the attacker's, and those that are not. */
  readonly attackers: number;
  readonly honest: number;
  /** Seconds that an honest node may wait until its image is in. */
  readonly imageWithin: number;
  /** What is to be done at least once, however long that takes on a busy machine; default: nothing. */
  readonly wanted?: readonly string[];
}

/** Of one program, against the same server before it began. */
export interface EnrolledFigures {
  readonly attackers: number;
  /** The honest agents' verdicts: how many a second before, and which part of them is left. */
  readonly honest_per_s: number;
  readonly honest_kept: number;
  /** Verdicts of theirs that were not `trusted`, and connections that they lost. */
  readonly honest_wrong: number;
  readonly honest_lost: number;
  /** Of the times that an honest agent came anew, how often it was trusted within ten seconds. */
  readonly returns_kept: number;
  /** The 99th percentile of how long the server's one thread was away, above that before; and the worst half second. */
  readonly lag_p99_over_ms: number;
  readonly lag_worst_ms: number;
  readonly rss_over_idle_mib: number;
  /** The most that the state folder grew by at any time, for each of the attacker's nodes, and what that may be. */
  readonly disk_mib_a_node: number;
  readonly disk_mib_may: number;
  /** What history, audit log and whatever else is not evidence grew by, for each of them, and what that may be in this time. */
  readonly rows_kib_a_node: number;
  readonly rows_kib_may: number;
  /** Until an honest node had its image in; null: not in its time, or not asked. */
  readonly image_s: number | null;
  readonly attacker_cores: number;
  readonly attacker: Counts;
}

const mib = 1024 * 1024;
/** Rows: what a node may add at once, and 2 MB a day. */
const bounds = { kept: 0.95, lagMs: 150, rssMib: 256, diskMib: 256, rowsAtOnceKib: 512, rowsPerDayKib: 1953 };
/** Only these look at tokens of a cluster, or at images. */
const inCluster: ReadonlySet<EnrolledProgram> = new Set(['cluster-tokens', 'mixed']);
const withImages: ReadonlySet<EnrolledProgram> = new Set(['initrd-places', 'mixed']);
const policy = join(import.meta.dirname, 'siege-policy.yaml');
/** Of these the verdicts turn: what they add for good is bounded. */
const turning: ReadonlySet<EnrolledProgram> = new Set(['boots', 'flaps', 'mixed']);
/** Where the thread is what is taken, honest agents are asked twice a second, as in the sieges of strangers. */
const ofTheThread: ReadonlySet<EnrolledProgram> = new Set(['dear-log', 'many-addresses', 'refused-answers']);
const oftenMs = 500;
/** Else the server asks as often as one that is shipped, since a node's share of the disk is for that; the agents say that something changed. */
const usuallyMs = 60_000;

export async function besiegeAsEnrolled(
  program: EnrolledProgram,
  siege: EnrolledSiege,
): Promise<EnrolledFigures> {
  return await inFolder(async (stateDir) => {
    const { seconds, attackers, honest, wanted = [] } = siege;
    const isOften = ofTheThread.has(program);
    const names = [
      ...Array.from({ length: honest }, (_, index) => `node-${index}`),
      ...Array.from({ length: attackers }, (_, index) => `${prefixOf(program, index)}owned-${index}`),
      'back-0',
      'image-0',
    ];
    const machines = await populate(stateDir, names.length, 'p256', (index) => names[index] ?? '');
    await using cluster = inCluster.has(program) ? await clusterOf(names) : null;
    await using server = await startMeasured(
      {
        kind: 'assay',
        stateDir,
        challengeEveryMs: isOften ? oftenMs : usuallyMs,
        policy,
        ...(cluster !== null && { kubeconfig: cluster.kubeconfig }),
      },
      asShipped,
    );
    const nodes = machines.map((machine, index) => ({
      machine,
      token: cluster?.tokens.get(machine.name) ?? null,
      from: `127.2.${1 + (index >> 6)}.${1 + (index & 63)}`,
    }));
    const named = (form: RegExp) => nodes.filter(({ machine }) => form.test(machine.name));
    const [back, image] = [...named(/^back-/), ...named(/^image-0$/)];
    if (back === undefined || image === undefined) throw new Error('no honest node');
    await using agents = new HonestAgents(server, isOften ? null : honest > 50 ? 5_000 : 2_000);
    await agents.connect(named(/^node-/));
    const watch = async (forMs: number, isOver = () => true) => {
      const token = () => cluster?.renewed(back.machine.name) ?? Promise.resolve(null);
      const returns = comesBack(server, back, token, forMs - 500);
      return { ...(await watched(server, stateDir, agents, forMs, isOver)), returns: await returns };
    };
    const before = await watch(Math.max(Math.min(6, seconds), seconds / 3) * 1000);
    const owned = named(/owned-/).map(({ machine, token }) => handedOn(machine, token));
    const { port, apiPort, metricsPort, ca } = server;
    const order: EnrolledOrder = {
      ...{ port, apiPort, metricsPort, ca, program, seconds: seconds + 2, wanted, nodes: owned },
      victims: [{ ...back.machine.tpm.hello(back.machine.name) }],
    };
    let isOver = false;
    const attacker = startAttack('enrolled', order).finally(() => {
      isOver = true;
    });
    // It starts meanwhile; what is measured is the time in which it is at work.
    await sleep(1_500);
    const sending = withImages.has(program)
      ? // Once the attacker has the places.
        sleep(Math.min(5, seconds) * 1000).then(() => sendImage(server, image, siege.imageWithin * 1000))
      : Promise.resolve(null);
    const during = await watch(seconds * 1000, () => isOver || wanted.length === 0);
    const { counts, cpuMs } = await attacker;
    const image_ms = await sending;
    const { blocks, bsize } = statfsSync(stateDir);
    const perS = (verdicts: number, ms: number) => (verdicts * 1000) / ms;
    return {
      attackers,
      honest_per_s: rounded(perS(before.verdicts, before.ms)),
      honest_kept: rounded(perS(during.verdicts, during.ms) / perS(before.verdicts, before.ms)),
      honest_wrong: during.wrong,
      honest_lost: during.lost,
      returns_kept: rounded(share(during.returns) / (share(before.returns) || 1)),
      lag_p99_over_ms: Math.round(during.lagP99Ms - before.lagP99Ms),
      lag_worst_ms: Math.round(during.lagWorstMs),
      rss_over_idle_mib: Math.round((during.rssKib - before.idleKib) / 1024),
      disk_mib_a_node: rounded(Math.max(0, during.folder - before.folderAtEnd) / attackers / mib),
      disk_mib_may: Math.floor(Math.min(bounds.diskMib, (blocks * bsize) / 20 / mib)),
      rows_kib_a_node: rounded((during.rowsAtEnd - before.rowsAtEnd) / attackers / 1024),
      rows_kib_may: Math.ceil(
        bounds.rowsAtOnceKib + (bounds.rowsPerDayKib * (during.ms + 1_500)) / 86_400_000,
      ),
      image_s: image_ms === null ? null : rounded(image_ms / 1000),
      attacker_cores: rounded(cpuMs / (seconds * 1000)),
      attacker: counts,
    };
  });
}

/** The policy looks into initrds of nodes that are called so. */
function prefixOf(program: EnrolledProgram, index: number): string {
  return program === 'initrd-places' || (program === 'mixed' && index % 4 === 0) ? 'image-' : '';
}

/** Every bound that was missed. */
export function missedBy(program: EnrolledProgram, figures: EnrolledFigures): readonly string[] {
  const missed: string[] = [];
  const hold = (isHeld: boolean, text: string) => isHeld || missed.push(text);
  hold(figures.honest_kept >= bounds.kept, `the honest agents kept ${figures.honest_kept} of their verdicts`);
  hold(figures.honest_wrong === 0, `${figures.honest_wrong} verdicts of honest agents were not trusted`);
  hold(figures.honest_lost === 0, `honest agents lost ${figures.honest_lost} connections`);
  hold(
    figures.returns_kept >= bounds.kept,
    `an agent that comes anew got in ${figures.returns_kept} of the times`,
  );
  hold(figures.lag_p99_over_ms <= bounds.lagMs, `a lag of ${figures.lag_p99_over_ms} ms over the control's`);
  hold(figures.rss_over_idle_mib <= bounds.rssMib, `${figures.rss_over_idle_mib} MiB over idle`);
  hold(
    figures.disk_mib_a_node <= figures.disk_mib_may,
    `${figures.disk_mib_a_node} MiB of the disk for each node`,
  );
  if (turning.has(program))
    hold(
      figures.rows_kib_a_node <= figures.rows_kib_may,
      `${figures.rows_kib_a_node} KiB of rows for each node`,
    );
  if (withImages.has(program))
    hold(figures.image_s !== null, 'the image of an honest node was not in in its time');
  return missed;
}

const share = ({ came, trusted }: Returns) => trusted / came;

interface Watched {
  readonly ms: number;
  readonly verdicts: number;
  readonly wrong: number;
  readonly lost: number;
  readonly lagP99Ms: number;
  readonly lagWorstMs: number;
  readonly idleKib: number;
  readonly rssKib: number;
  /** Bytes of the state folder: the most, and at the end. */
  readonly folder: number;
  readonly folderAtEnd: number;
  /** Bytes of rows that stay for good, at the end. */
  readonly rowsAtEnd: number;
}

async function watched(
  server: MeasuredServer,
  stateDir: string,
  agents: HonestAgents,
  forMs: number,
  isOver: () => boolean,
): Promise<Watched> {
  const { rssKib: idleKib } = await server.settle();
  const before = { ...agents.counts };
  const started = performance.now();
  let [rssKib, lagWorstMs, folder, settledLag] = [0, 0, 0, 0];
  for (let at = started; at < started + forMs || !isOver(); at = performance.now()) {
    await sleep(at < started + forMs ? Math.min(500, Math.max(1, started + forMs - at)) : 500);
    const sample = await server.sample();
    rssKib = Math.max(rssKib, sample.rssKib);
    lagWorstMs = Math.max(lagWorstMs, sample.lagP99Ms);
    settledLag = sample.settledLagP99Ms;
    folder = Math.max(folder, bytesOf(stateDir));
  }
  const ms = performance.now() - started;
  const { verdicts, wrong, lost } = agents.counts;
  return {
    ms,
    verdicts: verdicts - before.verdicts,
    wrong: wrong - before.wrong,
    lost: lost - before.lost,
    lagP99Ms: settledLag,
    ...{ lagWorstMs, idleKib, rssKib, folder },
    folderAtEnd: bytesOf(stateDir),
    rowsAtEnd: rowsIn(stateDir),
  };
}

/** Of tables whose rows stay for good. */
function rowsIn(stateDir: string): number {
  const isCounted = (name: string) => ['history', 'audit', 'others'].includes(kindOfTable(name));
  return [...tableBytes(stateDir, { isQuiet: false, isCounted }).values()].reduce(
    (sum, bytes) => sum + bytes,
    0,
  );
}

function bytesOf(folder: string): number {
  let bytes = 0;
  for (const { name, parentPath } of readdirSync(folder, { recursive: true, withFileTypes: true }))
    bytes += statSync(join(parentPath, name), { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}

/** A cluster with a Node and an agent's pod of each name. */
async function clusterOf(names: readonly string[]) {
  const api = await openApiServer();
  await installAccounts(api);
  const tokens = new Map<string, string>();
  for (const name of names) {
    await api.createNode(name);
    tokens.set(name, await startAgentPod(api, name));
  }
  return {
    kubeconfig: await api.kubeconfig(serviceAccount('assay', 'assay-server')),
    tokens,
    renewed: (name: string) => renewAgentToken(api, name),
    [Symbol.asyncDispose]: () => api[Symbol.asyncDispose](),
  };
}
