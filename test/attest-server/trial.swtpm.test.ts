import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run, start } from 'node-tpm2/run';
import { listOf } from '../../attest-server/api/list.ts';
import { nodeView } from '../../attest-server/api/node-api.ts';
import { type Json, type JsonObject, listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { containersOf, podOf } from '../manifests/pod-security.ts';
import { manifestsCalled } from '../manifests/renderings.ts';
import { programs } from '../programs.ts';
import { runAssay } from './cli/cli-fixture.ts';
import { startTestServer, type TestServer } from './running-server.ts';

const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: all, nodes: ["*"], mode: observe, enrolment: [first-use, approval], require: [identity] }
`;

/** The pod of an agent on trial, container by container. Each test goes on where the one before it ended. */
describe('a node of the chart on trial', function () {
  this.timeout(90_000);
  const user = 65_532;
  const program = programs['assay-agent'];
  let folder = '';
  let world: TestServer;
  let pod: JsonObject;
  let isOnTrial = true;
  let agentSaid = '';
  const running = new Map<string, AsyncDisposable>();

  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    const objects = await manifestsCalled('the chart, trial').objects(this);
    pod = podOf(objects.find((one) => one.kind === 'DaemonSet') ?? {}) ?? assert.fail();
    folder = await mkdtemp(join(tmpdir(), 'assay-trial-pod-'));
    await chmod(folder, 0o755);
    // Volumes as the kubelet makes them: folders of root.
    for (const volume of ['run/assay/tpm', 'run/assay/agent', 'var/lib/assay-agent', 'run/assay-tpm'])
      await mkdir(join(folder, volume), { recursive: true });
    await mkdir(join(folder, 'var/lib/assay-tpm'), { recursive: true, mode: 0o755 });
    const policyFile = join(folder, 'policy.yaml');
    await writeFile(policyFile, policy);
    world = await startTestServer({ policy: policyFile, trial: () => isOnTrial, challengeEvery: 1 });
    await writeFile(join(folder, 'ca.crt'), world.ca);
    const [state] = listAt(pod, 'initContainers');
    const paths = argumentsOf(state).filter((word) => word.startsWith('/') && !word.includes('netfilter'));
    await run(process.execPath, [program, 'prepare-state', ...paths.map(here)], {
      timeoutMs: 20_000,
      maxOutputBytes: 4096,
    });
  });
  after(async () => {
    for (const name of ['agent', 'tpm-broker', 'tpm-trial']) await end(name);
    await world?.[Symbol.asyncDispose]();
    if (folder !== '') await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  /** A path of a container, below the folder of this test. */
  const here = (text: string) => text.replaceAll(/\/(?=(run|var\/lib)\/)/g, `${folder}/`);
  const argumentsOf = (container: Json | undefined) =>
    listAt(container, 'command').flatMap((word) => (typeof word === 'string' ? [word] : []));
  /** What the chart sets of it. */
  function environmentOf(name: string): Record<string, string> {
    const found = containersOf(pod).find((one) => one.name === name) ?? assert.fail(name);
    return Object.fromEntries(
      listAt(found.container, 'env').flatMap((one) => {
        const value = textAt(one, 'value');
        return value === undefined ? [] : [[textAt(one, 'name') ?? '', here(value)]];
      }),
    );
  }
  function begin(name: string, argv: readonly [string, ...string[]], env: Record<string, string>): void {
    const [command, ...args] = argv;
    const child = start(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (name === 'agent') agentSaid += text;
    });
    running.set(name, {
      async [Symbol.asyncDispose]() {
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill('SIGTERM');
        await once(child, 'exit');
      },
    });
  }
  async function end(name: string): Promise<void> {
    await running.get(name)?.[Symbol.asyncDispose]();
    running.delete(name);
  }
  /** As the image has it: docs/images.md. */
  function beginTpm(): void {
    const socket = here('/run/assay-tpm/tpm.sock');
    const argv = [
      ...['swtpm', 'socket', '--tpm2', '--flags', 'not-need-init,startup-clear'],
      ...['--tpmstate', `dir=${here('/var/lib/assay-tpm')},mode=0600`],
      ...['--server', `type=unixio,path=${socket},mode=0660`],
      ...['--ctrl', `type=unixio,path=${socket}.ctrl,mode=0660`],
    ] as const;
    begin('tpm-trial', ['setpriv', '--bounding-set', '-all', '--inh-caps', '-all', '--', ...argv], {});
  }
  function beginBroker(): void {
    begin(
      'tpm-broker',
      [
        'setpriv',
        '--bounding-set',
        '-all',
        '--inh-caps',
        '-all',
        '--',
        process.execPath,
        program,
        'tpm-broker',
      ],
      environmentOf('tpm-broker'),
    );
  }
  function beginAgent(): void {
    const rights = ['--reuid', `${user}`, '--regid', '0', '--clear-groups', '--bounding-set', '-all'];
    const { ASSAY_AGENT_CLUSTER_TOKEN_FILE: _, ASSAY_AGENT_NETFILTER: __, ...env } = environmentOf('agent');
    begin('agent', ['setpriv', ...rights, '--inh-caps', '-all', '--', process.execPath, program, 'run'], {
      ...env,
      ASSAY_AGENT_NODE: 'node-1',
      ASSAY_AGENT_SERVERS: `127.0.0.1:${world.server.agentPort}`,
      ASSAY_AGENT_CA_FILE: join(folder, 'ca.crt'),
      ASSAY_AGENT_SYSROOT: '/',
      ASSAY_AGENT_WATCH: 'false',
    });
  }
  const shown = async () => {
    const { items } = listOf(nodeView).parse(await world.call('GET', '/v1/nodes'));
    return items.find(({ name }) => name === 'node-1') ?? null;
  };
  const reaches = (state: string, reason: string | null) =>
    world.until(async () => {
      const view = await shown();
      return view?.state === state && (reason === null || view.reason === reason) ? view : null;
    }, 60_000);
  const assay = (...args: readonly string[]) => runAssay(args, { env: world.env(), now: Date.now });

  it('is shown as one without a TPM while there is none', async () => {
    beginBroker();
    beginAgent();
    const { bound, trial } = await reaches('pending', 'unsupported_tpm');
    assert.deepEqual([bound, trial], [null, false]);
    assert.match((await assay('get', 'nodes')).out, /^node-1 +pending +unsupported_tpm /m);
    await end('agent');
  });

  let ek: string | null = null;
  it('proves its identity by a TPM that is a program, and everybody is told so', async () => {
    beginTpm();
    beginAgent();
    const view = await reaches('trusted', null);
    assert.deepEqual([view.bound, view.trial, view.mode], ['first-use', true, 'observe']);
    assert.match((await assay('why', 'node-1')).out, /^node-1 is trusted \(trial: identity\)$/m);
    ek = view.ek;
  });

  it('is the same machine in its next pod', async () => {
    for (const name of ['agent', 'tpm-broker', 'tpm-trial']) await end(name);
    const before = (await shown())?.verifiedAt ?? '';
    beginTpm();
    beginBroker();
    beginAgent();
    await world.until(async () => {
      const view = await shown();
      return view?.state === 'trusted' && (view.verifiedAt ?? '') > before;
    }, 60_000);
    assert.equal((await shown())?.ek, ek);
  });

  it('is refused once the trial is over, and its agent says what to do', async () => {
    isOnTrial = false;
    await world.restart();
    await reaches('pending', 'trial_enrolment');
    await world.until(() => agentSaid.includes('assay enrol approve node-1'), 60_000);
    assert.match(agentSaid, /"code":"trial_enrolment"/);
    const { out } = await assay('enrol', 'list');
    assert.match(out, new RegExp(`^node-1 +${ek} `, 'm'));
  });

  it('comes by itself when a person has approved its key again', async () => {
    assert.equal((await assay('enrol', 'approve', 'node-1', '--ek', ek ?? '')).code, 0);
    const { trial, bound } = await reaches('trusted', null);
    assert.deepEqual([trial, bound], [false, 'approval']);
  });
});
