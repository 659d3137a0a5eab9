import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { runGate } from '../../../agent/gate/run.ts';
import type { FixtureMachine } from '../../../swtpm-fixtures/machine.ts';

/** A machine's gate over all its boots: what it keeps, and where its operators write. */
export interface GateOfMachine extends AsyncDisposable {
  /** Runs it once, in this process. */
  start(server: { readonly port: number; readonly caFile: string }, timeout?: number): StartedGate;
}

export interface StartedGate {
  /** What the console shows. */
  readonly lines: readonly string[];
  /** The exit code. */
  readonly ended: Promise<number>;
  /** Resolves once a line has this in it. */
  shows(text: string): Promise<void>;
  /** Lets time pass for it, in milliseconds. */
  pass(time: number): void;
  /** As root on the machine. */
  letIn(reason: string): Promise<void>;
  stop(): Promise<number>;
}

export async function gateOf(machine: FixtureMachine, node: string): Promise<GateOfMachine> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-gate-'));
  const openFile = join(dir, 'run', 'open');
  return {
    start({ port, caFile }, timeout) {
      const lines: string[] = [];
      const stop = new AbortController();
      let passed = 0;
      const ended = rm(openFile, { force: true }).then(() =>
        runGate(
          {
            node,
            servers: [{ host: '127.0.0.1', port }],
            caFile,
            tcti: machine.tpm.tcti,
            stateDir: join(dir, 'state'),
            openFile,
            timeout: timeout ?? null,
            sysroot: machine.sysroot,
            logLevel: 'silent',
          },
          {
            logger: pino({ level: 'silent' }),
            signal: stop.signal,
            print: (line) => lines.push(line),
            now: () => performance.now() + passed,
          },
        ),
      );
      return {
        lines,
        ended,
        async shows(text) {
          for (
            const end = performance.now() + 20_000;
            !lines.some((line) => line.includes(text));
            await sleep(10)
          )
            if (performance.now() > end)
              throw new Error(`the console does not show ${text}:\n${lines.join('')}`);
        },
        pass(time) {
          passed += time;
        },
        letIn: (reason) => writeFile(openFile, `${reason}\n`, { mode: 0o600 }),
        stop() {
          stop.abort();
          return ended;
        },
      };
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}
