import { hash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { openTpm } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { userSpaceLogPath } from '../../agent/collectors/user-space-log.ts';
import { type AgentState, runAgent } from '../../agent/run.ts';
import { parseUserSpaceLog } from '../../attest-server/verify/tpm/user-space-log.ts';
import { channelBindingBytes, channelBindingLabel } from '../../attest-server/wire/binding.ts';
import { facts } from '../../attest-server/wire/facts.ts';
import { binaryKinds, fromAgent, fromServer } from '../../attest-server/wire/messages.ts';
import { reasonCodes } from '../../attest-server/wire/reasons.ts';
import { sharedAuthority } from '../../swtpm-fixtures/authority.ts';
import { banksOf } from '../../swtpm-fixtures/boot.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { ekDigestOf } from '../attest-server/real-agent.ts';
import { startTestServer, type TestServer } from '../attest-server/running-server.ts';
import { recordedList, recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import type { Conversation, Installation, Step } from './recording.ts';

const patience = 30_000;
const policyFile = join(import.meta.dirname, 'policy.yaml');
const recorded = new URL('../../swtpm-fixtures/recorded/', import.meta.url);

/**
 * Records what agent and server of this tree say to each other, with software TPMs and over real TLS:
 * `record.ts FOLDER COMMIT`. CONTRIBUTING.md says when.
 */
async function main([folder, commit]: readonly string[]): Promise<void> {
  if (folder === undefined || commit === undefined) throw new Error('usage: record.ts FOLDER COMMIT');
  const authority = await sharedAuthority();
  await using world = await startTestServer({
    endorsementRoots: [authority.rootsDir],
    policy: policyFile,
  });
  await using stage = await openStage(folder, world);
  const token = await world.joinToken('node-2');
  const pinned = await machineOf('debian13-uki-systemd', true);
  const joining = await machineOf('debian13-shim-grub', false);
  const stranger = await machineOf('debian13-shim-grub', false);
  const measuring = await machineOf('debian13-sdboot-uki', false, recordedList('debian13-sdboot-uki'));
  try {
    await stage.save('installation.json', {
      commit,
      programs: await versions(),
      endorsementRoots: [authority.rootCertificate, authority.issuerCertificate],
      authorityDigest: token.split('.').at(-1) ?? '',
    } satisfies Installation);
    await stage.save('accepted.json', {
      fromAgent: schemaOf(fromAgent),
      fromServer: schemaOf(fromServer),
      facts: schemaOf(facts),
    });
    await writeFile(join(folder, 'policy.yaml'), await readFile(policyFile));

    // First of all: what is captured later would be compared with this boot as well.
    await stage.record('enrolment-by-join-token', 'node-2', joining, {
      about: 'A node enrols with a join token, and nobody vouches for its boot.',
      after: null,
      async play(agent, does) {
        const [id = '', secret = ''] = token.split('.').slice(2);
        const kept = await world.store.enrolment.joinToken(id);
        does({
          kind: 'join token',
          id,
          secretHash: hash('sha256', secret, 'hex'),
          expiresAt: kept?.expiresAt ?? 0,
        });
        await agent.start(token);
        await agent.verdicts(1);
      },
    });
    await stage.record('enrolment-by-pin', 'node-1', pinned, {
      about: 'A pinned node enrols, is vouched for, and says that something changed.',
      after: null,
      async play(agent, does) {
        const ek = await ekDigestOf(pinned);
        does({ kind: 'pin', ek });
        await world.pin('node-1', ek);
        await agent.start();
        await agent.verdicts(1);
        does({ kind: 'reference', reference: await reference(world, 'node-1') });
        await agent.verdicts(2);
        agent.changed();
        await agent.verdicts(3);
      },
    });
    // An agent whose tool finds the TPM busy ends the connection: then once more.
    await stage.record(
      'reconnect-raced',
      'node-1',
      pinned,
      {
        about: 'The enrolled node comes back, and then PCR 10 is extended without a pause.',
        after: 'enrolment-by-pin',
        async play(agent) {
          // One that has proven nothing yet is refused where it cannot answer.
          await agent.start();
          await agent.verdicts(1);
          const busy = new AbortController();
          const extending = extendPcr10(pinned, busy.signal);
          try {
            world.server.challengeNow('node-1');
            await stage.until((steps) =>
              steps.some(
                (each) =>
                  each.kind === 'close' || (each.kind === 'text' && each.text.includes('evidence_raced')),
              ),
            );
          } finally {
            busy.abort();
            await extending;
          }
          world.server.challengeNow('node-1');
          await agent.verdicts(2);
        },
      },
      5,
    );
    await stage.record('authorities', 'node-1', pinned, {
      about: 'Another authority of the server is announced, and the agent says that it trusts both.',
      after: 'enrolment-by-pin',
      async play(agent, does) {
        await agent.start();
        await agent.verdicts(1);
        does({ kind: 'rotation of the authority' });
        await world.call('POST', '/v1/authority/rotate', {});
        world.server.challengeNow('node-1');
        await agent.verdicts(2);
        await stage.until((steps) =>
          steps.some((each) => each.kind === 'text' && each.text.includes('"trusts"')),
        );
        await stage.allHeard();
        world.server.challengeNow('node-1');
        await agent.verdicts(3);
      },
    });
    await stage.record('ima-list', 'node-4', measuring, {
      about:
        'The kernel of a pinned node measures what runs; it shows its list, and then what was added to it.',
      after: null,
      async play(agent, does) {
        const ek = await ekDigestOf(measuring);
        does({ kind: 'pin', ek });
        await world.pin('node-4', ek);
        await agent.start();
        await agent.verdicts(1);
        await measuring.run('/usr/bin/added', 'a program');
        agent.changed();
        await agent.verdicts(2);
      },
    });
    await stage.record('refusal', 'node-3', stranger, {
      about: 'A TPM for which nobody vouched is refused.',
      after: null,
      async play(agent) {
        await agent.start();
        await stage.until((steps) => steps.some(({ kind }) => kind === 'close'));
      },
    });
  } finally {
    for (const machine of [pinned, joining, stranger, measuring]) await machine.dispose();
  }
}

/** What happened, without its time. */
type Deed = Step extends infer One ? (One extends Step ? Omit<One, 'ms'> : never) : never;

interface PlayedAgent {
  start(joinToken?: string): Promise<void>;
  changed(): void;
  /** Waits for so many verdicts of this conversation. */
  verdicts(count: number): Promise<void>;
}

interface Play {
  readonly about: string;
  readonly after: string | null;
  readonly play: (agent: PlayedAgent, does: (deed: Deed) => void) => Promise<void>;
}

interface Stage extends AsyncDisposable {
  save(name: string, content: object): Promise<void>;
  record(name: string, node: string, machine: FixtureMachine, play: Play, attempts?: number): Promise<void>;
  until(found: (steps: readonly Step[]) => boolean): Promise<void>;
  /** Waits until the server has seen all frames: what it says next comes after these on both sides. */
  allHeard(): Promise<void>;
}

/** Where conversations are held, one after the other, and written down as they pass the agent's WebSocket. */
async function openStage(folder: string, world: TestServer): Promise<Stage> {
  const states = await mkdtemp(join(tmpdir(), 'assay-record-'));
  await mkdir(join(folder, 'conversations'), { recursive: true });
  await mkdir(join(folder, 'files'), { recursive: true });
  let steps: Step[] = [];
  let atServer: string[] = [];
  let begun = 0;
  let isLeaving = false;
  const connections: Pick<Conversation, 'channel' | 'serverCertificate'>[] = [];
  const write = (deed: Deed) => void steps.push({ ...deed, ms: Math.round(performance.now() - begun) });
  const files = new Map<string, Buffer>();
  const frame = (from: 'agent' | 'server', data: Buffer | string, isBinary: boolean) => {
    if (!isBinary) write({ kind: 'text', from, text: data.toString() });
    else if (data[0] === binaryKinds.joinToken)
      write({ kind: 'binary', from, base64: Buffer.from(data).toString('base64') });
    else {
      const [head, rest] = [Buffer.from(data).subarray(0, 1), Buffer.from(data).subarray(1)];
      const file = hash('sha256', rest, 'hex');
      files.set(file, rest);
      write({ kind: 'binary', from, base64: head.toString('base64'), file });
    }
  };
  const restore = tap({
    upgraded(socket) {
      const binding = socket.exportKeyingMaterial(channelBindingBytes, channelBindingLabel, Buffer.alloc(0));
      const certificate = socket.getPeerX509Certificate();
      connections.push({ channel: binding.toString('hex'), serverCertificate: String(certificate) });
    },
    frame,
    closed: (status, reason) =>
      write({ kind: 'close', from: isLeaving ? 'agent' : 'server', status, reason }),
    atServer: (from) => void atServer.push(from),
  });
  const until: Stage['until'] = async (found) => {
    await world.until(() => found(steps), patience);
  };
  const seenByAgent = () =>
    steps.flatMap((each) => (each.kind === 'text' || each.kind === 'binary' ? [each.from] : []));
  const save = (name: string, content: object) =>
    writeFile(join(folder, name), `${JSON.stringify(content, null, 1)}\n`);
  const record: Stage['record'] = async (name, node, machine, scene, attempts = 1) => {
    const { about, after, play } = scene;
    [steps, atServer, begun, isLeaving] = [[], [], performance.now(), false];
    connections.length = 0;
    const startedAt = new Date().toISOString();
    const agent = agentOn(machine, node, world, join(states, node));
    const fault = await play(agent, write).catch((error: unknown) => error);
    isLeaving = true;
    await agent.stop();
    if (fault !== undefined) {
      if (attempts === 1) throw fault;
      return record(name, node, machine, scene, attempts - 1);
    }
    await until((all) => all.some(({ kind }) => kind === 'close'));
    const seen = seenByAgent();
    const [connection] = connections;
    if (connection === undefined || connections.length > 1)
      throw new Error(`${name}: ${connections.length} connections`);
    if (seen.join() !== atServer.join())
      throw new Error(`${name}: agent and server saw another order: ${seen} ${atServer}`);
    await save(`conversations/${name}.json`, {
      about,
      after,
      startedAt,
      node,
      channel: connection.channel,
      serverCertificate: connection.serverCertificate,
      activationSecret: await secretOf(machine, steps),
      enrolled: await enrolledAs(world, node),
      steps,
    } satisfies Conversation);
    for (const [digest, bytes] of files) await writeFile(join(folder, 'files', digest), bytes);
  };
  return {
    save,
    until,
    record,
    allHeard: () => until(() => seenByAgent().length === atServer.length),
    async [Symbol.asyncDispose]() {
      restore();
      await rm(states, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

interface Listening {
  readonly upgraded: (socket: TLSSocket) => void;
  readonly frame: (from: 'agent' | 'server', data: Buffer | string, isBinary: boolean) => void;
  readonly closed: (status: number, reason: string) => void;
  readonly atServer: (from: 'agent' | 'server') => void;
}

/** Listens at every WebSocket of this process: only those of a client have an address. */
function tap(listening: Listening): () => void {
  const { send } = WebSocket.prototype;
  const put = (name: string, value: unknown) =>
    Object.defineProperty(WebSocket.prototype, name, { value, configurable: true, writable: true });
  put('emit', function (this: WebSocket, event: string, ...args: unknown[]) {
    const [first, second] = args;
    if (!this.url) {
      if (event === 'message') listening.atServer('agent');
    } else if (event === 'upgrade') {
      const { socket } = first as IncomingMessage;
      if (socket instanceof TLSSocket) listening.upgraded(socket);
    } else if (event === 'message') listening.frame('server', first as Buffer, second === true);
    else if (event === 'close') listening.closed(Number(first), String(second));
    return Reflect.apply(EventEmitter.prototype.emit, this, [event, ...args]);
  });
  put('send', function (this: WebSocket, data: Buffer | string, ...rest: unknown[]) {
    if (this.url) listening.frame('agent', data, typeof data !== 'string');
    else listening.atServer('server');
    return Reflect.apply(send, this, [data, ...rest]);
  });
  return () => {
    Reflect.deleteProperty(WebSocket.prototype, 'emit');
    put('send', send);
  };
}

function agentOn(machine: FixtureMachine, node: string, world: TestServer, stateDir: string) {
  const stopping = new AbortController();
  const changes = new EventTarget();
  const states: AgentState[] = [];
  let ended: Promise<void> = Promise.resolve();
  const count = (phase: AgentState['phase']) => states.filter((each) => each.phase === phase).length;
  return {
    async start(joinToken?: string) {
      const joinTokenFile = joinToken === undefined ? null : `${stateDir}.token`;
      if (joinTokenFile !== null) await writeFile(joinTokenFile, `${joinToken}\n`, { mode: 0o600 });
      ended = runAgent(
        {
          node,
          stateDir,
          netfilter: null,
          joinTokenFile,
          clusterTokenFile: null,
          caFile: joinTokenFile === null ? world.server.caFile : null,
          servers: [{ host: '127.0.0.1', port: world.server.agentPort }],
          tcti: machine.tpm.tcti,
          tpmBroker: null,
          sysroot: machine.sysroot,
          watch: false,
          healthSocket: null,
          logLevel: 'silent',
        },
        {
          logger: pino({ level: 'silent' }),
          signal: stopping.signal,
          changes,
          onState(state) {
            states.push(state);
            // One connection is one conversation.
            if (state.phase === 'offline') stopping.abort();
          },
        },
      );
      ended.catch(() => undefined);
    },
    changed: () => void changes.dispatchEvent(new Event('changed')),
    async verdicts(wanted: number) {
      await world.until(() => count('verdict') >= wanted || stopping.signal.aborted, patience);
      if (count('verdict') < wanted) throw new Error(`the connection ended before verdict ${wanted}`);
    },
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}

/** A machine that booted a recorded log, and whose systemd measured what it did in the recording, as did its kernel. */
async function machineOf(boot: string, withUserSpace: boolean, ran?: Buffer): Promise<FixtureMachine> {
  const log = recordedLog(boot);
  const machine = await startMachine({ log, ...(ran !== undefined && { ran }) });
  if (!withUserSpace) return machine;
  const userSpaceLog = await readFile(new URL(`${boot}/tpm2-measure.log`, recorded));
  const commands = await machine.tpm.commands();
  for (const { pcr, digests } of parseUserSpaceLog(userSpaceLog).events)
    await commands.extend(
      pcr,
      Object.fromEntries(banksOf(log).flatMap((bank) => (digests[bank] ? [[bank, digests[bank]]] : []))),
    );
  await commands.close();
  const path = join(machine.sysroot, userSpaceLogPath);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, userSpaceLog);
  return machine;
}

/** Past the agent's tools: so often that each of its four attempts is raced. */
async function extendPcr10({ tpm }: FixtureMachine, signal: AbortSignal): Promise<void> {
  const extend = async () => {
    const commands = await tpm.commands();
    await commands.extend(10, { sha256: '1'.repeat(64) }).finally(() => commands.close());
  };
  // The socket serves one connection at a time, so a turn is lost now and then.
  for (; !signal.aborted; await sleep(1)) await extend().catch(() => undefined);
}

/** Captures what the node last proved. */
async function reference(world: TestServer, name: string): Promise<Record<string, unknown>> {
  await world.call('POST', '/v1/references', { node: name, name });
  return z.record(z.string(), z.unknown()).parse(await world.call('GET', `/v1/references/${name}`));
}

/** A TPM opens the same credential again. */
async function secretOf(machine: FixtureMachine, steps: readonly Step[]): Promise<string | null> {
  const found = steps.find((each) => each.kind === 'text' && each.text.startsWith('{"type":"activate",'));
  if (found?.kind !== 'text') return null;
  const { credential, secret } = z
    .object({ credential: z.string(), secret: z.string() })
    .parse(JSON.parse(found.text));
  await using tpm = await openTpm({ tcti: machine.tpm.tcti });
  const opened = await tpm.activateCredential({
    credential: Buffer.from(credential, 'base64'),
    secret: Buffer.from(secret, 'base64'),
  });
  return opened.toString('hex');
}

async function enrolledAs(world: TestServer, node: string): Promise<Conversation['enrolled']> {
  const record = await world.store.enrolment.node(node);
  if (record === null) return null;
  return {
    bound: record.bound,
    tpmClass: record.tpmClass,
    ekDigest: record.ekDigest,
    ekPublicArea: record.ekPublicArea.toString('base64'),
    ekCertificate: record.ekCertificate?.toString('base64') ?? null,
    akName: record.akName,
    akPublicArea: record.akPublicArea.toString('base64'),
  };
}

/** The codes are a check in code, which a JSON schema says as the list of today. */
function schemaOf(schema: z.ZodType): object {
  return z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema }) {
      if (zodSchema._zod.def.type === 'custom') jsonSchema.enum = [...reasonCodes];
    },
  });
}

async function versions(): Promise<Record<string, string>> {
  const first = async (program: string, ...args: string[]) => {
    const { stdout } = await run(program, args, { timeoutMs: 10_000, maxOutputBytes: 65_536 });
    return stdout.toString().split('\n')[0]?.trim() ?? '';
  };
  return {
    node: process.version,
    swtpm: await first('swtpm', '--version'),
    tpm2: await first('tpm2', '--version'),
  };
}

await main(process.argv.slice(2));
