import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { z } from 'zod';
import { type NodeView, nodeView } from '../../attest-server/api/node-api.ts';
import { type Client, createClient } from '../../attest-server/cli/client.ts';
import { parseBundle, partsOf } from '../../attest-server/formats/bundle.ts';
import { DigestList } from '../../attest-server/formats/digest-list.ts';
import type { Parts } from '../../attest-server/wire/evidence.ts';
import { sharedAuthority } from '../../swtpm-fixtures/authority.ts';
import { type Daemon, startDaemon } from '../../swtpm-fixtures/daemon.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import type { Ran } from '../attest-server/cli/cli-fixture.ts';
import { ekDigestOf } from '../attest-server/real-agent.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { runtime } from './aspect/runtime.ts';
import { programsPath } from './collector.ts';
import { differences, environmentOf, makeProductCopy, touched } from './product-copy.ts';

const node = 'node-1';
const good = Buffer.from('/usr/bin/a\n/usr/bin/b\n');
const open = (count: number) => Buffer.from(`/usr/bin/a\n# ${count}\n`);
const policy = [
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:',
  '  - name: all\n    nodes: ["*"]\n    enrolment: [pin]',
  '    require: [identity, boot, runtime]\n    runtime: {baseline: required}\n',
].join('\n');
const known = DigestList.of([
  { digest: hash('sha256', good, 'buffer'), path: `/${programsPath}`, package: null },
]);
const reference = {
  version: 1,
  kind: 'runtime',
  name: 'programs',
  group: 'all',
  state: 'active',
  expires: null,
  pcrs: {},
  runtime: { files: known.toBytes().toString('base64'), count: known.fileCount },
};

/** Each test goes on where the one before it ended. That it fits all types is checked in new-words.unit.test.ts. */
describe('an aspect that is two files and a line in each of two lists', () => {
  let dir = '';
  let copy = '';
  let machine: FixtureMachine;
  let server: ReturnType<typeof start> | null = null;
  let agent: Daemon | null = null;
  let commandLines: ReturnType<typeof start> | null = null;
  let answers: AsyncIterator<string> | null = null;
  let client: Client | null = null;
  let ports = { agents: 0, api: 0, metrics: 0 };

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-toy-'));
    copy = join(dir, 'product');
    [machine] = await Promise.all([
      startMachine({ log: recordedLog('debian13-shim-grub') }),
      makeProductCopy(copy),
      writeFile(join(dir, 'policy.yaml'), policy),
    ]);
    await writeFile(join(machine.sysroot, programsPath), good);
    commandLines = start(process.execPath, [join(import.meta.dirname, 'command-lines.ts'), copy], {
      env: environmentOf(copy),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    answers = createInterface({ input: commandLines.stdout ?? assert.fail() })[Symbol.asyncIterator]();
    server = await startServer();
    await writeFile(join(dir, 'inventory.csv'), `${node},${await ekDigestOf(machine)}\n`);
    assert.equal((await assay('ek', 'import', join(dir, 'inventory.csv'))).code, 0);
    agent = await startAgent();
  });
  after(async () => {
    client?.close();
    commandLines?.kill('SIGKILL');
    await agent?.kill('SIGKILL');
    server?.kill('SIGKILL');
    await machine?.dispose();
    await rm(dir, { recursive: true, force: true });
  });

  it('has its key in the schema of the policy file, with its description', async () => {
    const printed = await assay('policy', 'schema');
    const schema = z
      .object({
        properties: z.object({
          groups: z.object({ items: z.object({ properties: z.record(z.string(), z.unknown()) }) }),
        }),
      })
      .parse(JSON.parse(printed.out)).properties.groups.items.properties;
    const key = z
      .object({ properties: z.object({ baseline: z.object({ description: z.string() }) }) })
      .parse(schema.runtime);
    assert.match(key.properties.baseline.description, /active reference/);
    assert.match(JSON.stringify(schema.require), /"runtime"/);
  });

  it('doubts rules that refuse nothing, and knows its words from others', async () => {
    const idle = join(dir, 'idle.yaml');
    await writeFile(idle, policy.replace(', runtime]', ']'));
    const { code, err } = await assay('policy', 'check', idle);
    assert.equal(code, 0);
    assert.match(err, /idle\.yaml:8: groups\.0\.runtime\.baseline: warning/);
    await writeFile(idle, policy.replace('baseline:', 'base:'));
    assert.match((await assay('policy', 'check', idle)).err, /groups\.0\.runtime\.base/);
    await writeFile(idle, policy.replace('runtime]', '{runtime: tpm}]'));
    assert.equal((await assay('policy', 'check', idle)).code, 0);
  });

  it('sends its part, which is kept under its digest, and remembers it', async () => {
    await reaches('pending', ['boot no_reference', 'runtime no_reference']);
    await using store = await openMadeStore(join(dir, 'assay.db'));
    const status = await store.verdicts.status(node);
    assert.equal(status?.parts.inventory, hash('sha256', good));
    assert.deepEqual(status.memory.runtime, { digest: hash('sha256', good), changes: 0 });
    assert.deepEqual((await bundle()).parts.inventory?.bytes, good);
  });

  it('is compared with references of its kind, and no other aspect is', async () => {
    const file = join(dir, 'programs.json');
    await writeFile(file, JSON.stringify(reference));
    assert.equal((await assay('reference', 'import', file)).code, 0);
    // What was given to `boot` would be another boot, and no missing reference.
    await reaches('pending', ['boot no_reference']);
    assert.equal((await assay('reference', 'capture', node, '--name', 'boot')).code, 0);
    const { aspects } = await reaches('trusted', []);
    assert.deepEqual(aspects.runtime, { status: 'affirming', source: 'host' });
  });

  it('finds what changed, by what it remembers', async () => {
    for (const changes of [1, 2]) {
      await writeFile(join(machine.sysroot, programsPath), open(changes));
      const digest = hash('sha256', open(changes));
      const { reasons } = await reaches('untrusted', ['runtime ima_unknown_file'], digest);
      assert.equal(reasons[0]?.actual, `${digest}, changes seen: ${changes}`);
      // All that it was given: the reference of the boot is none.
      assert.equal(reasons[0]?.expected, 'programs (runtime)');
    }
  });

  it('says in `assay why` what it found and what to do', async () => {
    const { code, out } = await assay('why', node);
    assert.equal(code, 10);
    assert.match(out, /ima_unknown_file: /);
    const advice = runtime.advice.ima_unknown_file?.replace('NODE', node) ?? '-';
    assert.ok(out.replace(/\s+/g, ' ').includes(advice), out);
  });

  it('is counted in /metrics', async () => {
    const text = await (await fetch(`http://127.0.0.1:${ports.metrics}/metrics`)).text();
    assert.match(text, /^assay_nodes_failing_check\{check="runtime"\} 1$/m);
    assert.match(text, /^assay_check_failures_total\{check="runtime"\} [1-9]/m);
    assert.match(text, /^assay_nodes_failing_check\{check="boot"\} 0$/m);
  });

  it('has the same verdict offline, by the bundle alone', async () => {
    const exported = await bundle();
    assert.deepEqual(exported.parts.inventory?.bytes, open(2));
    const { code, out } = await assay('verify', join(dir, 'bundle.json'), '-o', 'json');
    assert.equal(code, 10);
    const offline = z
      .object({
        state: z.string(),
        reasons: z.array(z.object({ code: z.string(), actual: z.string().nullable() })),
        aspects: z.unknown(),
      })
      .parse(JSON.parse(out));
    const live = nodeView.parse(JSON.parse((await assay('describe', 'node', node, '-o', 'json')).out));
    assert.deepEqual(
      [offline.state, offline.reasons.map(({ code, actual }) => [code, actual]), offline.aspects],
      [live.state, live.reasons.map(({ code, actual }) => [code, actual]), live.aspects],
    );
  });

  it('is required by `strict`, which requires every aspect', async () => {
    const { out } = await assay('verify', join(dir, 'bundle.json'), '--policy', 'strict', '-o', 'json');
    const { require } = z.object({ require: z.array(z.string()) }).parse(JSON.parse(out));
    assert.deepEqual([...require.slice(0, 2), require.at(-1)], ['identity', 'boot', 'runtime']);
  });

  it('is trusted once it is as it was', async () => {
    await writeFile(join(machine.sysroot, programsPath), good);
    await reaches('trusted', []);
  });

  it('stays as untrusted as it was, though the aspect knows nothing of that rule (row 349)', async () => {
    const list = join(machine.sysroot, programsPath);
    await writeFile(list, open(3));
    const found = ['runtime ima_unknown_file'];
    const actual = hash('sha256', open(3));
    await reaches('untrusted', found, actual);
    const answersTwice = async () => {
      for (let answers = 0; answers < 2; answers++) {
        const before = (await view()).verifiedAt;
        await until(async () => (await view()).verifiedAt !== before);
      }
    };
    // Left out in silence, so that the aspect says nothing at all; then it says that it cannot tell.
    await rm(list);
    await answersTwice();
    await reaches('untrusted', found, actual);
    await writeFile(list, '');
    const { reasons } = await reaches('untrusted', [...found, 'runtime facts_unavailable'], actual);
    assert.match(reasons[0]?.text ?? '', / It has not been read again since\.$/);
    await agent?.kill('SIGTERM');
    server?.kill('SIGTERM');
    if (server !== null) await once(server, 'exit');
    server = await startServer();
    await rm(list);
    agent = await startAgent();
    await answersTwice();
    await reaches('untrusted', found, actual);
    await writeFile(list, good);
    await reaches('trusted', []);
  });

  it('touched no other file', async () => {
    assert.deepEqual(await differences(copy), touched);
    assert.equal(touched.length, 4);
  });

  /** The command line of the copy: one program runs all of them, since a program for each takes longer than all else. */
  async function assay(...args: readonly string[]): Promise<Ran> {
    const env = {
      ASSAY_SERVER: `https://127.0.0.1:${ports.api}`,
      ASSAY_TOKEN_FILE: join(dir, 'admin.token'),
      ASSAY_CA_FILE: join(dir, 'tls/ca.crt'),
    };
    commandLines?.stdin?.write(`${JSON.stringify({ args, env })}\n`);
    const { value } = (await answers?.next()) ?? {};
    return ran.parse(JSON.parse(value ?? assert.fail('it has ended')));
  }

  /** On free ports, which its log names. */
  async function startServer(): Promise<ReturnType<typeof start>> {
    const { rootsDir } = await sharedAuthority();
    const config = {
      stateDir: dir,
      host: '127.0.0.1',
      agentPort: 0,
      apiPort: 0,
      metricsPort: 0,
      policy: join(dir, 'policy.yaml'),
      endorsementRoots: [rootsDir],
      challengeEverySeconds: 1,
    };
    const file = join(dir, 'server.yaml');
    await writeFile(file, JSON.stringify(config));
    const child = start(process.execPath, [join(copy, 'attest-server/main.ts'), '--config', file], {
      env: environmentOf(copy),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const line = await until(async () =>
      said.split('\n').find((each) => each.includes('the server listens')),
    );
    ports = listening.parse(JSON.parse(line));
    const [tokenFile, caFile] = [join(dir, 'admin.token'), join(dir, 'tls/ca.crt')];
    client?.close();
    client = await createClient({
      server: new URL(`https://127.0.0.1:${ports.api}`),
      token: (await readFile(tokenFile, 'utf8')).trim(),
      tokenFile,
      ca: await readFile(caFile, 'utf8'),
      caFile,
      startedBy: null,
    });
    return child;
  }

  async function startAgent(): Promise<Daemon> {
    const config = {
      node,
      servers: [`127.0.0.1:${ports.agents}`],
      tcti: machine.tpm.tcti,
      sysroot: machine.sysroot,
      stateDir: join(dir, 'agent'),
      caFile: join(dir, 'tls/ca.crt'),
    };
    await writeFile(join(dir, 'agent.yaml'), JSON.stringify(config), { mode: 0o600 });
    const program = join(copy, 'agent/main.ts');
    const set = Object.entries(environmentOf(copy)).map(([name, value]) => `${name}=${value}`);
    return startDaemon('env', [
      ...set,
      process.execPath,
      program,
      'run',
      '--config',
      join(dir, 'agent.yaml'),
    ]);
  }

  /** As `assay describe node` has it; asked here, since a program for each look takes longer than all else. */
  const view = async (): Promise<NodeView> =>
    client === null ? assert.fail('no server') : await client.get(`/v1/nodes/${node}`, nodeView);

  /** Waits for this state for these reasons, each with its aspect. */
  async function reaches(state: string, reasons: readonly string[], actual = ''): Promise<NodeView> {
    let last = '';
    const found = await until(async () => {
      const seen = await view().catch((error: unknown) => {
        // Before its agent has come, it is no node.
        last = String(error);
        return null;
      });
      if (seen === null) return null;
      // What the policy does not demand is only told.
      const counting = seen.reasons.filter(({ severity }) => severity !== 'info');
      const its = counting.map(({ aspect, code }) => `${aspect} ${code}`);
      last = JSON.stringify(seen);
      const isIt = seen.state === state && its.join() === reasons.join();
      return isIt && (seen.reasons[0]?.actual ?? '').includes(actual) ? seen : null;
    }).catch(() => null);
    assert.ok(found !== null, `not ${state} for ${reasons}: ${last}`);
    return found;
  }

  /** As exported: the form is checked, and the digest of each part. */
  async function bundle(): Promise<{ readonly parts: Parts }> {
    assert.equal((await assay('bundle', node, '-f', join(dir, 'bundle.json'))).code, 0);
    return { parts: partsOf(parseBundle(await readFile(join(dir, 'bundle.json'), 'utf8'))) };
  }
});

const ran = z.object({ code: z.number(), out: z.string(), err: z.string() });
const listening = z.object({ agents: z.number(), api: z.number(), metrics: z.number() });

async function until<T>(found: () => Promise<T>): Promise<NonNullable<T>> {
  for (const end = performance.now() + 60_000; ; await sleep(100)) {
    const value = await found();
    if (value) return value;
    assert.ok(performance.now() < end, 'not in time');
  }
}
