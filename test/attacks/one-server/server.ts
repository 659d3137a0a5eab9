import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { programs } from '../../programs.ts';

export interface ServerFiles {
  readonly stateDir: string;
  readonly configFile: string;
}

const logLine = z.looseObject({ level: z.string(), msg: z.string().default('') });
export type LogLine = z.infer<typeof logLine>;

/** Far more than a start takes on a busy machine. */
const patience = 60_000;

/** A server that is a process, and that nobody ends in order. */
export class DoomedServer {
  readonly port: number;
  readonly ca: string;
  /** Milliseconds from the start of the process until it listened. */
  readonly startedIn: number;
  /** What it wrote until it listened. */
  readonly lines: readonly LogLine[];
  /** Resolves when the process is over. */
  readonly ended: Promise<unknown>;
  readonly #child: ChildProcess;
  readonly #apiPort: number;
  readonly #stateDir: string;
  readonly #connections = new Agent({ keepAlive: true, maxSockets: 16 });

  private constructor(child: ChildProcess, stateDir: string, lines: readonly LogLine[], startedIn: number) {
    const { agents, api } = listens.parse(lines.at(-1));
    this.#child = child;
    this.ended =
      child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve();
    this.#stateDir = stateDir;
    this.#apiPort = api;
    this.port = agents;
    this.ca = this.#caNow();
    this.lines = lines.slice(0, -1);
    this.startedIn = startedIn;
  }

  /**
   * @param killedAfter milliseconds after which it is killed, even before it listens; null: then nobody kills it
   * @param env of the process, beside a minimal one
   * @returns null where it was killed before it listened
   * @throws Error with what it wrote where it ended by itself
   */
  static async start(
    { stateDir, configFile }: ServerFiles,
    killedAfter: number | null,
    env: Readonly<Record<string, string>> = {},
  ): Promise<DoomedServer | null> {
    const began = performance.now();
    const child = start(process.execPath, [programs['assay-server'], '--config', configFile], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env,
    });
    const ended = once(child, 'exit');
    const withUs = () => child.kill('SIGKILL');
    process.once('exit', withUs);
    child.once('exit', () => process.off('exit', withUs));
    const killing = setTimeout(() => child.kill('SIGKILL'), killedAfter ?? patience);
    const lines: LogLine[] = [];
    const said: string[] = [];
    if (child.stderr === null) throw new Error('the server has no output');
    const reader = createInterface({ input: child.stderr });
    const listening = new Promise<true>((resolve) => {
      reader.on('line', (text) => {
        const line = readLine(text);
        if (said.length < 1000) said.push(text);
        lines.push(line);
        if (line.msg !== 'the server listens') return;
        reader.removeAllListeners('line').on('line', () => {});
        resolve(true);
      });
    });
    const isListening = await Promise.race([listening, ended.then(() => false as const)]);
    clearTimeout(killing);
    if (isListening) return new DoomedServer(child, stateDir, lines, performance.now() - began);
    if (killedAfter !== null && child.signalCode === 'SIGKILL') return null;
    throw new Error(`the server did not start:\n${said.slice(-20).join('\n')}`);
  }

  /** @throws Error where the connection broke: nobody knows whether it was done */
  async call(
    method: string,
    path: string,
    body?: object,
  ): Promise<{ readonly status: number; readonly body: unknown }> {
    const call = request({
      host: '127.0.0.1',
      port: this.#apiPort,
      ca: this.#caNow(),
      agent: this.#connections,
      ...{ method, path, timeout: 10_000 },
      headers: { authorization: `Bearer ${this.#token()}`, 'content-type': 'application/json' },
    });
    call.once('timeout', () => call.destroy(new Error('no answer')));
    call.end(body === undefined ? undefined : JSON.stringify(body));
    const [answer] = (await once(call, 'response')) as [IncomingMessage];
    const text = Buffer.concat(await answer.toArray()).toString('utf8');
    return { status: answer.statusCode ?? 0, body: text === '' ? null : JSON.parse(text) };
  }

  /** The same for what is only read. @throws Error where the answer is not of this form */
  async read<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    for (let tries = 0; ; tries++) {
      const { status, body } = await this.call('GET', path);
      if (status < 300) return schema.parse(body);
      if (status !== 429 && status !== 503) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`);
      if (tries > 20) throw new Error(`GET ${path}: ${status} twenty times`);
      await sleep(100);
    }
  }

  reload(): void {
    this.#child.kill('SIGHUP');
  }

  async kill(): Promise<void> {
    const ended =
      this.#child.exitCode === null && this.#child.signalCode === null ? once(this.#child, 'exit') : null;
    this.#child.kill('SIGKILL');
    await ended;
    this.#connections.destroy();
    if (this.#child.signalCode !== 'SIGKILL')
      throw new Error(`the server ended with ${this.#child.exitCode} by itself`);
  }

  #caNow(): string {
    return readFileSync(join(this.#stateDir, 'tls/ca.crt'), 'utf8');
  }

  #token(): string {
    return readFileSync(join(this.#stateDir, 'admin.token'), 'utf8').trim();
  }
}

const listens = z.looseObject({ agents: z.number(), api: z.number() });

function readLine(text: string): LogLine {
  try {
    return logLine.parse(JSON.parse(text));
  } catch {
    return { level: 'error', msg: text };
  }
}
