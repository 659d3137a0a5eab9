import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { start } from 'node-tpm2/run';
import { makeAuthority } from '../agent/made-authority.ts';
import { inFolder } from './attestation.ts';
import { median } from './cpu-time.ts';
import { sized } from './sized.ts';

export interface AgentFigures {
  /** From the start of the process to its first attempt to connect, in milliseconds. */
  readonly start_ms: number;
  /** What it holds in memory then, in MiB. */
  readonly rss_mib: number;
}

const rounds = sized(5, 1);
const program = join(import.meta.dirname, '../../agent/main.ts');

/** The agent's program on a machine without TPM, at an address where nobody speaks its protocol; medians. */
export async function benchAgent(): Promise<AgentFigures> {
  await using authority = await makeAuthority();
  const figures: AgentFigures[] = [];
  for (let round = 0; round < rounds; round++)
    figures.push(await inFolder((folder) => startOnce(folder, authority.ca)));
  return {
    start_ms: Math.round(median(figures.map(({ start_ms }) => start_ms))),
    rss_mib: Math.round(median(figures.map(({ rss_mib }) => rss_mib))),
  };
}

async function startOnce(folder: string, ca: string): Promise<AgentFigures> {
  const caFile = join(folder, 'ca.pem');
  await writeFile(caFile, ca);
  const nobody = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await once(nobody, 'listening');
  const address = nobody.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const started = performance.now();
  const agent = start(process.execPath, [program, 'run'], {
    stdio: 'ignore',
    env: {
      ASSAY_AGENT_SERVERS: `127.0.0.1:${address.port}`,
      ASSAY_AGENT_NODE: 'node-1',
      ASSAY_AGENT_TCTI: 'device:/dev/no-such-tpm',
      ASSAY_AGENT_STATE_DIR: join(folder, 'state'),
      ASSAY_AGENT_CA_FILE: caFile,
      ASSAY_AGENT_LOG_LEVEL: 'silent',
    },
  });
  const ended = once(agent, 'close');
  try {
    const gone = ended.then(([code]) => {
      throw new Error(`the agent ended with ${code} before it connected`);
    });
    await Promise.race([once(nobody, 'connection'), gone]);
    const start_ms = performance.now() - started;
    const status = await readFile(`/proc/${agent.pid}/status`, 'utf8');
    return { start_ms, rss_mib: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024 };
  } finally {
    agent.kill('SIGKILL');
    await ended;
    nobody.close();
  }
}
