/**
 * Tests mirror the trees of the product. Besides: `incidents` plays thirteen faults of a night from the command
 * line; `brownfield` leads a site of 60 machines along `docs/adopting.md`; `bench` measures; `fuzz` makes
 * inputs for each parser (`docs/fuzzing.md`); `attacks` are programs that besiege a real server, or kill it
 * (`attacks/one-server`); `vectors` makes and runs the vectors; `conversations` replays those of released
 * versions, and `databases` goes on with their state; `release` says whether this tree can be released.
 *
 * `programs` says which programs tests start; `vm` boots virtual machines; `cluster` tries manifests and server
 * at any API server; `manifests` holds chart and base to what Kubernetes takes without one; `recorded` judges
 * folders and firmware logs (npm run recorded); `generated` writes what follows from declarations and from the
 * chart; `troubleshooting` is the page of all codes; `toy` is an aspect that nobody ships.
 */

import { chmodSync, globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { start } from 'node-tpm2/run';
import { compiledIn } from '../swtpm-fixtures/programs.ts';
import { batchesOf, type Seconds } from './batches.ts';
import { type Check, checks, fixes, importRules } from './checks.ts';
import { typeCheckEnvironment } from './compiler.ts';
import { folderInMemory } from './folder-in-memory.ts';
import { runMocha, type Totals } from './mocha-process.ts';
import { type TimeSpent, timeSpent } from './time-spent.ts';

const groups = ['unit', 'property', 'vectors', 'swtpm', 'e2e'];
const oneByOne = ['vm', 'debs', 'keys', 'cluster', 'images'];
/**
 * Run when they are named, which `npm run test:vm`, `test:debs`, `test:keys`, `test:cluster`, `test:images` and `test:long` do: virtual
 * machines take a minute each and more, KUBECONFIG may name a cluster that is not for tests, images and package are built of
 * packages that are fetched, and what is played to its end takes long.
 */
const apart = [...oneByOne, 'long'];
const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules');
/** TERM, the colour switches and the number of trials reach the programs; the rest of the environment does not. */
const env = Object.fromEntries(
  ['TERM', 'NO_COLOR', 'FORCE_COLOR', 'TMPDIR', 'HOME', 'ASSAY_TEST_TRIALS'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  }),
);
// Each process of mocha would strip and compile the same modules anew.
env.NODE_COMPILE_CACHE = join(bin, '.cache', 'compiled-modules');

/** What each file took in an earlier run. */
const secondsFile = join(import.meta.dirname, 'seconds.json');
const keepSeconds = '--keep-seconds';

/** Where this check fails, there is nothing that tests could start. */
const compiling = 'programs, compiled';
const nothing: Totals = { passed: 0, failed: 0, skips: [], failures: [], files: {} };
const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const [verb, ...args] = process.argv.slice(2);
if (verb === 'fix') await runAll(fixes);
else if (verb === 'check') {
  const totals = await runAll([...checks, importRules]);
  process.exitCode = totals.failed > 0 ? 1 : 0;
} else await test();

/**
 * Everything: the checks beside all groups, and what tests start is compiled, as it is shipped. With arguments: the groups
 * named, and what else mocha shall know; then sources are started, unless `--compiled` is among them.
 */
async function test(): Promise<void> {
  const all = [...groups, ...apart];
  const chosen = all.filter((group) => args.includes(group));
  const isWhole = args.every((arg) => arg === keepSeconds);
  const others = args.filter((arg) => !all.includes(arg) && arg !== '--compiled' && arg !== keepSeconds);
  const unknown = others.find((arg, index) => isNothing(arg, others[index - 1]));
  if (unknown !== undefined) {
    const what = unknown.endsWith('.ts') ? 'file' : 'group';
    const known = `groups (${all.join(', ')}), folders (test/…) or files (test/….test.ts)`;
    console.error(`no such ${what}: ${unknown}; name ${known}`);
    process.exitCode = 2;
    return;
  }
  const kubeconfig = process.env.KUBECONFIG;
  if (chosen.includes('cluster') && kubeconfig !== undefined) env.KUBECONFIG = kubeconfig;
  const ran: Totals[] = [];
  // What a batch says goes into a file first, where mocha sees no terminal.
  const colour = process.stdout.isTTY && env.NO_COLOR === undefined ? ['--color'] : [];
  const ofGroups = chosen.length > 0 ? chosen : groups;
  const options = [...colour, ...others.filter((arg) => testsAt(arg, ofGroups) === null)];
  const named = [...new Set(others.flatMap((arg) => testsAt(arg, ofGroups) ?? []))];
  const files = others.length > options.length - colour.length ? named : testFiles(ofGroups);
  // Images and disks of virtual machines are too large for memory; and who names a folder knows why.
  const isLarge = files.some((file) => oneByOne.some((group) => file.endsWith(`.${group}.test.ts`)));
  const place = isLarge || env.TMPDIR !== undefined ? null : folderInMemory();
  if (place !== null) {
    env.TMPDIR = place;
    process.env.TMPDIR = place;
  }
  if (files.length === 0) {
    const failure = `no test files of ${ofGroups.join(', ')} there`;
    ran.push({ ...nothing, failed: 1, failures: [failure] });
  }
  const compiled =
    isWhole || args.includes('--compiled') ? mkdtempSync(join(tmpdir(), 'assay-compiled-')) : null;
  const made = mkdtempSync(join(tmpdir(), 'assay-made-'));
  env.ASSAY_TEST_MADE = made;
  let endedBy: NodeJS.Signals | null = null;
  try {
    if (compiled !== null) ran.push(await compile(compiled));
    const isBuilt = ran.every(({ failures }) => !failures.includes(compiling));
    // Two virtual machines at once are slow, and all images are built in one folder.
    const isOneByOne = chosen.some((group) => oneByOne.includes(group));
    const batches = isOneByOne ? [files] : batchesOf(files, readSeconds());
    const all = await runBatches(isBuilt ? batches : [], options, isWhole ? [() => runAll(checks)] : []);
    ran.push(...all.ran);
    endedBy = all.endedBy;
  } finally {
    // A program that is left over may just write there.
    for (const folder of [compiled, made])
      if (folder !== null) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
  // As if nobody had listened: the caller learns by which signal this ended.
  if (endedBy !== null) process.kill(process.pid, endedBy);
  const totals = joined(ran);
  process.exitCode = totals.failed > 0 ? 1 : 0;
  showTimes(totals.files);
  if (args.includes(keepSeconds)) writeSeconds(totals.files);
  for (const title of totals.skips) console.log(`SKIPPED  ${title}`);
  for (const title of totals.failures) console.log(`FAILED  ${title}`);
  console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skips.length} skipped`);
}

/** Neither a folder, a file or a pattern of files, nor an option for mocha or the value of one. */
function isNothing(arg: string, before: string | undefined): boolean {
  const isOption = arg.startsWith('-') || (before?.startsWith('-') === true && !before.includes('='));
  const found = testsAt(arg, groups);
  return !isOption && (found === null || (arg.endsWith('.ts') && found.length === 0));
}

/** Files that an argument names by their path, a pattern, or the folder where those of some groups are; null if it does not. */
function testsAt(arg: string, ofGroups: readonly string[]): string[] | null {
  if (arg.endsWith('.ts')) return globSync(arg, { cwd: root });
  // A word without a slash may be what an option looks for.
  const stats = arg.includes('/') ? statSync(resolve(root, arg), { throwIfNoEntry: false }) : undefined;
  return stats?.isDirectory() === true ? testFiles(ofGroups, arg) : null;
}

function testFiles(chosen: readonly string[], folder = 'test'): string[] {
  return chosen.flatMap((group) => globSync(`${folder}/**/*.${group}.test.ts`, { cwd: root }).sort());
}

/** Tests start what lies there from then on (`programs.ts`), some as another user. */
async function compile(folder: string): Promise<Totals> {
  chmodSync(folder, 0o755);
  env.ASSAY_TEST_PROGRAMS = folder;
  const built = await runAll([
    // The types are checked beside the tests.
    { name: compiling, command: ['../swtpm-fixtures/set-up/build.ts', '--no-check', '--out', folder] },
  ]);
  if (built.failed === 0) keepCompiled(folder);
  return built;
}

/** Tests start these hundreds of times, in environments of their own: what Node compiles of them is kept beside them. */
function keepCompiled(folder: string): void {
  const kept = JSON.stringify(join(folder, 'compiled-modules'));
  writeFileSync(
    join(folder, 'keep-compiled.mjs'),
    `import { enableCompileCache } from 'node:module';\nenableCompileCache(${kept});\n`,
  );
  for (const program of Object.values(compiledIn(folder))) {
    const text = readFileSync(program, 'utf8');
    writeFileSync(program, text.replace('\n', "\nimport './keep-compiled.mjs';\n"));
  }
}

/**
 * Somewhat more at a time than there are processors, since many tests wait for programs and for time to pass. A signal ends
 * all that runs.
 * @param besides what is done beside the first of them
 */
async function runBatches(
  batches: readonly (readonly string[])[],
  options: readonly string[],
  besides: readonly (() => Promise<Totals>)[],
): Promise<{ readonly ran: readonly Totals[]; readonly endedBy: NodeJS.Signals | null }> {
  const ending = new AbortController();
  let endedBy: NodeJS.Signals | null = null;
  const onSignal = (signal: NodeJS.Signals) => {
    console.log(`${signal}: the tests that run are ended`);
    endedBy = signal;
    ending.abort();
  };
  for (const signal of endingSignals) process.on(signal, onSignal);
  const shown = batches.length > 1 ? 'whole' : 'live';
  const queue = [
    ...besides,
    ...batches.map(
      (files) => () => runMocha({ args: [...options, ...files], env, shown, signal: ending.signal }),
    ),
  ];
  const ran: Totals[] = [];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined && !ending.signal.aborted; next = queue.shift())
      ran.push(await next());
  };
  await Promise.all(Array.from({ length: availableParallelism() + 2 }, work));
  for (const signal of endingSignals) process.off(signal, onSignal);
  return { ran, endedBy };
}

function readSeconds(): Seconds {
  return JSON.parse(readFileSync(secondsFile, 'utf8'));
}

function writeSeconds(files: Totals['files']): void {
  const all = Object.entries(files)
    .map(([file, { ms }]) => [file, Number((ms / 1000).toFixed(1))] as const)
    .sort(([one], [other]) => (one < other ? -1 : 1));
  writeFileSync(secondsFile, `${JSON.stringify(Object.fromEntries(all), null, 2)}\n`);
}

function joined(all: readonly Totals[]): Totals {
  const sum = (count: (totals: Totals) => number) => all.reduce((total, totals) => total + count(totals), 0);
  return {
    passed: sum(({ passed }) => passed),
    failed: sum(({ failed }) => failed),
    skips: all.flatMap(({ skips }) => skips),
    failures: all.flatMap(({ failures }) => failures),
    files: Object.assign({}, ...all.map(({ files }) => files)),
  };
}

/** So that whoever adds a slow test sees it. */
function showTimes(files: Totals['files']): void {
  const slowest = Object.entries(files).sort(([, one], [, other]) => other.ms - one.ms);
  if (slowest.length < 11) return;
  const line = ({ ms, cpuMs }: TimeSpent, what: string) =>
    console.log(`${seconds(ms)} s ${seconds(cpuMs)} s of CPU  ${what}`);
  for (const [file, took] of slowest.slice(0, 10)) line(took, file);
  line(timeSpent(), 'in all');
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1).padStart(6);
}

/** Runs the checks in turn, each one line; one that fails shows what it said. */
async function runAll(list: readonly Check[]): Promise<Totals> {
  const failures: string[] = [];
  for (const { name, command } of list) {
    const before = performance.now();
    const child = start(process.execPath, [join(bin, command[0]), ...command.slice(1)], {
      env: { ...env, ...typeCheckEnvironment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const said: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (bytes: Buffer) => {
        said.push(bytes);
      });
    }
    const code = await exitOf(child);
    const seconds = ((performance.now() - before) / 1000).toFixed(1);
    console.log(`${code === 0 ? 'ok    ' : 'FAILED'}  ${name} (${seconds} s)`);
    if (code === 0) continue;
    failures.push(name);
    console.log(Buffer.concat(said).toString('utf8'));
  }
  return { ...nothing, passed: list.length - failures.length, failed: failures.length, failures };
}

function exitOf(child: ReturnType<typeof start>): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'no status'));
  });
}
