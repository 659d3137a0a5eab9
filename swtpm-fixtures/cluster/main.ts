/**
 * The cluster and story of `npm start` (`cluster`, `story`), the story of --cluster (`cluster-story`,
 * `marked-nodes`), that of --update (`update-story`, `alarms`), and those of --tamper key and forecast (`key-story`,
 * `forecast-story`).
 */

import { access, constants, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { type LogLevel, logLevels } from '../../attest-server/settings/settings.ts';
import { shareMade } from '../made-once.ts';
import { whyNoNamespace } from '../namespace.ts';
import { compiledIn, sources } from '../programs.ts';
import { createAlarms } from './alarms.ts';
import { claimFolder } from './claim.ts';
import { type ClusterOptions, openCluster, usualStep } from './cluster.ts';
import { tellClusterStory } from './cluster-story.ts';
import { forecastMachine, tellForecastStory } from './forecast-story.ts';
import { openKeyCustody, tellKeyStory } from './key-story.ts';
import { createLiveTable, type LiveTable } from './live-table.ts';
import { openMarkedNodes } from './marked-nodes.ts';
import { createNarrator, type Narrator } from './narrator.ts';
import { stayUp } from './stay-up.ts';
import { type Change, changes, tellStory } from './story.ts';
import { inForeground } from './typed-lines.ts';
import { fleetMachine, fleetRecording, tellUpdateStory } from './update-story.ts';

interface Flags {
  readonly once?: true;
  readonly cluster?: true;
  readonly update?: true;
  readonly nodes?: number;
  readonly tamper: Change | 'key' | 'forecast';
  readonly output: 'text' | 'json';
  readonly stateDir: string;
  readonly logLevel: LogLevel;
  readonly programs?: string;
}

const program = new Command('npm start --')
  .description(
    'Runs a server, agents, and software TPMs that boot with the logs of real machines, all on this machine.',
  )
  .option(
    '--once',
    'tell the story, check that each node reaches the expected state, and end; exit 0 only if all did',
  )
  .option(
    '--cluster',
    'beside a Kubernetes API server of this process, whose Nodes are marked; with --once, tell the story of these marks',
  )
  .option(
    '--update',
    'with --once: tell how a fleet gets another kernel, and nobody is alarmed before the old one is back',
  )
  .option('--nodes <n>', 'how many nodes, at least 3; default: 3, with --update 4', countOfNodes)
  .addOption(
    new Option(
      '--tamper <what>',
      'what changes on node-2: in its second boot, or (firewall, disk, runtime) while it runs; key: with --once, a story of its own, in which a node gets the key of an encrypted disk, and a changed one gets none; forecast: the same of a kernel that is installed and foretold to get none',
    )
      .choices([...changes, 'key', 'forecast'])
      .default('kernel'),
  )
  .addOption(
    new Option('-o, --output <format>', 'with json, stdout holds one object a line')
      .choices(['text', 'json'])
      .default('text'),
  )
  .option('--state-dir <dir>', 'kept between runs (not with --once)', '.assay')
  .addOption(
    new Option('--log-level <level>', "the server's log, on stderr").choices(logLevels).default('silent'),
  )
  .option(
    '--programs <folder>',
    'start agents and assay as `npm run build` made them there, not their sources',
  )
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

program.parse();
shareMade(process.env.ASSAY_TEST_MADE);
const flags = program.opts<Flags>();
if (flags.cluster === true && flags.once === true && flags.tamper !== 'kernel')
  program.error('error: with --once --cluster, only a kernel is tampered with: leave --tamper away.');
if (flags.update === true && (flags.once !== true || flags.cluster === true || flags.tamper !== 'kernel'))
  program.error(
    'error: --update is a story of its own: type --once --update, without --cluster and --tamper.',
  );
const isOfDisk = flags.tamper === 'key' || flags.tamper === 'forecast';
if (isOfDisk && (flags.once !== true || flags.nodes !== undefined))
  program.error(
    `error: --tamper ${flags.tamper} is a story of its own, with one node: type --once --tamper ${flags.tamper}, without --nodes.`,
  );
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => interrupted.abort(new Error('interrupted')));
// A reader that has seen enough, such as `head`, ends it as Ctrl-C does.
process.stdout.on('error', (error) => interrupted.abort(error));
process.exitCode = await main();

async function main(): Promise<number> {
  const once = flags.once === true;
  const dir = once ? await mkdtemp(join(tmpdir(), 'assay-')) : resolve(flags.stateDir);
  const narrator = createNarrator(flags.output, process.stdout, tableOfTerminal());
  const ending = new DisposableStack();
  interrupted.signal.addEventListener('abort', () =>
    ending.use(narrator.waiting('agents, server and machines to end', usualStep)),
  );
  try {
    const code = await play(dir, narrator);
    if (interrupted.signal.aborted) narrator.say(once ? 'Interrupted: nothing is kept.' : keptSentence());
    return code;
  } finally {
    ending.dispose();
    if (once) await rm(dir, { recursive: true, force: true });
  }
}

/** Null where lines alone are printed: for a pipe, a plain terminal, and beside the log of the server. */
function tableOfTerminal(): LiveTable | null {
  const { TERM, NO_COLOR } = process.env;
  const isPlain = !process.stdout.isTTY || TERM === 'dumb' || Boolean(NO_COLOR);
  if (isPlain || flags.logLevel !== 'silent') return null;
  // The last words stand below the last table.
  const table = createLiveTable(process.stdout, () => !interrupted.signal.aborted && inForeground());
  // The shell wrote below it in the meantime.
  process.on('SIGCONT', table.leave);
  return table;
}

function keptSentence(): string {
  const kept = quoted(flags.stateDir === '.assay' ? './.assay' : flags.stateDir);
  const again = [
    'npm start',
    ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2).map(quoted)] : []),
  ];
  return (
    `Ended. ${kept} is kept: the machines with their TPMs, enrolments, references and the audit log. ` +
    `\`${again.join(' ')}\` goes on with it, \`rm -r ${kept}\` removes it.`
  );
}

function quoted(word: string): string {
  return /^[\w./:=@,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** @returns the exit code */
async function play(dir: string, narrator: Narrator): Promise<number> {
  const once = flags.once === true;
  const alarms = createAlarms();
  const { tamper } = flags;
  const programs = flags.programs === undefined ? sources : compiledIn(resolve(flags.programs));
  const isOfOneModel = flags.cluster === true || flags.update === true || isOfDisk;
  const timings = once
    ? // Only in the first story somebody falls silent: a slow computer is not to look like it.
      { challengeEvery: 1_000, unknownAfter: isOfOneModel ? 30_000 : 10_000 }
    : { challengeEvery: 5_000, unknownAfter: 15_000 };
  try {
    const noFirewall = tamper === 'firewall' ? await whyNoNamespace() : null;
    if (noFirewall !== null) throw new Error(`--tamper firewall needs nodes with a firewall: ${noFirewall}`);
    if (!once) await makeStateDir(dir);
    await using _claim = await claimFolder(dir);
    await using marked = flags.cluster === true ? await openMarkedNodes(dir, interrupted.signal) : null;
    const options: ClusterOptions = {
      dir,
      nodes: flags.nodes ?? usualCount(flags),
      ...timings,
      logLevel: flags.logLevel,
      ports: once ? 'free' : 'usual',
      narrator,
      signal: interrupted.signal,
      programs,
      ...(marked !== null && { kubeconfig: marked.kubeconfig }),
      ...(once && machines(flags)),
      recorded: alarms.see,
    };
    if (tamper === 'key' || tamper === 'forecast') {
      await using custody = await openKeyCustody();
      await using cluster = await openCluster({ ...options, keys: custody.keys });
      const tell = tamper === 'key' ? tellKeyStory : tellForecastStory;
      return (await tell(cluster, custody, narrator, programs)) ? 0 : 1;
    }
    await using cluster = await openCluster(options);
    if (flags.update === true) return (await tellUpdateStory(cluster, alarms, narrator)) ? 0 : 1;
    if (marked !== null && once) return (await tellClusterStory(cluster, marked, narrator)) ? 0 : 1;
    if (marked !== null) {
      narrator.say('Each machine is a Node of a Kubernetes API server.');
      for (const { name } of cluster.nodes) await marked.register(name);
    }
    const ok = await tellStory(cluster, narrator, { tamper, powerLoss: once });
    if (!once) await stayUp(cluster, marked, narrator, interrupted.signal);
    return ok ? 0 : 1;
  } catch (error) {
    // Ctrl-C reaches the tools that this started as well: one may have ended of it before this process heard of it.
    await setImmediate();
    if (interrupted.signal.aborted) return once ? 1 : 0;
    process.stderr.write(`npm start: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

/** @throws Error where another user made it, or this one may make none there */
async function makeStateDir(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await access(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new Error(
      `this user may not write ${dir}: remove it if it is there, or choose another folder with --state-dir`,
      { cause },
    );
  }
}

/** Of which machines a story tells, where it is not those of six models. */
function machines({ cluster, update, tamper }: Flags): Pick<ClusterOptions, 'recordings' | 'differing'> {
  if (update === true) return { recordings: [fleetRecording], differing: fleetMachine };
  if (tamper === 'key') return { recordings: [fleetRecording] };
  if (tamper === 'forecast') return { recordings: [fleetRecording], differing: forecastMachine };
  // The bounds of the breaker are those of a group: all nodes are of one.
  return cluster === true ? { recordings: ['debian13-shim-grub'] } : {};
}

function usualCount({ update, tamper }: Flags): number {
  if (tamper === 'key' || tamper === 'forecast') return 1;
  return update === true ? 4 : 3;
}

function countOfNodes(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 3 || count > 64)
    throw new InvalidArgumentError('the story needs at least 3 nodes, and takes at most 64.');
  return count;
}
