import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { run } from 'node-tpm2/run';
import { pino } from 'pino';
import { type Answer, type Recording, readRefusedState } from './recording.ts';

/**
 * Records a state that passed through two releases: `record-passed.ts FIRST SECOND FOLDER COMMIT`. FIRST and SECOND are
 * trees of 0.1.0 and 0.3.0 with their packages installed, COMMIT is that of SECOND. The server of FIRST goes on with its
 * recorded state and enrols one TPM twice, as only it does; that of SECOND takes over what is then there.
 */
async function main([first, second, folder, commit]: readonly string[]): Promise<void> {
  if (first === undefined || second === undefined || folder === undefined || commit === undefined)
    throw new Error('usage: record-passed.ts FIRST SECOND FOLDER COMMIT');
  const kept = readRefusedState();
  // Kept in the recording, where it is to name no folder of a person.
  const dir = '/var/lib/assay-recorded';
  await mkdir(dir, { mode: 0o700 });
  try {
    const stateDir = join(dir, 'state');
    kept.restore(stateDir);
    const policy = join(dir, 'policy.yaml');
    await writeFile(policy, `${kept.policyText.trimEnd()}\n${groupOfTwins}`);
    const [roots, exported] = [join(dir, 'roots'), join(dir, 'export.jsonl')];
    await mkdir(roots);
    await inTree(first, { stateDir, policy, roots }, async (server) => {
      await enrolTwins(first, server, stateDir);
      const argv = [join(first, 'attest-server/cli/main.ts'), 'audit', 'export', exported];
      await run(nodeOf(first), [...argv, ...flagsOf(server, stateDir)], {
        ...{ timeoutMs: 60_000, maxOutputBytes: 65_536 },
      });
    });
    const [answers, copy] = await inTree(second, { stateDir, policy, roots }, async (server) => {
      const said = await answersOf(server, stateDir);
      const argv = [join(second, 'attest-server/cli/main.ts'), 'backup', ...flagsOf(server, stateDir)];
      const { stdout } = await run(nodeOf(second), argv, { timeoutMs: 60_000, maxOutputBytes: 65_536 });
      return [said, await readFile(stdout.toString('utf8').trim())] as const;
    });
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await cp(join(stateDir, 'audit.key'), join(folder, 'audit.key'));
    await cp(join(stateDir, 'tls'), join(folder, 'tls'), { recursive: true });
    await cp(policy, join(folder, 'policy.yaml'));
    await writeFile(join(folder, 'assay.db.gz'), gzipSync(copy, { level: 9 }));
    await writeFile(join(folder, 'export-of-0.1.0.jsonl.gz'), gzipSync(await readFile(exported)));
    const version = '0.3.0 after 0.1.0';
    const recording: Recording = { version, commit, at: new Date().toISOString(), answers };
    await writeFile(join(folder, 'recording.json'), `${JSON.stringify(recording, null, 1)}\n`);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const groupOfTwins = '  - {name: twins, nodes: ["*"], mode: observe, require: [identity]}\n';

/** What both releases and this tree have alike, and is used here. */
type Running = Pick<
  import('../../attest-server/server.ts').RunningServer,
  'agentPort' | 'apiPort' | 'caFile' | 'close'
>;
interface Tree {
  readonly serverConfig: typeof import('../../attest-server/config.ts').serverConfig;
  startServer(config: unknown, options: { readonly logger: pino.Logger }): Promise<Running>;
}
interface Folders {
  readonly stateDir: string;
  readonly policy: string;
  readonly roots: string;
}

async function inTree<T>(
  tree: string,
  { stateDir, policy, roots }: Folders,
  work: (server: Running) => Promise<T>,
): Promise<T> {
  const { serverConfig }: Pick<Tree, 'serverConfig'> = await import(join(tree, 'attest-server/config.ts'));
  const { startServer }: Pick<Tree, 'startServer'> = await import(join(tree, 'attest-server/server.ts'));
  const { testAuthorityCertificate }: Forged = await import(join(tree, 'test/attest-server/forged-tpm.ts'));
  await writeFile(join(roots, 'root.pem'), new X509Certificate(testAuthorityCertificate).toString());
  const listens = { host: '127.0.0.1', agentPort: 0, apiPort: 0, metricsPort: 0 };
  const config = serverConfig(null, {}, { stateDir, policy, endorsementRoots: [roots], ...listens });
  const server = await startServer(config, { logger: pino({ level: 'warn' }) });
  try {
    return await work(server);
  } finally {
    await server.close();
  }
}

const nodeOf = (tree: string) => join(tree, `node_modules/node-linux-${process.arch}/bin/node`);

function flagsOf({ apiPort, caFile }: Running, stateDir: string): readonly string[] {
  const server = `https://127.0.0.1:${apiPort}`;
  return ['--server', server, '--token-file', join(stateDir, 'admin.token'), '--ca-file', caFile];
}

type Forged = typeof import('../attest-server/forged-tpm.ts');
type Attacker = typeof import('../attest-server/attacker.ts');
type Keys = typeof import('../attest-server/verify/software-key.ts');

/** One TPM, by two public areas of its key, which differ in an attribute that 0.1.0 does not look at. */
async function enrolTwins(tree: string, server: Running, stateDir: string): Promise<void> {
  const from = (path: string) => join(tree, 'test/attest-server', path);
  const { forgedTpm }: Forged = await import(from('forged-tpm.ts'));
  const { dial }: Attacker = await import(from('attacker.ts'));
  const { ekAttributes, madeArea }: Keys = await import(from('verify/software-key.ts'));
  const tpm = forgedTpm();
  const form = { attributes: ekAttributes | (1 << 10), scheme: 0x0010, symmetric: '000600800043' };
  const other = forgedTpm(tpm.ak, { ...tpm.ek, publicArea: madeArea('p256', tpm.ek.publicKey, form) });
  const ca = await readFile(server.caFile, 'utf8');
  for (const [node, shown] of [
    ['twin-1', tpm],
    ['twin-2', other],
  ] as const) {
    await ask(server, stateDir, '/v1/pins', { pins: [{ node, ek: shown.ekDigest }] });
    const peer = await dial({ ca, server });
    const hello = JSON.stringify(shown.hello(node));
    peer.send(hello);
    const activate = await peer.receive();
    if (activate?.type !== 'activate')
      throw new Error(`${node} was not enrolled: ${JSON.stringify(activate)}`);
    peer.send(shown.activated(activate, peer.channel, hello));
    const challenge = await peer.challenge();
    peer.send(shown.evidence(challenge, { node, hello, channel: peer.channel }));
    await peer.verdict();
    await peer.close();
  }
}

async function answersOf(server: Running, stateDir: string): Promise<Recording['answers']> {
  const names = [...Array.from({ length: 8 }, (_, index) => `node-${index + 1}`), 'twin-1', 'twin-2'];
  const paths = [
    ...['/v1/nodes', '/v1/references', '/v1/enrolments', '/v1/tokens', '/v1/join-tokens', '/v1/authority'],
    ...['/v1/cluster', '/v1/status', '/v1/whoami', '/v1/policy', '/v1/audit?limit=500'],
    ...names.flatMap((name) => [`/v1/nodes/${name}`, `/v1/nodes/${name}/history`]),
  ];
  const answers: Record<string, Answer> = {};
  for (const path of paths) answers[path.split('?')[0] ?? path] = await ask(server, stateDir, path);
  return answers;
}

async function ask(server: Running, stateDir: string, path: string, body?: object): Promise<Answer> {
  const token = await readFile(join(stateDir, 'admin.token'), 'utf8');
  const headers = { authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json' };
  const ca = await readFile(server.caFile);
  const call = request({
    ...{ host: '127.0.0.1', port: server.apiPort, ca, path, headers, agent: false },
    method: body === undefined ? 'GET' : 'POST',
  });
  const [response] = await once(call.end(body === undefined ? undefined : JSON.stringify(body)), 'response');
  const text = Buffer.concat(await response.toArray()).toString('utf8');
  return { status: response.statusCode, body: JSON.parse(text) };
}

await main(process.argv.slice(2));
