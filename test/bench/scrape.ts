import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { administrator, serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { namespaceOfServer } from '../attest-server/kubernetes/namespace-of-server.ts';
import { madeStatus } from '../attest-server/marking/made-marking.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { inFolder, rounded } from './attestation.ts';
import { type MeasuredServer, startMeasured } from './measured-server.ts';
import { type Machine, populate } from './population.ts';
import { sized } from './sized.ts';

/** Of a server in a cluster of 5,000 nodes with names as clouds give them, of which each second one is untrusted; a person uses its API. */
export interface ScrapeFigures {
  readonly nodes: number;
  readonly per_node: ScrapeCost;
  /** The same where `metrics.perNode` is false. */
  readonly totals_alone: ScrapeCost;
}

interface ScrapeCost {
  /** From the request to the last byte, over the loopback. */
  readonly ms: { readonly p50: number; readonly max: number };
  /** Of the server's process, for one. */
  readonly cpu_ms: number;
  /** As Prometheus reads it; nothing is compressed. */
  readonly kb: number;
}

const nodes = sized(5000, 20);
const scrapes = sized(15, 1);
/** Longer than the text of one scrape is that of all. */
const apart = 1100;
const server = serviceAccount('assay', 'assay-server');

export async function benchScrape(): Promise<ScrapeFigures> {
  return await inFolder(async (stateDir) => {
    const machines = await populate(stateDir, nodes, 'p256', cloudName);
    await judgeAll(stateDir, machines);
    await using api = await openApiServer({ rbac: false });
    await api.as(administrator).request('POST', '/api/v1/namespaces', namespaceOfServer);
    for (const { name } of machines) await api.createNode(name);
    const kubeconfig = await api.kubeconfig(server);
    const measure = async (perNode: boolean) => {
      await using measured = await startMeasured({
        kind: 'assay',
        stateDir,
        challengeEveryMs: 100_000,
        kubeconfig,
        perNode,
      });
      await useApi(measured, (await readFile(join(stateDir, 'admin.token'), 'utf8')).trim());
      return await costOf(measured);
    };
    return { nodes, per_node: await measure(true), totals_alone: await measure(false) };
  });
}

const cloudName = (index: number) => `ip-10-${index >> 8}-${index & 255}-77.eu-central-1.compute.internal`;

/** Writes a verdict for each: each second machine is untrusted. */
export async function judgeAll(stateDir: string, machines: readonly Machine[]): Promise<void> {
  await using store = await openMadeStore(join(stateDir, 'assay.db'));
  const at = Date.now();
  const times = { verifiedAt: at, expiresAt: at + 24 * 3_600_000, since: at, trustedAt: at };
  await Promise.all(
    machines.map(({ name, tpm: { ekDigest } }, index) => {
      const status = madeStatus(
        name,
        index % 2 === 0 ? { state: 'trusted' } : { state: 'untrusted', codes: ['kernel_unknown'] },
        times,
      );
      return store.verdicts.recordChange({
        status: { ...status, ekDigest },
        at,
        evidence: [],
        history: [],
        audit: [],
      });
    }),
  );
}

/** Each route that is asked has series of its own. */
async function useApi({ apiPort: port, ca }: MeasuredServer, token: string): Promise<void> {
  const node = `/v1/nodes/${cloudName(1)}`;
  const paths = ['/v1/nodes', node, `${node}/history`, '/v1/status', '/v1/cluster', '/v1/references'];
  for (const path of paths)
    await new Promise<void>((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}` };
      const call = secureRequest({ host: '127.0.0.1', port, ca, path, headers, agent: false }, (answer) => {
        answer.resume();
        answer.once('end', () => {
          if (answer.statusCode === 200) resolve();
          else reject(new Error(`${path}: ${answer.statusCode}`));
        });
      });
      call.once('error', reject);
      call.end();
    });
}

async function costOf(measured: MeasuredServer): Promise<ScrapeCost> {
  const { metricsPort } = measured;
  // What follows a start is over: all Nodes are listed, and looked at once.
  for (const end = performance.now() + 120_000; ; await sleep(apart)) {
    const { text } = await scrape(metricsPort);
    const isMeasurable =
      text.includes('assay_enforcement_leader 1') && text.includes('assay_enforcement_queue_length 0');
    if (isMeasurable && !text.includes(`assay_nodes_without_agent ${nodes}`)) break;
    if (performance.now() > end) throw new Error('the server is not at rest after two minutes');
  }
  const took: number[] = [];
  let bytes = 0;
  let cpu = 0;
  for (let i = 0; i < scrapes; i++) {
    await sleep(apart);
    await measured.sample();
    const { text, ms } = await scrape(metricsPort);
    cpu += (await measured.sample()).cpuMs;
    took.push(ms);
    bytes = Buffer.byteLength(text);
  }
  took.sort((a, b) => a - b);
  return {
    ms: { p50: rounded(took[scrapes >> 1] ?? Number.NaN), max: rounded(took.at(-1) ?? Number.NaN) },
    cpu_ms: rounded(cpu / scrapes),
    kb: Math.round(bytes / 1000),
  };
}

function scrape(port: number): Promise<{ readonly text: string; readonly ms: number }> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port, path: '/metrics', agent: false }, (answer) => {
      const parts: Buffer[] = [];
      answer.on('data', (part: Buffer) => parts.push(part));
      answer.once('end', () => {
        const ms = performance.now() - begun;
        resolve({ text: Buffer.concat(parts).toString('utf8'), ms });
      });
    });
    call.once('error', reject);
    call.end();
  });
}
