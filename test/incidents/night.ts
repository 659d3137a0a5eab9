import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeView } from '../../attest-server/api/node-api.ts';
import type { NodeState } from '../../attest-server/wire/verdict.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';
import { agentsOf, ekDigestOf, type RealAgent, startAgent } from '../attest-server/real-agent.ts';
import { type ServerSettings, startTestServer, type TestServer } from '../attest-server/running-server.ts';
import type { End } from '../swtpm-fixtures/end-of.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';

/** The model of machine that the incidents happen to: everything of its boot is measured. */
export const goodBoot = recordedLog('debian13-shim-grub');

/** A server, a node that was trusted when the night began, and the engineer on call with the command line. */
export interface Night extends AsyncDisposable {
  readonly world: TestServer;
  readonly machine: FixtureMachine;
  /** Runs `assay` as the engineer types it. */
  assay(...words: readonly string[]): Promise<End>;
  /** Ends the agent, as a crash does. */
  killAgent(): Promise<void>;
  startAgent(machine?: FixtureMachine): Promise<RealAgent>;
  /** The machine boots again, with this log. */
  reboot(log: Buffer): Promise<void>;
  reaches(state: NodeState, code?: string): Promise<void>;
}

export const node = 'node-1';
const patience = 20_000;

/** @param settings of the server; by default it asks twice a second and calls a node silent after two seconds */
export async function fallNight(settings: ServerSettings = {}): Promise<Night> {
  await using opened = new AsyncDisposableStack();
  const world = opened.use(
    await startTestServer({ challengeEvery: 0.5, answerWithin: 2, unknownAfter: 2, ...settings }),
  );
  const machine = opened.use(await startMachine({ log: goodBoot }));
  let agent: RealAgent | null = null;
  const killAgent = async () => {
    await agent?.[Symbol.asyncDispose]();
    agent = null;
  };
  opened.defer(killAgent);
  const boot = async (on: FixtureMachine = machine) => {
    agent = await startAgent(on, node, agentsOf(world));
    return agent;
  };
  const night: Omit<Night, keyof AsyncDisposable> = {
    world,
    machine,
    assay: (...words) => assay(world, words),
    killAgent,
    startAgent: boot,
    async reboot(log) {
      await killAgent();
      await machine.powerCycle(log);
      await boot();
    },
    async reaches(state, code) {
      await world.until(async () => {
        const { status, text } = await world.ask('GET', `/v1/nodes/${node}`, adminToken(world));
        if (status !== 200) return false;
        const view = nodeView.parse(JSON.parse(text));
        return view.state === state && (code === undefined || view.reason === code);
      }, patience);
    },
  };
  await world.pin(node, await ekDigestOf(machine));
  await boot();
  await night.reaches('pending', 'no_reference');
  await world.call('POST', '/v1/references', { node, name: 'good-boot' });
  await night.reaches('trusted');
  const all = opened.move();
  return { ...night, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** What the night must show: the cause, and what to type next, in the same output, after two commands at most. */
export interface Finding {
  readonly steps: readonly [readonly string[]] | readonly [readonly string[], readonly string[]];
  /** Every one of these stands in the last output. */
  readonly cause: readonly (string | RegExp)[];
  /** The beginnings of commands of which each stands alone on a line there, whole. */
  readonly next: readonly (string | RegExp)[];
}

/** Types the steps, and gives the last output. @throws AssertionError where the cause or the next command is not in it */
export async function investigate(
  night: Pick<Night, 'assay'>,
  { steps, cause, next }: Finding,
): Promise<string> {
  let shown = '';
  for (const step of steps) {
    const { stdout, stderr } = await night.assay(...step);
    shown = stdout + stderr;
  }
  assertShows(shown, { cause, next });
  return shown;
}

/** @throws AssertionError where the cause or a finished command is not in the text */
function assertShows(text: string, { cause, next }: Pick<Finding, 'cause' | 'next'>): void {
  const prose = text.replace(/\s+/g, ' ');
  for (const part of cause)
    assert(typeof part === 'string' ? prose.includes(part) : part.test(prose), `no ${part} in:\n${text}`);
  const commands = commandsIn(text);
  for (const part of next) {
    const found = commands.find((line) =>
      typeof part === 'string' ? line.startsWith(part) : part.test(line),
    );
    assert(found !== undefined, `no command ${part} in:\n${text}`);
    assert.doesNotMatch(found, unfinished, `a word is left to fill in: ${found}`);
  }
}

/** Lines that are a command alone. */
export function commandsIn(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) =>
      /^(assay|assay-agent|assay-server|systemctl|journalctl|df|du|findmnt|ls|wc|nft|date|cat|sudo|ping|kubectl) /.test(
        line,
      ),
    );
}

/** Words that stand for something in a help text. */
const unfinished = /\b(NODE|NAME|DIGEST|FILE|DIR|EK|REFERENCE|HOST)\b|…|<[a-z-]+>/;

/** Types a command of an output into a shell as it stands there; the words of one of `assay` then run in this process. */
export async function type(night: Pick<Night, 'assay'>, command: string): Promise<End> {
  const assayHere = `assay() { for word; do printf '%s\\0' "$word"; done; }`;
  const {
    status: code,
    stdout,
    stderr,
  } = spawnSync('sh', ['-c', `${assayHere}; ${command}`], {
    encoding: 'utf8',
  });
  if (!command.startsWith('assay ')) return { code, stdout, stderr };
  assert.equal(code, 0, stderr);
  return night.assay(...stdout.split('\0').slice(0, -1));
}

/**
 * Types the command of an output that begins so, with these words behind it, which must end well.
 * @returns the command as it stood there
 */
export async function follow(
  night: Pick<Night, 'assay'>,
  shown: string,
  begins: string,
  ...more: readonly string[]
): Promise<string> {
  const command = commandsIn(shown).find((line) => line.startsWith(begins));
  assert.ok(command !== undefined, `no ${begins} in:\n${shown}`);
  const { code, stderr } = await type(night, [command, ...more].join(' '));
  assert.equal(code, 0, stderr);
  return command;
}

/** Runs `assay` with the administrator's token, in this process: dozens of programs would take longer than all else. */
export async function assay(world: TestServer, words: readonly string[]): Promise<End> {
  const { code, out, err } = await runAssay(words, { env: environmentOf(world), now: Date.now });
  return { code, stdout: out, stderr: err };
}

function environmentOf(world: TestServer): Record<string, string> {
  return { PATH: process.env.PATH ?? '', HOME: world.stateDir, ...world.env() };
}

function adminToken({ stateDir }: TestServer): string {
  return readFileSync(join(stateDir, 'admin.token'), 'utf8').trim();
}
