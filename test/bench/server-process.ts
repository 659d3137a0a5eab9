import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { WebSocketServer } from 'ws';
import { serverConfig } from '../../attest-server/config.ts';
import { keepHeapSmall } from '../../attest-server/heap.ts';
import { startServer } from '../../attest-server/server.ts';
import { bootPolicyFile } from '../attest-server/boot-policy.ts';
import { identityIn } from '../attest-server/tls/made-identity.ts';
import { answerLeast } from './least-server.ts';
import type { Addresses, Order, Sample } from './measured-server.ts';

/** A server in a process of its own: its CPU time and memory are nobody else's. Orders come by IPC. */
const order: Order = JSON.parse(process.argv[2] ?? '{}');
// With --expose-gc.
const collectGarbage = 'gc' in globalThis && typeof globalThis.gc === 'function' ? globalThis.gc : () => {};
const lag = monitorEventLoopDelay({ resolution: 5 });
const settledLag = monitorEventLoopDelay({ resolution: 5 });
const counts = { answered: 0, overdue: 0 };
// As its program does.
if (order.kind === 'assay') keepHeapSmall();
const running = await (order.kind === 'assay' ? assay(order) : bare(order));
let before = process.cpuUsage();
lag.enable();
settledLag.enable();
process.on('message', async (asked: 'sample' | 'settle' | 'close') => {
  if (asked === 'sample') tell(sample());
  if (asked === 'settle') await settle();
  if (asked === 'close') {
    await running.close();
    process.disconnect?.();
  }
});
// Who was to close it is gone.
process.once('disconnect', () => process.exit());
tell(running.addresses);

function tell(message: Addresses | Sample): void {
  process.send?.(message);
}

/** What was counted since the sample before. */
function sample(): Sample {
  const { user, system } = process.cpuUsage(before);
  const taken = {
    cpuMs: (user + system) / 1000,
    ...counts,
    rssKib: process.memoryUsage().rss / 1024,
    lagP99Ms: lag.percentile(99) / 1e6,
    settledLagP99Ms: settledLag.percentile(99) / 1e6,
  };
  counts.answered = 0;
  counts.overdue = 0;
  before = process.cpuUsage();
  lag.reset();
  return taken;
}

/** Collects garbage, twice: what the first time frees outside the heap is given back after the second. */
async function settle(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    collectGarbage();
    await sleep(100);
  }
  tell(sample());
  settledLag.reset();
}

interface Running {
  readonly addresses: Addresses;
  close(): Promise<void>;
}

async function assay({
  stateDir,
  challengeEveryMs,
  kubeconfig = 'none',
  policy = bootPolicyFile,
  perNode,
  wrappingKeyFile,
}: Order): Promise<Running> {
  const config = serverConfig(
    null,
    {},
    {
      stateDir,
      host: '127.0.0.1',
      agentPort: 0,
      apiPort: 0,
      metricsPort: 0,
      policy,
      challengeEverySeconds: challengeEveryMs / 1000,
      'kubernetes.api': kubeconfig,
      'kubernetes.namespace': kubeconfig === 'none' ? null : 'assay',
      'kubernetes.agentAccount': 'assay-agent',
      'metrics.perNode': perNode,
      'keys.wrappingKeyFile': wrappingKeyFile,
    },
  );
  const server = await startServer(config, {
    logger: pino({ level: 'error' }, pino.destination(2)),
    recorded: ({ verdict }) => {
      if (verdict.state === 'unknown') counts.overdue += 1;
      else counts.answered += 1;
    },
  });
  return {
    addresses: {
      port: server.agentPort,
      apiPort: server.apiPort,
      metricsPort: server.metricsPort,
      ca: readFileSync(server.caFile, 'utf8'),
    },
    close: () => server.close(),
  };
}

/**
 * Nothing but TLS and ws. `bare`: what a message comes to, goes back; a binary frame stands for a boot log, which only
 * arrives. `least`: it is answered, and no more.
 */
async function bare({ kind, stateDir, challengeEveryMs }: Order): Promise<Running> {
  const { chain, key, caFile } = await identityIn(stateDir, ['localhost', '127.0.0.1'], Date.now());
  const server = createServer({ cert: chain, key, minVersion: 'TLSv1.3' });
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  if (kind === 'least')
    answerLeast(sockets, challengeEveryMs, () => {
      counts.answered += 1;
    });
  else
    sockets.on('connection', (socket) => {
      socket.on('message', (data: Buffer, isBinary: boolean) => {
        if (isBinary) return;
        counts.answered += 1;
        socket.send(data, { binary: false });
      });
      socket.on('error', () => socket.terminate());
    });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the bare server has no port');
  return {
    addresses: { port: address.port, apiPort: 0, metricsPort: 0, ca: readFileSync(caFile, 'utf8') },
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
