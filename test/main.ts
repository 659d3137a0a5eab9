import { globSync } from 'node:fs';
import { join } from 'node:path';
import { start } from 'node-tpm2/run';
import { type Check, checks, fixes, importRules } from './checks.ts';

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
  /** Titles of the tests that failed. */
  failures?: readonly string[];
}

/**
 * Files that one process of mocha runs. A process that has run hundreds is three times as slow as those that share them:
 * what it keeps of each is looked at by every collection of garbage.
 */
const filesAtOnce = 25;

const groups = ['unit', 'property', 'vectors', 'swtpm', 'e2e'];
/**
 * Run when they are named, which `npm run test:vm` and `test:cluster` do: virtual machines take a minute each, and
 * KUBECONFIG may name a cluster that is not for tests.
 */
const apart = ['vm', 'cluster'];
const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules');
/** TERM and the colour switches reach the programs; the rest of the environment does not. */
const env = Object.fromEntries(
  ['TERM', 'NO_COLOR', 'FORCE_COLOR', 'TMPDIR', 'HOME'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  }),
);

const [verb, ...args] = process.argv.slice(2);
if (verb === 'fix') await runAll(fixes);
else if (verb === 'check') {
  const totals = await runAll([...checks, importRules]);
  process.exitCode = totals.failed > 0 ? 1 : 0;
} else await test();

/** Everything: the checks, then all groups. With arguments: the groups named, and what else mocha shall know. */
async function test(): Promise<void> {
  const all = [...groups, ...apart];
  const chosen = all.filter((group) => args.includes(group));
  const others = args.filter((arg) => !all.includes(arg));
  const unknown = others.find((arg, index) => isNothing(arg, others[index - 1]));
  if (unknown !== undefined) {
    const what = unknown.endsWith('.ts') ? 'file' : 'group';
    console.error(`no such ${what}: ${unknown}; name groups (${all.join(', ')}) or files (test/….test.ts)`);
    process.exitCode = 2;
    return;
  }
  const kubeconfig = process.env.KUBECONFIG;
  if (chosen.includes('cluster') && kubeconfig !== undefined) env.KUBECONFIG = kubeconfig;
  const totals = args.length === 0 ? await runAll(checks) : { passed: 0, failed: 0, skipped: 0 };
  const options = others.filter((arg) => !arg.endsWith('.ts'));
  const named = others.filter((arg) => arg.endsWith('.ts'));
  const files = named.length > 0 ? named : testFiles(chosen.length > 0 ? chosen : groups);
  if (files.length === 0) {
    console.log(`no test files in ${chosen.join(', ')}`);
    totals.failed += 1;
  }
  const failures: string[] = [];
  for (let at = 0; at < files.length; at += filesAtOnce) {
    const ran = await runMocha([...options, ...files.slice(at, at + filesAtOnce)]);
    add(totals, ran);
    failures.push(...(ran.failures ?? []));
  }
  process.exitCode = totals.failed > 0 ? 1 : 0;
  for (const title of failures) console.log(`FAILED  ${title}`);
  console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
}

/** Neither a file or a pattern of files, nor an option for mocha or the value of one. */
function isNothing(arg: string, before: string | undefined): boolean {
  const isOption = arg.startsWith('-') || (before?.startsWith('-') === true && !before.includes('='));
  return !isOption && (!arg.endsWith('.ts') || globSync(arg, { cwd: root }).length === 0);
}

function testFiles(chosen: readonly string[]): string[] {
  return chosen.flatMap((group) => globSync(`test/**/*.${group}.test.ts`, { cwd: root }).sort());
}

function add(totals: Totals, more: Totals): void {
  totals.passed += more.passed;
  totals.failed += more.failed;
  totals.skipped += more.skipped;
}

/** A run that ends without its totals (a crash, an exit inside a test) counts as one failure. */
async function runMocha(mochaArgs: readonly string[]): Promise<Totals> {
  const mocha = join(bin, 'mocha', 'bin', 'mocha.js');
  const reporter = join(import.meta.dirname, 'reporter.mjs');
  const child = start(process.execPath, [mocha, '--reporter', reporter, ...mochaArgs], {
    env,
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
  });
  // Ctrl-C reaches the whole group by itself; a SIGTERM only us.
  const passOn = () => child.kill('SIGTERM');
  process.on('SIGTERM', passOn);
  let said = '';
  child.stdio[3]?.on('data', (bytes: Buffer) => {
    said += bytes.toString('utf8');
  });
  const code = await exitOf(child);
  process.off('SIGTERM', passOn);
  const [head = '', ...failures] = said.split('\n').filter((line) => line !== '');
  const match = /^(\d+) (\d+) (\d+)$/.exec(head);
  if (match === null) {
    console.log(`mocha ended with ${code} before it was done`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  return { passed: Number(match[1]), failed: Number(match[2]), skipped: Number(match[3]), failures };
}

/** Runs the checks in turn, each one line; one that fails shows what it said. */
async function runAll(list: readonly Check[]): Promise<Totals> {
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  for (const { name, command } of list) {
    const before = performance.now();
    const child = start(process.execPath, [join(bin, command[0]), ...command.slice(1)], {
      env,
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
    if (code === 0) totals.passed += 1;
    else {
      totals.failed += 1;
      console.log(Buffer.concat(said).toString('utf8'));
    }
  }
  return totals;
}

function exitOf(child: ReturnType<typeof start>): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? 'no status'));
  });
}
