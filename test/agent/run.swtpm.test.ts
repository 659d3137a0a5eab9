import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { openTpm } from 'node-tpm2';
import { start } from 'node-tpm2/run';
import { pino } from 'pino';
import { bootLogPath } from '../../agent/collectors/boot-log.ts';
import { host } from '../../agent/collectors/host.ts';
import { buildConfig } from '../../agent/config.ts';
import { answer } from '../../agent/evidence.ts';
import { runAgent } from '../../agent/run.ts';
import { parseAgentMessage } from '../../attest-server/wire/messages.ts';
import { launchTpm, type SoftwareTpm } from '../../swtpm-fixtures/tpm.ts';
import { programs } from '../programs.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';
import { type Conversation, converse, makeChallenge, prove } from './serving-half.ts';
import { startTinyServer } from './tiny-server.ts';

const bootId = '6f9619ff-8b86-d011-b42d-00cf4fc964ff';
const log = recordedLog('debian13-shim-grub');
const secret = 's'.repeat(43);

describe('an agent on a software TPM', () => {
  let tpm: SoftwareTpm;
  let authority: MadeAuthority;
  let folder = '';
  before(async () => {
    [tpm, authority] = await Promise.all([launchTpm(), makeAuthority()]);
    folder = await mkdtemp(join(tmpdir(), 'assay-agent-'));
    for (const [path, content] of [
      ['proc/sys/kernel/random/boot_id', `${bootId}\n`],
      ['proc/version', 'Linux version 6.12.1 (builder)\n'],
      ['etc/os-release', 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n'],
      [bootLogPath, log],
    ] as const) {
      await mkdir(join(folder, path, '..'), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    await writeFile(join(folder, 'token'), `assay-join.v1.id1.${secret}.${authority.digest}\n`);
  });
  after(async () => {
    await tpm.stop();
    await authority[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  it('gives an answer that verifies, over this nonce and channel only', async () => {
    await using opened = await openTpm({ tcti: tpm.tcti });
    const key = await opened.createAttestationKey();
    const channel = randomBytes(32);
    const challenge = makeChallenge();
    const situation = {
      node: 'node-1',
      bootId,
      host: null,
      channel,
      helloDigest: '00'.repeat(32),
      parts: new Map([['boot', log] as const]),
      unavailable: {},
      readGrowing: async () => ({ parts: new Map() }),
    };
    const frames = [...(await answer(challenge, situation, opened))];
    const evidence = parseAgentMessage(String(frames.at(-1)));
    assert(evidence.type === 'evidence');
    const ak = key.publicArea.toString('base64');
    const proven = prove(evidence, { ak, helloDigest: situation.helloDigest, challenge, channel, log });
    assert.deepEqual(proven.facts?.bootId, bootId);
    const elsewhere = { ak, helloDigest: situation.helloDigest, challenge, channel: randomBytes(32), log };
    assert.throws(() => prove(evidence, elsewhere), { code: 'channel_binding' });
  });

  it('joins by its token, activates, proves itself, and does not show the token again', async () => {
    const { key, cert } = await authority.issue();
    const seen: Conversation[] = [];
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, (socket, channel) =>
      seen.push(converse(socket, channel)),
    );
    const first = await runUntilVerdict(server.port);
    const second = await runUntilVerdict(server.port);
    assert.deepEqual([first.exit, second.exit], [0, 0]);
    const [joined, known] = await Promise.all(seen.map(({ done }) => done));
    assert.deepEqual([...first.listening, ...second.listening], []);
    assert.equal(joined?.token, `id1.${secret}`);
    assert.equal(joined?.proven.facts?.host?.os, 'Debian GNU/Linux 13 (trixie)');
    assert.deepEqual([joined?.log, joined?.kinds], [log, ['part']]);
    assert.equal(known?.token, null);
    assert.deepEqual(known?.proven.akName, joined?.proven.akName);
    assert(!`${first.said}${second.said}`.includes(secret));
    assert.equal((await stat(join(folder, 'state', 'enrolled'))).mode & 0o777, 0o600);
  });

  it('shows its token again once the server does not know it any more', async () => {
    const { key, cert } = await authority.issue();
    const state = join(folder, 'state-3');
    await mkdir(state, { mode: 0o700 });
    await writeFile(join(state, 'enrolled'), '', { mode: 0o600 });
    const shown: boolean[] = [];
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, (socket) => {
      socket.once('message', (text) => {
        const hello = parseAgentMessage(String(text));
        assert(hello.type === 'hello');
        shown.push(hello.joinToken);
        socket.send(JSON.stringify({ type: 'error', code: 'enrolment_pending' }));
        socket.close(1008);
      });
    });
    const stop = new AbortController();
    const config = buildConfig(
      null,
      { ASSAY_AGENT_STATE_DIR: state, ASSAY_AGENT_JOIN_TOKEN_FILE: join(folder, 'token') },
      { servers: [`127.0.0.1:${server.port}`], node: 'node-1', tcti: tpm.tcti, sysroot: folder },
    );
    await runAgent(config, {
      logger: pino({ level: 'silent' }),
      signal: stop.signal,
      onState: ({ phase }) => {
        if (phase === 'offline' && shown.length === 2) stop.abort();
      },
    });
    assert.deepEqual(shown, [false, true]);
  });

  it('says that the machine has no TPM, and what to do', async () => {
    const { key, cert } = await authority.issue();
    const hellos: string[] = [];
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, (socket) => {
      socket.once('message', (text) => {
        hellos.push(String(text));
        socket.send(JSON.stringify({ type: 'verdict', state: 'pending', codes: ['unsupported_tpm'] }));
      });
    });
    const { exit, said } = await runUntilVerdict(server.port, {
      ASSAY_AGENT_TCTI: 'device:/dev/no-such-tpm',
    });
    assert.equal(exit, 0);
    const hello = parseAgentMessage(hellos[0] ?? '');
    assert(hello.type === 'hello' && hello.ek === null && hello.ak === null && hello.banks.length === 0);
    assert.match(said, /"code":"unsupported_tpm"/);
    assert.match(said, /\/dev\/no-such-tpm/);
  });

  it('answers without what a collector of it cannot read, and says so', async () => {
    const { key, cert } = await authority.issue();
    const seen: Conversation[] = [];
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, (socket, channel) =>
      seen.push(converse(socket, channel)),
    );
    const stop = new AbortController();
    const config = buildConfig(
      null,
      { ASSAY_AGENT_STATE_DIR: join(folder, 'state-4'), ASSAY_AGENT_JOIN_TOKEN_FILE: join(folder, 'token') },
      { servers: [`127.0.0.1:${server.port}`], node: 'node-1', tcti: tpm.tcti, sysroot: folder },
    );
    const late = () => new Promise<never>(() => {});
    await runAgent(config, {
      logger: pino({ level: 'silent' }),
      signal: stop.signal,
      collectors: [{ name: 'boot', part: 'boot', within: 50, read: late }, host],
      onState: ({ phase }) => {
        if (phase === 'verdict') stop.abort();
      },
    });
    const outcome = await seen[0]?.done;
    assert.equal(outcome?.log, null);
    assert.equal(outcome?.proven.facts?.host?.kernel, '6.12.1');
    assert.deepEqual(Object.keys(outcome?.proven.facts?.unavailable ?? {}), ['boot']);
  });

  it('says nothing of an answer that it did not finish because it was to end', async () => {
    const { key, cert } = await authority.issue();
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, converse);
    const stop = new AbortController();
    const config = buildConfig(
      null,
      { ASSAY_AGENT_STATE_DIR: join(folder, 'state-5'), ASSAY_AGENT_JOIN_TOKEN_FILE: join(folder, 'token') },
      { servers: [`127.0.0.1:${server.port}`], node: 'node-1', tcti: tpm.tcti, sysroot: folder },
    );
    const said: string[] = [];
    const read = async () => {
      stop.abort();
      return log;
    };
    await runAgent(config, {
      logger: pino({ level: 'warn' }, { write: (line) => void said.push(line) }),
      signal: stop.signal,
      collectors: [{ name: 'boot', part: 'boot', read }, host],
    });
    assert.ok(stop.signal.aborted);
    // The answer under way fails after the end, and nothing tells when.
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.deepEqual(said, []);
  });

  it('comes back after its connection and its TPM were lost', async () => {
    const { key, cert } = await authority.issue();
    const seen: Conversation[] = [];
    await using server = await startTinyServer({ key, cert: cert + authority.ca }, (socket, channel) => {
      const conversation = converse(socket, channel);
      seen.push(conversation);
      if (seen.length === 1) void conversation.done.then(() => socket.terminate());
    });
    const stop = new AbortController();
    let verdicts = 0;
    const config = buildConfig(
      null,
      { ASSAY_AGENT_STATE_DIR: join(folder, 'state-2'), ASSAY_AGENT_JOIN_TOKEN_FILE: join(folder, 'token') },
      { servers: [`127.0.0.1:${server.port}`], node: 'node-1', tcti: tpm.tcti, sysroot: folder },
    );
    let cycled: Promise<void> = Promise.resolve();
    await runAgent(config, {
      logger: pino({ level: 'silent' }),
      signal: stop.signal,
      onState: ({ phase }) => {
        if (phase === 'offline' && seen.length === 1) cycled = tpm.powerCycle();
        if (phase === 'verdict' && ++verdicts === 2) stop.abort();
      },
    });
    await cycled;
    const [first, last] = await Promise.all([seen[0]?.done, seen.at(-1)?.done]);
    assert.equal(last?.proven.akName, first?.proven.akName);
    assert.equal(last?.proven.clock.resetCount, (first?.proven.clock.resetCount ?? 0) + 1);
  });

  /** Starts the program as an operator does, and stops it after its first verdict. */
  async function runUntilVerdict(port: number, more: Record<string, string> = {}) {
    const agent = start(process.execPath, [programs['assay-agent'], 'run'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ASSAY_AGENT_SERVERS: `127.0.0.1:${port}`,
        ASSAY_AGENT_NODE: 'node-1',
        ASSAY_AGENT_TCTI: tpm.tcti,
        ASSAY_AGENT_STATE_DIR: join(folder, 'state'),
        ASSAY_AGENT_JOIN_TOKEN_FILE: join(folder, 'token'),
        ASSAY_AGENT_SYSROOT: folder,
        ASSAY_AGENT_LOG_LEVEL: 'debug',
        ...more,
      },
    });
    let said = '';
    let listening: readonly string[] = [];
    let isEnding = false;
    agent.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (isEnding || !said.includes('"code":"verdict"')) return;
      // More lines may come before it is told: a second signal would end it at once.
      isEnding = true;
      void listeningSockets(agent.pid ?? 0).then((found) => {
        listening = found;
        agent.kill('SIGTERM');
      });
    });
    const [exit] = await once(agent, 'close');
    return { exit, said, listening };
  }
});

/** What a process listens on: its sockets in state LISTEN (0A in /proc/net/tcp). */
async function listeningSockets(pid: number): Promise<readonly string[]> {
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/${pid}/net/${name}`, 'utf8')),
  );
  const rows = tables.flatMap((table) => table.split('\n').map((row) => row.trim().split(/\s+/)));
  const listens = new Set(rows.filter((row) => row[3] === '0A').map((row) => `socket:[${row[9]}]`));
  const names = await readdir(`/proc/${pid}/fd`);
  const links = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
  assert(links.some((link) => link.startsWith('socket:')));
  return links.filter((link) => listens.has(link));
}
