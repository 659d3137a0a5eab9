import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { run, start } from 'node-tpm2/run';
import { z } from 'zod';
import type { Answer, Recording } from './recording.ts';

/**
 * Records the state of a server of another tree, as its own programs left it: `record.ts TREE FOLDER COMMIT`.
 * TREE is a worktree of a release with its packages installed. CONTRIBUTING.md says when.
 */
async function main([tree, folder, commit]: readonly string[]): Promise<void> {
  if (tree === undefined || folder === undefined || commit === undefined)
    throw new Error('usage: record.ts TREE FOLDER COMMIT');
  // Kept in the recording, where it is to name no folder of a person.
  const dir = '/var/lib/assay-recorded';
  await mkdir(dir, { mode: 0o700 });
  try {
    const { version } = described.parse(JSON.parse(await readFile(join(tree, 'package.json'), 'utf8')));
    const node = join(tree, `node_modules/node-linux-${process.arch}/bin/node`);
    await using story = await startStory(node, resolve(tree), dir);
    const assay = async (...args: readonly string[]) => {
      const argv = [join(tree, 'attest-server/cli/main.ts'), ...args, ...(await flagsOf(dir))];
      const { stdout } = await run(node, argv, { timeoutMs: patience, maxOutputBytes: 16 * 1024 * 1024 });
      return stdout.toString('utf8').trim();
    };
    await decide(assay, dir);
    if (story.hasMarks) await decideAboutMarks(assay, story, dir);
    const answers = await answersOf(dir);
    const database = await readFile(await assay('backup'));
    await story[Symbol.asyncDispose]();

    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await cp(join(dir, 'audit.key'), join(folder, 'audit.key'));
    await cp(join(dir, 'tls'), join(folder, 'tls'), { recursive: true });
    await cp(join(dir, 'strict.yaml'), join(folder, 'policy.yaml'));
    await writeFile(join(folder, 'assay.db.gz'), gzipSync(database, { level: 9 }));
    const recording: Recording = { version, commit, at: new Date().toISOString(), answers };
    await writeFile(join(folder, 'recording.json'), `${JSON.stringify(recording, null, 1)}\n`);
  } finally {
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

type Assay = (...args: readonly string[]) => Promise<string>;

const described = z.object({ version: z.string() });
const patience = 300_000;

interface Story extends AsyncDisposable {
  /** It has a cluster whose Nodes it marks. */
  readonly hasMarks: boolean;
  type(line: string): void;
}

/** `npm start`, with what it starts compiled where that version can: a server, and eight nodes of six models that are enrolled and vouched for, until it is ended. */
async function startStory(node: string, tree: string, dir: string): Promise<Story> {
  const program = join(tree, 'swtpm-fixtures/cluster/main.ts');
  const { stdout: help } = await run(node, [program, '--help'], {
    timeoutMs: 30_000,
    maxOutputBytes: 65_536,
  });
  const hasMarks = help.toString('utf8').includes('--cluster');
  const programs = help.toString('utf8').includes('--programs') ? join(dir, 'programs') : null;
  if (programs !== null)
    await run(node, [join(tree, 'swtpm-fixtures/set-up/build.ts'), '--out', programs], {
      timeoutMs: patience,
      maxOutputBytes: 65_536,
    });
  const args = [
    ...[program, '--state-dir', dir, '--nodes', '8'],
    ...(hasMarks ? ['--cluster'] : []),
    ...(programs === null ? [] : ['--programs', programs]),
  ];
  const child = start(node, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await until('the story is told', async () => {
    if (child.exitCode !== null) throw new Error('npm start ended before its story was told');
    return said.includes('In another terminal');
  });
  return {
    hasMarks,
    type: (line) => child.stdin?.write(`${line}\n`),
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null) return;
      const exit = once(child, 'exit');
      // An open pipe would keep 0.1.0 alive.
      child.stdin?.end();
      child.kill('SIGINT');
      await exit;
    },
  };
}

async function flagsOf(dir: string): Promise<readonly string[]> {
  const { server, tokenFile, caFile } = await connectionOf(dir);
  return ['--server', server, '--token-file', tokenFile, '--ca-file', caFile];
}

const connection = z.object({ server: z.string(), tokenFile: z.string(), caFile: z.string() });

async function connectionOf(dir: string) {
  return connection.parse(JSON.parse(await readFile(join(dir, 'cli.json'), 'utf8')));
}

/** What every version can do. */
async function decide(assay: Assay, dir: string): Promise<void> {
  const pins = join(dir, 'more.csv');
  await writeFile(pins, `node-20,${'5a'.repeat(32)}\n`);
  await assay('ek', 'import', pins);
  await assay('join-token', 'create', '--node', 'node-21', '--ttl', '24h');
  await assay('token', 'create', '--name', 'alice', '--role', 'operator');
  await assay('token', 'create', '--name', 'bob', '--role', 'reader', '--ttl', '1h');
  await assay('audit', 'rotate-key');
}

async function decideAboutMarks(assay: Assay, story: Story, dir: string): Promise<void> {
  // The second of its group that fails by drift: its taint waits for a person.
  story.type('tamper node-8 kernel');
  await until('a taint waits', async () => {
    const { failing } = cluster.parse((await ask(dir, '/v1/cluster')).body);
    return failing.some(({ waiting }) => waiting > 0);
  });
  await assay('breaker', 'hold', '--reason', 'the night of the upgrade', '-o', 'json');
  await assay('exempt', 'node-3', '--reason', 'it is looked at', '--for', '30d', '-o', 'json');
  const copy = join(await mkdtemp(join(dir, 'copy-')), 'audit.key');
  await cp(join(dir, 'audit.key'), copy);
  const groups = ['debian13-shim-grub', 'centos9-shim-grub'].flatMap((name) => ['--group', name]);
  await assay('trust', 'enable', ...groups, '--audit-key-copy', copy, '--yes');
  await assay('pause', '--reason', 'the upgrade', '-o', 'json');
}

const cluster = z.object({ failing: z.array(z.object({ waiting: z.number() })) });

/** What the server says as an administrator asks, by path. */
async function answersOf(dir: string): Promise<Recording['answers']> {
  const names = await readdir(join(dir, 'nodes'));
  const paths = [
    ...['/v1/nodes', '/v1/references', '/v1/enrolments', '/v1/tokens', '/v1/join-tokens', '/v1/authority'],
    ...['/v1/cluster', '/v1/status', '/v1/whoami', '/v1/policy', '/v1/audit'],
    ...names.sort().flatMap((name) => [`/v1/nodes/${name}`, `/v1/nodes/${name}/history`]),
  ];
  const answers: Record<string, Answer> = {};
  for (const path of paths) answers[path] = await ask(dir, path);
  return answers;
}

/** A server that is busy with its nodes may end a connection early: then once more. */
async function ask(dir: string, path: string, attempts = 20): Promise<Answer> {
  try {
    return await askOnce(dir, path);
  } catch (error) {
    if (attempts === 1) throw new Error(`${path} is not answered`, { cause: error });
    await sleep(1_000);
    return ask(dir, path, attempts - 1);
  }
}

async function askOnce(dir: string, path: string): Promise<Answer> {
  const { server, tokenFile, caFile } = await connectionOf(dir);
  const [token, ca] = await Promise.all([readFile(tokenFile, 'utf8'), readFile(caFile)]);
  const headers = { authorization: `Bearer ${token.trim()}` };
  const call = request(new URL(`${server}${path}${path === '/v1/audit' ? '?limit=500' : ''}`), {
    ca,
    headers,
  });
  const [response] = await once(call.end(), 'response');
  const body = Buffer.concat(await response.toArray()).toString('utf8');
  return { status: response.statusCode, body: JSON.parse(body) };
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + patience; !(await isSo()); await sleep(500))
    if (performance.now() > end) throw new Error(`not in ${patience} ms: ${what}`);
}

await main(process.argv.slice(2));
