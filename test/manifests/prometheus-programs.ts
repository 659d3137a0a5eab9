import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, start } from 'node-tpm2/run';

/** Where the set-up unpacks them, and where they run. */
const folder = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'prometheus');

/** A program that serves HTTP on a free port of the loopback, until it is disposed of. */
interface ServingProgram extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
}

/** @param config YAML or JSON */
export async function startAlertmanager(config: string): Promise<ServingProgram> {
  return await startServing('prometheus-alertmanager', config, (dir) => [
    `--storage.path=${join(dir, 'data')}`,
    '--cluster.listen-address=',
  ]);
}

/** @param config YAML or JSON */
export async function startPrometheus(config: string): Promise<ServingProgram> {
  return await startServing('prometheus', config, (dir) => [`--storage.tsdb.path=${join(dir, 'data')}`]);
}

/** @throws ToolError with the begin of what it says */
export async function amtool(...args: readonly string[]): Promise<string> {
  const bounds = { timeoutMs: 30_000, maxOutputBytes: 1_048_576 };
  // It would look for a configuration of the person who runs the tests.
  const { stdout } = await run(join(folder, 'amtool'), args, { ...bounds, env: { HOME: '/nonexistent' } });
  return stdout.toString('utf8');
}

/** What Alertmanager posts to a webhook, as far as it is read here. */
export interface Notified {
  readonly receiver: string;
  readonly status: 'firing' | 'resolved';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Whom Alertmanager tells: every alert of every message, in order. */
export interface Receiver extends AsyncDisposable {
  readonly url: string;
  readonly notified: readonly Notified[];
}

export async function startReceiver(): Promise<Receiver> {
  const notified: Notified[] = [];
  const server = createServer(async (request, response) => {
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString('utf8'));
    for (const { status, labels, annotations } of body.alerts)
      notified.push({ receiver: body.receiver, status, labels, annotations });
    response.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert(address !== null && typeof address === 'object');
  return {
    url: `http://127.0.0.1:${address.port}`,
    notified,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function startServing(
  program: string,
  config: string,
  more: (dir: string) => readonly string[],
): Promise<ServingProgram> {
  assert.ok(existsSync(join(folder, program)), `${program} is missing: npm test unpacks it`);
  const dir = await mkdtemp(join(tmpdir(), 'assay-prometheus-'));
  await writeFile(join(dir, 'config.yaml'), config);
  const own = [`--config.file=${join(dir, 'config.yaml')}`, '--web.listen-address=127.0.0.1:0'];
  const child = start(
    'setpriv',
    ['--pdeathsig', 'KILL', '--', 'env', '-C', folder, `./${program}`, ...own, ...more(dir)],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const closed = once(child, 'close');
  const stop = async () => {
    child.kill('SIGKILL');
    await closed;
    await rm(dir, { recursive: true, force: true });
  };
  let said = '';
  const port = new Promise<string>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-65_536);
      const [, found] = /msg="Listening on" address=127\.0\.0\.1:(\d+)/.exec(said) ?? [];
      if (found !== undefined) resolve(found);
    });
    child.once('close', () => reject(new Error(`${program} ended: ${said}`)));
    child.once('error', reject);
  });
  try {
    return { url: `http://127.0.0.1:${await port}`, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
