import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { start } from 'node-tpm2/run';
import { trustedCondition, trustedLabel } from '../../attest-server/formats/marks.ts';
import { type ApiServer, openApiServer } from '../../swtpm-fixtures/api-server/api-server.ts';
import { listAt, textAt } from '../../swtpm-fixtures/api-server/json.ts';
import { serviceAccount } from '../../swtpm-fixtures/api-server/users.ts';
import { type Ran, runAssay } from '../attest-server/cli/cli-fixture.ts';
import { testAuthorityCertificate } from '../attest-server/forged-tpm.ts';
import { installAccounts, startAgentPod } from '../attest-server/kubernetes/agent-pod.ts';
import { defineResources, protectMarks } from '../attest-server/marking/defined-resources.ts';
import { programs } from '../programs.ts';
import { shared } from '../swtpm-fixtures/end-of.ts';
import { FleetAgent, type Reached } from './agent.ts';
import type { Machine } from './machines.ts';

const patienceMs = 60_000;

/** A cluster with a Node and an agent for each machine, and a server that is a process of its own. */
export interface Site extends AsyncDisposable {
  readonly api: ApiServer;
  readonly agents: ReadonlyMap<string, FleetAgent>;
  /** Where commands are typed; the policy in force is `in-force.yaml` here. */
  readonly folder: string;
  /** All agents, or these, come to the server; resolves when each was answered. */
  arrive(agents?: Iterable<FleetAgent>): Promise<void>;
  /** @param answer what a person types where it asks; null: there is nobody */
  assay(args: readonly string[], answer?: string | null): Promise<Ran>;
  /** What `policy simulate` says of this text, as JSON of all nodes. */
  simulate(policy: string): Promise<Ran>;
  /** Puts this text in force, as an upgrade of the chart does. */
  putInForce(policy: string): Promise<void>;
  metrics(): Promise<string>;
  /** The server is gone, and comes back on its volume; its ports are other ones. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Keys of taints of ours that any Node has ever had. */
  readonly everTainted: ReadonlySet<string>;
  /** `-`, or what the Node carries of us. */
  marksOf(node: string): string;
  until(what: () => boolean | Promise<boolean>, said?: () => string): Promise<void>;
}

export async function openSite(machines: readonly Machine[], policy: string): Promise<Site> {
  await using opened = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'assay-brownfield-'));
  opened.defer(() => rm(folder, { recursive: true }));
  const api = opened.use(await openApiServer({ rbac: false }));
  await installAccounts(api);
  await defineResources(api);
  await protectMarks(api);
  const everTainted = new Set<string>();
  api.store.listen(({ table, after: node }) => {
    if (table !== '/nodes' || node === null) return;
    for (const taint of listAt(node.object, 'spec', 'taints')) everTainted.add(textAt(taint, 'key') ?? '');
  });
  for (const { name, systemUuid } of machines) await api.createNode(name, { systemUUID: systemUuid });
  await mkdir(join(folder, 'roots'));
  await writeFile(
    join(folder, 'roots', 'maker.pem'),
    new X509Certificate(testAuthorityCertificate).toString(),
  );
  const policyFile = join(folder, 'in-force.yaml');
  await writeFile(policyFile, policy);
  const server = opened.use(
    new ServerProcess(folder, await api.kubeconfig(serviceAccount('assay', 'assay-server'))),
  );
  await server.start();
  const agents = new Map(
    machines.map((machine, index) => {
      const from = `127.1.${1 + (index >> 6)}.${1 + (index & 63)}`;
      let token: Promise<string> | null = null;
      const tokenOf = () => {
        token ??= startAgentPod(api, machine.name);
        return token;
      };
      return [machine.name, new FleetAgent(machine, from, tokenOf)];
    }),
  );
  opened.defer(() => {
    for (const agent of agents.values()) agent.disconnect();
  });
  const all = opened.move();
  const until: Site['until'] = async (what, said = () => '') => {
    for (const end = performance.now() + patienceMs; !(await what()); await sleep(20))
      assert.ok(performance.now() < end, `not in ${patienceMs} ms: ${what} ${said()}`);
  };
  const assay: Site['assay'] = (args, answer = null) =>
    runAssay(args, {
      env: server.environment(),
      cwd: folder,
      now: Date.now,
      ask: answer === null ? null : async () => answer,
    });
  return {
    api,
    agents,
    folder,
    everTainted,
    async arrive(arriving = agents.values()) {
      const waiting = [...arriving];
      const next = async (): Promise<void> => {
        for (let agent = waiting.shift(); agent !== undefined; agent = waiting.shift())
          await agent.connect(server.reached());
      };
      await Promise.all(Array.from({ length: 8 }, next));
    },
    assay,
    async simulate(text) {
      await writeFile(join(folder, 'tried.yaml'), text);
      return assay(['policy', 'simulate', 'tried.yaml', '--all', '-o', 'json']);
    },
    async putInForce(text) {
      await writeFile(policyFile, text);
      await server.reload();
    },
    metrics: async () => (await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`)).text(),
    stop: () => server.stop(),
    start: () => server.start(),
    marksOf(node) {
      const object = api.store.get('/nodes', node)?.object ?? assert.fail(`no Node ${node}`);
      const taints = listAt(object, 'spec', 'taints').map((taint) => textAt(taint, 'key'));
      const condition = listAt(object, 'status', 'conditions').find(
        (one) => textAt(one, 'type') === trustedCondition,
      );
      const label = textAt(object, 'metadata', 'labels', trustedLabel);
      return (
        [
          ...taints,
          ...(label === undefined ? [] : ['label']),
          ...(condition === undefined ? [] : [textAt(condition, 'status')]),
        ].join(' ') || '-'
      );
    },
    until,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** `assay-server` on the state folder of this site. */
class ServerProcess implements AsyncDisposable {
  readonly #folder: string;
  readonly #config: object;
  #child: ReturnType<typeof start> | null = null;
  #said = '';
  #ca = '';
  #ports = { agents: 0, api: 0, metrics: 0 };

  constructor(folder: string, kubeconfig: string) {
    this.#folder = folder;
    this.#config = {
      stateDir: join(folder, 'state'),
      host: '127.0.0.1',
      agentPort: 0,
      apiPort: 0,
      metricsPort: 0,
      policy: join(folder, 'in-force.yaml'),
      endorsementRoots: [join(folder, 'roots')],
      challengeEverySeconds: 5,
      kubernetes: { api: kubeconfig, namespace: 'assay', agentAccount: 'assay-agent' },
    };
  }

  get metricsPort(): number {
    return this.#ports.metrics;
  }

  reached(): Reached {
    return { port: this.#ports.agents, ca: this.#ca };
  }

  environment(): Record<string, string> {
    const state = join(this.#folder, 'state');
    return {
      ASSAY_SERVER: `https://127.0.0.1:${this.#ports.api}`,
      ASSAY_TOKEN_FILE: join(state, 'admin.token'),
      ASSAY_CA_FILE: join(state, 'tls', 'ca.crt'),
    };
  }

  async start(): Promise<void> {
    const config = join(this.#folder, 'server.yaml');
    await writeFile(config, JSON.stringify(this.#config));
    this.#said = '';
    const child = start(process.execPath, [programs['assay-server'], '--config', config], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: shared,
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
    });
    this.#child = child;
    const { agents, api, metrics } = await this.#saidLine(({ msg }) => msg === 'the server listens');
    this.#ports = { agents: Number(agents), api: Number(api), metrics: Number(metrics) };
    this.#ca = await readFile(this.environment().ASSAY_CA_FILE ?? '', 'utf8');
  }

  async reload(): Promise<void> {
    this.#said = '';
    this.#child?.kill('SIGHUP');
    await this.#saidLine(({ msg }) => String(msg).includes('everything was read again'));
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  }

  async #saidLine(
    matches: (line: Readonly<Record<string, unknown>>) => boolean,
  ): Promise<Readonly<Record<string, unknown>>> {
    for (const end = performance.now() + patienceMs; ; await sleep(20)) {
      const whole = this.#said.slice(0, this.#said.lastIndexOf('\n') + 1);
      const lines = whole.split('\n').filter((line) => line.startsWith('{'));
      const found = lines
        .map((line): Readonly<Record<string, unknown>> => Object(JSON.parse(line)))
        .findLast(matches);
      if (found !== undefined) return found;
      assert.equal(this.#child?.exitCode ?? null, null, this.#said);
      assert.ok(performance.now() < end, this.#said);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child?.kill('SIGKILL');
    this.#child = null;
  }
}
