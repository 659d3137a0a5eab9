import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openTpm } from 'node-tpm2';
import pLimit from 'p-limit';
import { stringify } from 'yaml';
import { serverConfig } from '../../attest-server/config.ts';
import { type RunningServer, startServer } from '../../attest-server/server.ts';
import { createLogger } from '../../attest-server/settings/logger.ts';
import type { LogLevel } from '../../attest-server/settings/settings.ts';
import type { NodeState, Verdict } from '../../attest-server/wire/verdict.ts';
import { openAuthority, type TpmAuthority } from '../authority.ts';
import { withMadeFiles } from '../loader-files.ts';
import { type FixtureMachine, startMachine } from '../machine.ts';
import { inputChain, whyNoNamespace } from '../namespace.ts';
import { type NodePrograms, startNodePrograms } from '../node-programs.ts';
import { type Programs, sources } from '../programs.ts';
import { type Tampering, tamper } from '../tamper.ts';
import type { Narrator } from './narrator.ts';
import { createOperator, type Operator } from './operator.ts';
import { describeVerdict } from './sentences.ts';

export interface ClusterOptions {
  /** Absolute; state of server, TPMs and agents. */
  readonly dir: string;
  readonly nodes: number;
  /** Milliseconds. */
  readonly challengeEvery: number;
  readonly unknownAfter: number;
  readonly logLevel: LogLevel;
  /** `usual`: 8443, 8444 and 9464 where they are free. */
  readonly ports: 'usual' | 'free';
  readonly narrator: Narrator;
  readonly signal: AbortSignal;
  /** Called after every verdict. */
  readonly recorded?: (node: string, verdict: Verdict) => void;
  /** Names of recorded logs, given out in turn; default: those of six real machines. */
  readonly recordings?: readonly string[];
  /** How the machine at this place differs from the recorded one; default: in nothing. */
  readonly differing?: (log: Buffer, index: number) => Buffer;
  /** Default: their sources. */
  readonly programs?: Programs;
  /** Where the server has keys of disks; its policy then requires nothing but identity and boot. Default: it has none. */
  readonly keys?: DiskKeys;
  /** Of the Kubernetes API whose Nodes the server marks; default: it is in no cluster. */
  readonly kubeconfig?: string;
}

/** How a server keeps keys of disks. */
export interface DiskKeys {
  /** Not below the folder of the cluster. */
  readonly wrappingKeyFile: string;
  /** Of age: can read the recovery passphrases. */
  readonly recipient: string;
}

/** What can change on a machine that runs. */
export type RunningChange = 'firewall' | 'disk' | 'runtime';

/** Milliseconds that a step of machines takes at most on a computer that has much else to do. */
export const usualStep = 60_000;

/** A program that nobody vouches for. */
export const unknownProgram = '/usr/local/bin/miner';

/** One node: a machine with its TPM, and the agent that runs on it. */
export interface ClusterNode {
  readonly name: string;
  readonly machine: FixtureMachine;
  /** The recorded log that it boots with, files of its loader made up where none was recorded. */
  readonly log: Buffer;
  /** SHA-256 of the endorsement key's TPMT_PUBLIC, hex: what an inventory holds. */
  readonly ekDigest: string;
  /** Starts the agent, as the machine's start-up does. */
  startAgent(joinTokenFile?: string): Promise<void>;
  /** Cuts the power and boots with this log; no agent runs yet. */
  boot(log: Buffer): Promise<void>;
  /** Cuts the power, boots with this log, and starts the agent. @param beforeInspect done before its disks were looked at */
  reboot(log: Buffer, beforeInspect?: () => Promise<void>): Promise<void>;
  /** Its kernel measures what it runs. */
  readonly measures: boolean;
  /** Changes the machine: a boot by a power cycle, the rest while it runs. @throws Error where it has no such thing */
  change(what: Tampering | RunningChange): Promise<void>;
  powerOff(): Promise<void>;
}

export interface Cluster extends AsyncDisposable {
  readonly dir: string;
  readonly server: RunningServer;
  readonly nodes: readonly ClusterNode[];
  /** Why the nodes have no firewall, which the policy then does not require; null if they have one, or it requires none anyway. */
  readonly noFirewall: string | null;
  readonly operator: Operator;
  state(node: string): { state: NodeState; codes: readonly string[]; reasons: Verdict['reasons'] } | null;
  /** Whether a verdict since the node's latest boot carried that code. */
  saw(node: string, code: string): boolean;
  /** Resolves with true once the condition holds, which is asked after each verdict; with false at the deadline. */
  next(condition: () => boolean, withinMs: number): Promise<boolean>;
  /** Resolves with true once the node is in that state (and carries that code), with false at the deadline. */
  reaches(node: string, state: NodeState, code: string | null, withinMs: number): Promise<boolean>;
}

/** Machines whose logs measure Secure Boot, kernel and command line; of some their list of IMA was recorded, too. */
const recordings = [
  'centos9-shim-grub',
  'debian13-shim-grub',
  'debian11-shim-grub',
  'rhel8-shim-grub',
  'debian10-shim-grub',
  'debian13-sdboot-uki',
] as const;

const nameOf = (index: number) => `node-${index + 1}`;

/** What `ima_policy=tcb` on the command line of those boots has their kernels measure: all but critical data. */
const coveredByTcb = ['exec', 'mmap', 'modules', 'kexec', 'policy', 'rootReads'] as const;

/**
 * The shipped `strict` policy with a group for each model of machine, since each model boots something else.
 * A reference of a group is what that group's nodes are compared with.
 */
function policyFor(
  count: number,
  models: readonly string[],
  hasFirewall: boolean,
  keys: DiskKeys | undefined,
): string {
  const aspects =
    keys === undefined
      ? ['identity', 'boot', 'disk', ...(hasFirewall ? ['firewall'] : []), 'host']
      : ['identity', 'boot'];
  const groups = models.map((model, at) => {
    const nodes = Array.from({ length: count }, (_, index) => index).filter(
      (index) => index % models.length === at,
    );
    return {
      name: model,
      nodes: nodes.map(nameOf),
      mode: 'enforce',
      require: hasList(model) ? [...aspects, 'runtime'] : [...aspects],
      ...(hasList(model) && { runtime: { policy: { covers: [...coveredByTcb] } } }),
      ...(keys !== undefined && {
        keys: { recoveryRecipients: [keys.recipient], allowUnmeasuredRoot: true },
      }),
      ...(hasFirewall && { firewall: { forbid: ['input tcp 22 from anywhere'] } }),
    };
  });
  const used = groups.filter(({ nodes }) => nodes.length > 0);
  return stringify({ apiVersion: 'assay.dev/v1', kind: 'Policy', groups: used });
}

/** Makes the machines, boots them, and starts the server. No agent runs yet. */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const { dir, narrator, programs = sources } = options;
  const resources = new AsyncDisposableStack();
  try {
    const verdicts = new EventEmitter();
    verdicts.setMaxListeners(0);
    const latest = new Map<string, Verdict>();
    const seen = new Map<string, Set<string>>();
    const forget = (name: string) => {
      latest.delete(name);
      seen.set(name, new Set());
    };
    const authority = await openAuthority(join(dir, 'tpm-authority'));
    const noFirewall = options.keys === undefined ? await whyNoNamespace() : null;
    const server = await startOnUsualPorts(options, authority, noFirewall, (entry) => {
      const before = latest.get(entry.node);
      latest.set(entry.node, entry.verdict);
      if (
        entry.transition ||
        before === undefined ||
        before.reasons[0]?.code !== entry.verdict.reasons[0]?.code
      ) {
        const codes = entry.verdict.reasons.map(({ code }) => code);
        narrator.transition(
          entry.node,
          entry.verdict.state,
          codes,
          describeVerdict(entry.node, entry.verdict),
        );
      }
      for (const { code } of entry.verdict.reasons) seen.get(entry.node)?.add(code);
      options.recorded?.(entry.node, entry.verdict);
      verdicts.emit('verdict');
    });
    resources.defer(() => server.close());
    narrator.say('The attestation server is up. It trusts nobody yet.');
    if (noFirewall !== null)
      narrator.say(`The nodes have no firewall, and the policy requires none: ${noFirewall}`);

    const powering = narrator.waiting(
      `${options.nodes === 1 ? 'a machine' : `${options.nodes} machines`} to be powered on`,
      usualStep,
    );
    const nodes = await Promise.all(
      Array.from({ length: options.nodes }, async (_, index) => {
        const names = options.recordings ?? recordings;
        const recording = names[index % names.length] ?? recordings[0];
        const node = await makeNode(
          { name: nameOf(index), recording, dir, program: programs['assay-agent'] },
          (log) => options.differing?.(log, index) ?? log,
          authority,
          server,
          forget,
          narrator,
        );
        resources.defer(() => node.dispose());
        return node;
      }),
    );
    powering[Symbol.dispose]();
    narrator.say(
      nodes.length === 1
        ? 'A machine is powered on, with a TPM of its own and the boot log of a real machine.'
        : `${nodes.length} machines are powered on, each with a TPM of its own and the boot log of ${options.recordings === undefined ? 'another' : 'a'} real machine.`,
    );
    const measuring = nodes.filter(({ measures }) => measures).map(({ name }) => name);
    if (measuring.length > 0)
      narrator.say(
        `The kernel of ${measuring.join(', ')} measures what runs there (ima_policy=tcb), and the policy requires runtime of it.`,
      );
    const operator = await createOperator(dir, server, programs.assay, narrator);
    await revokeEarlier(dir, nodes, operator, narrator);
    const next = async (condition: () => boolean, withinMs: number) => {
      const deadline = AbortSignal.timeout(withinMs);
      for (;;) {
        options.signal.throwIfAborted();
        if (condition()) return true;
        if (deadline.aborted) return false;
        await once(verdicts, 'verdict', { signal: deadline }).catch(() => undefined);
      }
    };
    options.signal.addEventListener('abort', () => verdicts.emit('verdict'));
    return {
      dir,
      server,
      nodes,
      noFirewall,
      operator,
      state: (name) => {
        const verdict = latest.get(name);
        return verdict === undefined
          ? null
          : {
              state: verdict.state,
              codes: verdict.reasons.map(({ code }) => code),
              reasons: verdict.reasons,
            };
      },
      saw: (name, code) => seen.get(name)?.has(code) === true,
      next,
      reaches(name, state, code, withinMs) {
        return next(() => {
          const verdict = latest.get(name);
          return (
            verdict?.state === state &&
            (code === null || verdict.reasons.some((reason) => reason.code === code))
          );
        }, withinMs);
      },
      [Symbol.asyncDispose]: () => resources.disposeAsync(),
    };
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
}

/** Nodes of a run before that had more of them: nobody starts those machines, and they would be `unknown` for good. */
async function revokeEarlier(
  dir: string,
  nodes: readonly ClusterNode[],
  operator: Operator,
  narrator: Narrator,
): Promise<void> {
  const known = new Set(nodes.map(({ name }) => name));
  const unused = (await readdir(join(dir, 'nodes'))).filter((name) => !known.has(name));
  if (unused.length === 0) return;
  const enrolled = await operator.nodes();
  const earlier = unused.filter((name) => enrolled.includes(name));
  if (earlier.length === 0) return;
  for (const name of earlier)
    await operator.assay(
      'enrol',
      'revoke',
      name,
      '--reason',
      `npm start runs with ${nodes.length === 1 ? '1 node' : `${nodes.length} nodes`} now`,
      '--yes',
    );
  narrator.say(
    `The operator revokes the enrolment of ${earlier.join(', ')}: an earlier run had more nodes than this one.`,
  );
}

type Recorded = NonNullable<Parameters<typeof startServer>[1]['recorded']>;

async function startOnUsualPorts(
  options: ClusterOptions,
  { rootsDir }: TpmAuthority,
  noFirewall: string | null,
  recorded: Recorded,
): Promise<RunningServer> {
  const logger = createLogger(options.logLevel, null);
  const policyFile = join(options.dir, 'strict.yaml');
  const { keys } = options;
  const hasFirewall = noFirewall === null && keys === undefined;
  await writeFile(policyFile, policyFor(options.nodes, options.recordings ?? recordings, hasFirewall, keys));
  const start = (ports: Readonly<Record<string, number>>) =>
    startServer(
      serverConfig(
        null,
        {},
        {
          stateDir: options.dir,
          host: '127.0.0.1',
          policy: policyFile,
          endorsementRoots: [rootsDir],
          challengeEverySeconds: options.challengeEvery / 1000,
          answerWithinSeconds: Math.min(30, (options.challengeEvery * 5) / 1000),
          unknownAfterSeconds: options.unknownAfter / 1000,
          ...(keys !== undefined && { 'keys.wrappingKeyFile': keys.wrappingKeyFile }),
          ...(options.kubeconfig !== undefined && {
            'kubernetes.api': options.kubeconfig,
            'kubernetes.namespace': 'assay',
            // Its agents are in no pods.
            'kubernetes.agentTokens': 'never',
          }),
          ...ports,
        },
      ),
      { logger, recorded },
    );
  if (options.ports === 'free') return start({ agentPort: 0, apiPort: 0, metricsPort: 0 });
  const ports: Record<string, number> = { agentPort: 8443, apiPort: 8444, metricsPort: 9464 };
  for (;;)
    try {
      return await start(ports);
    } catch (error) {
      const taken = Object.keys(ports).find((name) => ports[name] !== 0 && ports[name] === takenPort(error));
      if (taken === undefined) throw error;
      ports[taken] = 0;
    }
}

/** The port that a server could not listen on, since another program does; null for any other fault. */
function takenPort(error: unknown): number | null {
  const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
  return isTaken && 'port' in error && typeof error.port === 'number' ? error.port : null;
}

const recordedFile = (recording: string, name: string) =>
  join(import.meta.dirname, '../recorded', recording, name);
const listFile = 'binary_runtime_measurements';
const hasList = (recording: string) => existsSync(recordedFile(recording, listFile));

async function makeNode(
  { name, recording, dir, program }: Readonly<Record<'name' | 'recording' | 'dir' | 'program', string>>,
  differing: (log: Buffer) => Buffer,
  authority: TpmAuthority,
  server: RunningServer,
  forget: (name: string) => void,
  narrator: Narrator,
): Promise<ClusterNode & { dispose(): Promise<void> }> {
  const log = withMadeFiles(differing(await readFile(recordedFile(recording, 'binary_bios_measurements'))));
  const ran = hasList(recording) ? await readFile(recordedFile(recording, listFile)) : null;
  const home = join(dir, 'nodes', name);
  await mkdir(home, { recursive: true, mode: 0o700 });
  const machine = await startMachine({
    log,
    dir: home,
    authority,
    network: true,
    ...(ran !== null && { ran }),
  });
  const tpm = await openTpm({ tcti: machine.tpm.tcti });
  const { publicArea } = await tpm.readEndorsementKey();
  await tpm.close();
  let running: NodePrograms | null = null;
  let joinToken: string | undefined;
  const oneByOne = pLimit(1);
  let isGone = false;
  // What began before the end would start its programs after it, and nobody would end them.
  const inTurn = (what: string, step: () => Promise<void>): Promise<void> =>
    oneByOne(async () => {
      if (isGone) throw new Error(`${name} is gone`);
      using _wait = narrator.waiting(`${name} to ${what}`, usualStep);
      await step();
    });

  const stopAgent = async () => {
    await running?.[Symbol.asyncDispose]();
    running = null;
  };
  const startAgent = async (joinTokenFile?: string) => {
    joinToken = joinTokenFile ?? joinToken;
    running = await startNodePrograms(machine, {
      node: name,
      program: [process.execPath, program],
      dir: home,
      server: { port: server.agentPort },
      trust: joinToken === undefined ? { caFile: server.caFile } : { joinTokenFile: joinToken },
    });
  };
  const boot = async (next: Buffer) => {
    await stopAgent();
    await machine.powerCycle(next);
    forget(name);
  };
  const reboot = async (next: Buffer, beforeInspect?: () => Promise<void>) => {
    await boot(next);
    await using _late = beforeInspect === undefined ? null : await machine.withoutInspect();
    await startAgent();
    await beforeInspect?.();
  };
  const change = async (what: Tampering | RunningChange) => {
    if (what === 'disk') return machine.mountStorage('plain');
    if (what === 'runtime') {
      if (ran === null)
        throw new Error(`${name} has a kernel that measures nothing of what it runs: take node-2`);
      return machine.run(unknownProgram, `made for ${name}`);
    }
    if (what !== 'firewall') return reboot(tamper(log, what));
    const { network } = machine;
    if (network === null || typeof network === 'string')
      throw new Error(`${name} has no firewall${network === null ? '' : `: ${network}`}`);
    // Before all others: what an attacker adds to come in again.
    await network.run('nft', ['insert', 'rule', ...inputChain, 'tcp', 'dport', '22', 'accept']);
  };
  return {
    name,
    machine,
    log,
    measures: ran !== null,
    ekDigest: createHash('sha256').update(publicArea).digest('hex'),
    startAgent: (joinTokenFile) => inTurn('start its agent', () => startAgent(joinTokenFile)),
    boot: (next) => inTurn('boot', () => boot(next)),
    reboot: (next, beforeInspect) => inTurn('boot', () => reboot(next, beforeInspect)),
    change: (what) => inTurn('change', () => change(what)),
    powerOff: () =>
      inTurn('lose power', async () => {
        await stopAgent();
        await machine.powerOff();
      }),
    dispose() {
      isGone = true;
      return oneByOne(async () => {
        await stopAgent();
        await machine.dispose();
        await rm(join(home, 'agent.yaml'), { force: true });
      });
    },
  };
}
