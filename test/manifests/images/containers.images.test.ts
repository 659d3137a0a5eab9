import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, afterEach, before, describe, it } from 'mocha';
import { run, start } from 'node-tpm2/run';
import { z } from 'zod';
import { askForRules } from '../../../agent/netfilter/client.ts';
import { openBrokerTpm } from '../../../agent/tpm-broker/client.ts';
import { readLayout } from '../../../manifests/images/oci-image.ts';
import { type Built, type BuiltImage, build, imageOf, images, ownOf, root } from './built-images.ts';
import type { ContainerRunner, RunningContainer, Started } from './container-runner.ts';
import { Podman } from './podman.ts';
import type { PodContainer } from './rendered-pods.ts';
import { nodeName, Site } from './site.ts';
import { checkSpdx } from './spdx-document.ts';
import { Unshared } from './unshared.ts';

const doctorAnswer = z.object({
  checks: z.array(
    z.object({ name: z.string(), result: z.string(), text: z.string(), next: z.string().nullable() }),
  ),
});

for (const [way, open] of [
  ['podman', openPodman],
  ['unshare', openUnshared],
] as const)
  describe(`the images, run by ${way} as the chart runs them`, function () {
    this.timeout(600_000);
    let runner: ContainerRunner;
    let site: Site;
    const running: Record<string, RunningContainer> = {};
    before(async function () {
      const opened = await open(await images());
      if (typeof opened === 'string') {
        console.log(`      not here: ${opened}`);
        return this.skip();
      }
      runner = opened;
      console.log(`      by ${runner.way}`);
      site = await Site.open();
    });
    afterEach(async function () {
      if (this.currentTest?.state !== 'failed') return;
      for (const [name, one] of Object.entries(running))
        console.log(`${name}: ${(await one.log()).slice(-3000)}`);
    });
    after(async () => {
      await runner?.[Symbol.asyncDispose]();
      await site?.[Symbol.asyncDispose]();
    });

    const begin = async (container: PodContainer | undefined, started: Started) => {
      assert.ok(container !== undefined);
      const begun = await runner.start(container, started);
      running[container.name] = begun;
      return begun;
    };
    const agentPod = (name: string, more: Partial<Started> = {}) =>
      begin(site.agent.containers[name], { volumes: site.agentVolumes, ...more });

    let ports: { readonly agents: number; readonly api: number; readonly metrics: number };
    it('starts the server on a volume with fsGroup, which becomes ready and writes its authority for agents', async () => {
      const { server: container } = site.server.containers;
      assert.ok(container !== undefined);
      const account = {
        volume: 'account',
        path: '/var/run/secrets/kubernetes.io/serviceaccount',
        readOnly: true,
      };
      const { hostname, port } = new URL(site.api.url);
      const server = await begin(
        { ...container, mounts: [...container.mounts, account] },
        {
          volumes: site.serverVolumes,
          // Ports that are free here, in place of those of a pod's own address.
          env: {
            ...{ ASSAY_AGENT_PORT: '0', ASSAY_API_PORT: '0', ASSAY_METRICS_PORT: '0' },
            ...{ ASSAY_MARKS_OWN_NODE: 'node-0', ASSAY_ENDORSEMENT_ROOTS: '/etc/assay/roots' },
            ...{ KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port },
          },
        },
      );
      ports = await portsOf(server);
      await until(async () => (await fetch(`http://127.0.0.1:${ports.metrics}/readyz`)).ok, server);
      await site.projectAuthority();
      const { mode, uid } = await stat(join(site.serverVolumes.state ?? '', 'state'));
      assert.deepEqual([mode & 0o077, uid], [0, 65532]);
      assert.deepEqual(await capabilitiesOf(server), ['0000000000000000', '1']);
    });

    it('prepares the folders of the agent’s pod by a container without any capability', async () => {
      const container = await agentPod('state');
      assert.equal(await container.ended(), 0, await container.log());
      for (const name of ['agent-state', 'agent-sockets', 'netfilter-sockets', 'tpm-sockets']) {
        const { mode, uid, gid } = await stat(site.path(name));
        assert.deepEqual([mode & 0o7777, uid, gid], [0o1770, 0, 0], name);
      }
    });

    it('reads the rules of a firewall in its network by NET_ADMIN alone, as a host’s iptables prints them', async () => {
      const { network } = site.machine;
      assert.ok(network !== null && typeof network !== 'string', String(network));
      const rule = ['-p', 'ospf', '-m', 'comment', '--comment', 'of a host', '-j', 'DROP'];
      await network.run('iptables-nft', ['-A', 'FORWARD', ...rule]);
      const holder = network.inside('true').find((argument) => /^\d+$/.test(argument));
      const netfilter = await agentPod('netfilter', { network: `/proc/${holder}/ns/net` });
      const socket = site.path('netfilter-sockets', 'sockets', 'netfilter.sock');
      await until(async () => (await stat(socket)).isSocket(), netfilter);
      const rules = (await askForRules(socket, AbortSignal.timeout(30_000))).toString('utf8');
      assert.match(rules, /10250/);
      const onHost = (await network.run('iptables-nft-save', []))
        .split('\n')
        .find((line) => line.includes('of a host'));
      assert.ok(
        onHost !== undefined && rules.includes(JSON.stringify(onHost).slice(1, -1)),
        `${onHost} is not in ${rules}`,
      );
      // Bit 12 is CAP_NET_ADMIN.
      assert.deepEqual(await capabilitiesOf(netfilter), ['0000000000001000', '1']);
    });

    it('holds the TPM in a container of its own, which tells that it lives', async () => {
      const socket = site.machine.tpm.socket.split('/').at(-1);
      const env = { ASSAY_TPM_BROKER_TCTI: `swtpm:path=/host/dev/${socket}` };
      const broker = await agentPod('tpm-broker', { env });
      await until(() => isHealthy('tpm-broker'), broker);
    });

    it('has the node trusted: user 65532, group 0, no capability, over TLS, by the broker and a token of the cluster', async () => {
      const env = { ASSAY_AGENT_NODE: nodeName, ASSAY_AGENT_SERVERS: `127.0.0.1:${ports.agents}` };
      const agent = await agentPod('agent', { env });
      await until(async () => (await shown()).state === 'trusted', agent, 120_000);
      assert.equal((await shown()).aspects.identity?.status, 'affirming');
      assert.deepEqual(await capabilitiesOf(agent), ['0000000000000000', '1']);
      assert.match(await agent.status(), /^Uid:\t65532\t65532.*\nGid:\t0\t0/m);
    });

    it('answers each exec probe of the chart, and is ready', async () => {
      for (const name of ['agent', 'netfilter', 'tpm-broker'])
        assert.equal(await isHealthy(name), true, `${name} is not healthy`);
      await until(() => succeeds(running.agent, ['assay-agent', 'health', '--ready']), running.agent);
    });

    it('has doctors that say what is so in a pod, with commands that a pod or its operator can type', async () => {
      const look = async (
        name: string,
        argv: readonly string[],
        env: Readonly<Record<string, string>> = {},
      ) => {
        const program = `const { stdout } = child_process.spawnSync(${JSON.stringify(argv[0])}, ${JSON.stringify(argv.slice(1))}, { encoding: 'utf8' }); console.log(stdout);`;
        // Its exit status says that something failed, which is no fault of this test.
        const said = await running[name]?.exec(['node', '-e', program], env);
        return doctorAnswer.parse(JSON.parse(said ?? '')).checks;
      };
      const inCluster = { KUBERNETES_SERVICE_HOST: new URL(site.api.url).hostname };
      const ofAgent = await look('agent', ['assay-agent', 'doctor', '-o', 'json'], inCluster);
      const ofServer = await look('server', ['assay', 'doctor', '-o', 'json'], {
        ...inCluster,
        ASSAY_SERVER: `https://localhost:${ports.api}`,
      });
      const notOk = (checks: typeof ofAgent) =>
        checks.flatMap(({ name, result }) => (result === 'ok' ? [] : [`${name}: ${result}`]));
      // What only the host shows is not green. The ports of this test are not those of the settings.
      assert.deepEqual(notOk(ofAgent), ['systemd log: not looked at', 'clock: not looked at']);
      assert.deepEqual(notOk(ofServer), [
        'tls key: not looked at',
        ...['agentPort', 'apiPort', 'metricsPort'].map((name) => `${name}: failed`),
      ]);
      const [rights] = ofServer.filter(({ name }) => name === 'cluster rights');
      assert.match(rights?.text ?? '', /^system:serviceaccount:assay:assay-server has all \d+$/);
      for (const { next, text } of [...ofAgent, ...ofServer])
        assert.ok(next === null || /^kubectl /.test(next) || text.endsWith('not in the pod:'), `${next}`);
    });

    it('can write nowhere but where the chart has volumes', async () => {
      const tried = ['/tmp/x', '/etc/x', '/usr/lib/assay/x', '/var/lib/x', '/x'];
      const program = `for (const path of ${JSON.stringify(tried)}) try { fs.writeFileSync(path, ''); console.log(path); } catch {}`;
      const all = { ...site.agent.containers, ...site.server.containers };
      for (const name of ['agent', 'netfilter', 'server']) {
        const volumes = all[name]?.mounts.filter(({ readOnly }) => !readOnly).map(({ path }) => `${path}/`);
        const written = (await running[name]?.exec(['node', '-e', program]))?.split('\n').filter(Boolean);
        assert.deepEqual(
          written,
          tried.filter((path) => volumes?.some((volume) => path.startsWith(volume))),
          name,
        );
      }
    });

    it('has a TPM for trials: user 65532, no capability, and the same one when its container starts again', async () => {
      const sockets = { volume: 'trial-sockets', path: '/run/assay-tpm', readOnly: false };
      const state = { volume: 'trial-state', path: '/var/lib/assay-tpm', readOnly: false };
      const { 'tpm-broker': usual } = site.agent.containers;
      assert.ok(usual !== undefined);
      const bare = { privileged: false, noNewPrivileges: true, readOnlyRoot: true, capabilities: [] };
      const swtpm: PodContainer = {
        ...{ ...bare, name: 'tpm-trial', image: 'tpm-trial', argv: startOf('tpm-trial'), env: {} },
        ...{ user: 65532, group: 0, fsGroup: null, memory: '32Mi', mounts: [sockets, state], health: null },
      };
      const broker: PodContainer = {
        ...{ ...usual, ...bare, name: 'broker of tpm-trial' },
        // What it keeps in memory is as it was.
        mounts: [
          ...usual.mounts.filter(({ path }) => path === '/dev/shm'),
          { volume: 'trial-broker', path: '/run/assay/tpm', readOnly: false },
          sockets,
        ],
      };
      const volumes = {
        ...site.agentVolumes,
        'trial-sockets': await site.makeFolder('trial-sockets', 0o777),
        'trial-state': await site.makeFolder('trial-state', 0o777),
        'trial-broker': await site.makeFolder('trial-broker', 0o1770),
      };
      const first = await begin(swtpm, { volumes });
      await until(async () => (await stat(site.path('trial-sockets', 'tpm.sock'))).isSocket(), first);
      assert.deepEqual(await capabilitiesOf(first), ['0000000000000000', '1']);
      assert.match(await first.status(), /^Uid:\t65532\t65532.*\nGid:\t0\t0/m);
      const env = { ASSAY_TPM_BROKER_TCTI: 'swtpm:path=/run/assay-tpm/tpm.sock' };
      const begun = await begin(broker, { volumes, env });
      const tpm = openBrokerTpm(site.path('trial-broker', 'sockets', 'tpm.sock'), { timeoutMs: 30_000 });
      const key = async () => (await tpm.readEndorsementKey()).publicArea.toString('hex');
      await until(async () => (await key()) !== '', begun);
      const made = await key();
      // Nobody vouches for it: it is enrolled by people alone.
      assert.equal((await tpm.readEndorsementKey()).certificate, null);
      const pcrs = await tpm.readPcrs({ sha256: [0, 7] });
      assert.deepEqual(pcrs, { sha256: Buffer.alloc(64) });
      const { attest } = await tpm.quote({ qualifyingData: Buffer.alloc(32, 1), selection: { sha256: [0] } });
      assert.ok(attest.includes(Buffer.alloc(32, 1)));
      await first.kill();
      // Its sockets are still there, as they are in a pod.
      const second = await begin(swtpm, { volumes });
      await until(async () => (await key()) === made, second);
    });

    async function shown(): Promise<z.infer<typeof shownNode>> {
      const argv = ['assay', 'get', 'nodes', nodeName, '-o', 'json'];
      const env = { ASSAY_SERVER: `https://localhost:${ports.api}` };
      return shownNode.parse(JSON.parse((await running.server?.exec(argv, env)) ?? ''));
    }

    async function isHealthy(name: string): Promise<boolean> {
      const command = site.agent.containers[name]?.health;
      assert.ok(command !== null && command !== undefined, `${name} has no exec probe`);
      return succeeds(running[name], command);
    }
  });

describe('the images that were built', function () {
  this.timeout(600_000);

  it('are for two architectures, each in the index of its layout, and hold what their SBOM says', async () => {
    for (const { name, layout, digest, architectures } of await images()) {
      assert.deepEqual(Object.keys(architectures).sort(), ['amd64', 'arm64'], name);
      assert.equal(readLayout(layout).digest, digest);
      for (const [architecture, { sbom, rootFileSystem, digest: own }] of Object.entries(architectures)) {
        assert.equal(readLayout(layout).manifests[architecture], own);
        const { packages } = checkSpdx(JSON.parse(await readFile(sbom, 'utf8')));
        const installed = (await readFile(join(rootFileSystem, 'var/lib/dpkg/status'), 'utf8')).match(
          /^Package: .*$/gm,
        );
        const named = packages.filter(({ SPDXID }) => SPDXID.startsWith('SPDXRef-deb-'));
        assert.equal(named.length, installed?.length);
        assert.ok(named.length > 8);
        // Nothing of it is of Node.js.
        if (name === 'assay-tpm-trial') {
          assert.equal(packages.length, named.length + 1);
          continue;
        }
        const licences = await readFile(
          join(rootFileSystem, 'usr/lib/assay/THIRD-PARTY-LICENSES.txt'),
          'utf8',
        );
        const fromNpm = packages.filter(({ SPDXID }) => /^SPDXRef-npm-(?!node-linux-)/.test(SPDXID));
        // Both programs speak by it.
        assert.ok(fromNpm.some((one) => one.name === 'ws'));
        for (const { name, versionInfo } of fromNpm)
          assert.ok(licences.includes(`\n${name} ${versionInfo} (`), `${name} ${versionInfo}`);
      }
    }
  });

  it('have no shell, no package manager, no file of another user, and none that gives its owner’s rights', async () => {
    for (const { architectures } of await images())
      for (const { rootFileSystem } of Object.values(architectures)) {
        const find = (...args: readonly string[]) =>
          run('find', [rootFileSystem, ...args], { timeoutMs: 60_000, maxOutputBytes: 1 << 20 });
        const programs = ['sh', 'bash', 'dash', 'busybox', 'apt', 'apt-get', 'dpkg', 'npm', 'perl'];
        const named = programs.flatMap((name) => ['-o', '-name', name]).slice(1);
        const wrong = await find(
          '-not',
          '-type',
          'd',
          '(',
          ...named,
          '-o',
          '-perm',
          '/6000',
          '-o',
          '-not',
          '-uid',
          '0',
          ')',
          '-print',
        );
        assert.equal(wrong.stdout.toString('utf8'), '');
      }
  });

  it('are not built without a network, and the build says what could not be fetched', async function () {
    if (process.getuid?.() !== 0) this.skip();
    const out = await mkdtemp(join(tmpdir(), 'assay-offline-'));
    try {
      const child = start(
        'unshare',
        ['--net', '--', process.execPath, join(root, 'manifests/images/main.ts'), '--out', out],
        { env: { HOME: process.env.HOME ?? '/' }, stdio: ['ignore', 'ignore', 'pipe'] },
      );
      let said = '';
      child.stderr?.setEncoding('utf8').on('data', (part: string) => {
        said += part;
      });
      const [code] = await once(child, 'close');
      assert.equal(code, 1);
      assert.match(said, /the index of Debian \w+ \(amd64\) could not be fetched/);
    } finally {
      await rm(out, { recursive: true, force: true });
    }
  });

  it('have the same digests when they are built again', async () => {
    const digests = (built: Built) => built.map(({ name, digest }) => [name, digest]);
    assert.deepEqual(digests(await build()), digests(await images()));
  });
});

/** What the Containerfile starts. */
function startOf(name: PodContainer['image']): readonly string[] {
  const text = readFileSync(join(root, `manifests/images/${name}.Containerfile`), 'utf8');
  return ['ENTRYPOINT', 'CMD'].flatMap((what) =>
    z.array(z.string()).parse(JSON.parse(new RegExp(`^${what} (.*)$`, 'm').exec(text)?.[1] ?? '')),
  );
}

const shownNode = z.looseObject({
  state: z.string(),
  aspects: z.record(z.string(), z.looseObject({ status: z.string() })),
});
const listens = z.looseObject({ agents: z.number(), api: z.number(), metrics: z.number() });

/** As its log says them. */
async function portsOf(server: RunningContainer): Promise<z.infer<typeof listens>> {
  let found: z.infer<typeof listens> | undefined;
  await until(async () => {
    const line = (await server.log()).split('\n').find((one) => one.includes('the server listens'));
    found = line === undefined ? undefined : listens.parse(JSON.parse(line));
    return found !== undefined;
  }, server);
  assert.ok(found !== undefined);
  return found;
}

/** Those that its first process has, and whether it could get others. */
async function capabilitiesOf(container: RunningContainer): Promise<readonly (string | undefined)[]> {
  const status = await container.status();
  return [/^CapEff:\t(\S+)$/m, /^NoNewPrivs:\t(\S+)$/m].map((wanted) => wanted.exec(status)?.[1]);
}

/** @returns why not, where this machine runs no container */
async function openPodman(built: Built): Promise<ContainerRunner | string> {
  return Podman.open(
    join(root, 'images'),
    eachImage(built, ({ name, tag }) => `localhost/${name}:${tag}`),
  );
}

async function openUnshared(built: Built): Promise<ContainerRunner | string> {
  if (process.getuid?.() !== 0) return 'it needs root';
  return new Unshared(eachImage(built, (image) => ownOf(image).rootFileSystem));
}

function eachImage(
  built: Built,
  of: (image: BuiltImage) => string,
): Readonly<Record<PodContainer['image'], string>> {
  const one = (name: PodContainer['image']) => of(imageOf(built, `assay-${name}`));
  return { agent: one('agent'), server: one('server'), 'tpm-trial': one('tpm-trial') };
}

/** Waits until a condition holds; where it throws it does not hold yet. */
async function until(
  condition: () => Promise<boolean>,
  container: RunningContainer | undefined,
  withinMs = 60_000,
): Promise<void> {
  const deadline = Date.now() + withinMs;
  let fault: unknown = null;
  while (Date.now() < deadline) {
    try {
      if (await condition()) return;
    } catch (error) {
      fault = error;
    }
    await sleep(200);
  }
  const log = (await container?.log())?.slice(-4000);
  throw new Error(`not within ${withinMs} ms; the container wrote:\n${log}`, { cause: fault });
}

async function succeeds(container: RunningContainer | undefined, argv: readonly string[]): Promise<boolean> {
  if (container === undefined) return false;
  return container.exec(argv).then(
    () => true,
    () => false,
  );
}
