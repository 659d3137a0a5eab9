import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkNamespace } from '../../swtpm-fixtures/namespace.ts';
import { startWatchedNode, tampers, type WatchedNode, withIptables } from '../agent/watch/watched-node.ts';
import { builtAgent } from './built-agent.ts';
import { sized } from './sized.ts';

interface DetectionFigures {
  readonly rounds: number;
  /** Milliseconds from the change to the verdict `untrusted`, which no challenge that was due has part in. */
  readonly p95_ms: Readonly<Record<string, number>>;
  readonly median_ms: Readonly<Record<string, number>>;
  readonly churn: ChurnFigures;
}

/** While kube-proxy writes its rules anew each second. */
interface ChurnFigures {
  readonly seconds: number;
  /** Beyond those that the server sends every 60 s. */
  readonly challenges_by_churn: number;
  readonly challenges_an_hour: number;
  readonly kib_an_hour: number;
}

/** A quiet time after which an event of the firewall is read at once. */
const quietMs = sized(6_000, 500);

/** How long a change on a running node stays unseen. */
export async function benchDetection(full: boolean): Promise<{ readonly detection: DetectionFigures }> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-detection-'));
  try {
    const program = await builtAgent(join(folder, 'dist'));
    const rounds = full ? 20 : sized(4, 1);
    const taken = new Map<string, number[]>(Object.keys(tampers).map((name) => [name, []]));
    {
      await using node = await startWatchedNode({ challengeEvery: 600, program, prepare: withIptables });
      for (let round = 0; round < rounds; round++)
        for (const [name, tamper] of Object.entries(tampers)) {
          await sleep(quietMs);
          const untrusted = node.until('untrusted', 60_000);
          await tamper.do(node);
          taken.get(name)?.push(await untrusted);
          const trusted = node.until('trusted', 60_000);
          await tamper.undo(node);
          await trusted;
        }
    }
    const churn = await measureChurn(full ? 300 : sized(60, 2), program);
    const share = (part: number) =>
      Object.fromEntries(
        [...taken].map(([name, times]) => [
          name,
          Math.round(times.sort((a, b) => a - b)[Math.ceil(times.length * part) - 1] ?? Number.NaN),
        ]),
      );
    return { detection: { rounds, p95_ms: share(0.95), median_ms: share(0.5), churn } };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measureChurn(seconds: number, program: readonly [string, ...string[]]): Promise<ChurnFigures> {
  await using node = await startWatchedNode({ challengeEvery: 60, program, prepare: withKubeProxy });
  // What capturing caused is over.
  await sleep(quietMs);
  const [answers, bytes] = [node.world.verdicts.length, node.bytes()];
  const began = performance.now();
  for (let second = 0; performance.now() - began < seconds * 1_000; second++) {
    await sync(node, second);
    await sleep(Math.max(0, began + (second + 1) * 1_000 - performance.now()));
  }
  const challenges = node.world.verdicts.length - answers;
  const hourly = (count: number) => Math.round((count / seconds) * 3_600);
  return {
    seconds,
    challenges_by_churn: Math.max(0, challenges - Math.ceil(seconds / 60)),
    challenges_an_hour: hourly(challenges),
    kib_an_hour: Math.round(hourly(node.bytes() - bytes) / 1024),
  };
}

/** The chains of kube-proxy and the jumps into them, as it makes them at its start. */
async function withKubeProxy(network: NetworkNamespace): Promise<void> {
  await network.run(
    'iptables-nft-restore',
    ['--noflush'],
    `*nat
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
COMMIT
`,
  );
}

const services = 40;

/** What it writes when the endpoints of a service are others. */
async function sync({ network }: WatchedNode, second: number): Promise<void> {
  const lines = ['*nat', ':KUBE-SERVICES - [0:0]'];
  for (let service = 0; service < services; service++) {
    const chain = `KUBE-SVC-${String(service).padStart(16, 'A')}`;
    lines.push(`:${chain} - [0:0]`);
    lines.push(`-A KUBE-SERVICES -d 10.96.0.${service + 1}/32 -p tcp -m tcp --dport 443 -j ${chain}`);
    lines.push(`-A ${chain} -p tcp -j DNAT --to-destination 10.244.${second % 200}.${service + 1}:8443`);
  }
  await network.run('iptables-nft-restore', ['--noflush'], `${lines.join('\n')}\nCOMMIT\n`);
}
