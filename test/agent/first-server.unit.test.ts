import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { pino } from 'pino';
import type { WebSocket } from 'ws';
import { buildConfig } from '../../agent/config.ts';
import { type AgentState, runAgent } from '../../agent/run.ts';
import { parseAgentMessage } from '../../attest-server/protocol/messages.ts';
import { isOfFirstVersion } from './first-version.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';
import { startTinyServer } from './tiny-server.ts';

/** The agent says that the machine has no TPM: its hello is all that counts here. */
describe('the life of an agent beside servers', () => {
  let authority: MadeAuthority;
  let tls: { readonly key: string; readonly cert: string };
  let folder = '';
  before(async () => {
    authority = await makeAuthority();
    tls = await authority.issue();
    folder = await mkdtemp(join(tmpdir(), 'assay-agent-'));
    await writeFile(join(folder, 'ca.pem'), authority.ca);
  });
  after(async () => {
    await authority[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** Runs an agent until `isOver` says so. */
  async function runUntil(
    ports: readonly number[],
    isOver: (state: AgentState) => boolean,
    changes = new EventTarget(),
  ): Promise<void> {
    const stop = new AbortController();
    const config = buildConfig(
      null,
      { ASSAY_AGENT_STATE_DIR: join(folder, 'state') },
      {
        servers: ports.map((port) => `127.0.0.1:${port}`),
        node: 'node-1',
        tcti: 'device:/dev/no-such-tpm',
        caFile: join(folder, 'ca.pem'),
      },
    );
    await runAgent(config, {
      logger: pino({ level: 'silent' }),
      signal: stop.signal,
      changes,
      onState: (state) => {
        if (isOver(state)) stop.abort();
      },
    });
  }

  const refuse = (socket: WebSocket) => {
    socket.send(JSON.stringify({ type: 'error', code: 'malformed' }));
    socket.close(1008);
  };
  const greet = (socket: WebSocket) =>
    socket.send(JSON.stringify({ type: 'verdict', state: 'pending', codes: ['unsupported_tpm'] }));

  /** Whether each hello in turn said what the agent speaks. */
  async function startServer(seen: boolean[], takes: (text: string) => boolean) {
    return startTinyServer(tls, (socket) => {
      socket.once('message', (text) => {
        const hello = parseAgentMessage(String(text));
        assert(hello.type === 'hello');
        seen.push(hello.speaks !== undefined);
        if (takes(String(text))) greet(socket);
        else refuse(socket);
        setTimeout(() => socket.close(), 20);
      });
    });
  }

  it('goes on where a server of later refuses it with a code that it does not know', async () => {
    let hellos = 0;
    await using server = await startTinyServer(tls, (socket) => {
      socket.once('message', () => {
        hellos += 1;
        if (hellos > 1) greet(socket);
        else socket.send(JSON.stringify({ type: 'error', code: 'of_a_later_version' }));
        setTimeout(() => socket.close(), 20);
      });
    });
    await runUntil([server.port], ({ phase }) => phase === 'offline' && hellos === 2);
    assert.equal(hellos, 2);
  });

  it('comes again without what it speaks to a server of 0.1.0, and tries anew where that may be a later one', async () => {
    const seen: boolean[] = [];
    await using server = await startServer(seen, isOfFirstVersion);
    const started = performance.now();
    await runUntil([server.port], ({ phase }) => phase === 'offline' && seen.length === 4);
    assert.deepEqual(seen, [true, false, true, false]);
    // Each wait is at most half a second after one failure, and less after a verdict.
    assert(performance.now() - started < 5_000);
  });

  it('says again what it speaks where that was not what the server refused', async () => {
    const seen: boolean[] = [];
    await using server = await startServer(seen, () => false);
    await runUntil([server.port], ({ phase }) => phase === 'offline' && seen.length === 3);
    assert.deepEqual(seen, [true, false, true]);
  });

  it('says to each server what that one takes', async () => {
    const [first, later]: [boolean[], boolean[]] = [[], []];
    await using old = await startServer(first, isOfFirstVersion);
    await using young = await startServer(later, () => true);
    const isOver = ({ phase }: AgentState) =>
      phase === 'offline' && first.length + later.length >= 4 && first.length >= 2;
    await runUntil([old.port, young.port], isOver);
    assert.deepEqual([first.slice(0, 2), new Set(later)], [[true, false], new Set([true])]);
  });

  it('tells what changed while it was away, once a hello was accepted', async () => {
    const changes = new EventTarget();
    const nonce = Buffer.alloc(32).toString('base64');
    const challenge = { type: 'challenge', nonce, selection: {}, purpose: 'attest', holds: [], within: 1 };
    const told: string[] = [];
    let connections = 0;
    await using server = await startTinyServer(tls, (socket) => {
      connections++;
      const isFirst = connections === 1;
      socket.on('message', (text) => {
        const message = parseAgentMessage(String(text));
        told.push(`${connections} ${message.type}`);
        if (message.type !== 'hello') return;
        if (isFirst) socket.close();
        // Not before this is anything but an activation in order.
        else void sleep(100).then(() => socket.send(JSON.stringify(challenge)));
      });
    });
    let wasAway = false;
    const isOver = ({ phase }: AgentState) => {
      if (phase === 'offline' && !wasAway) {
        wasAway = true;
        changes.dispatchEvent(new Event('changed'));
      }
      return told.includes('2 changed') || connections > 2;
    };
    await runUntil([server.port], isOver, changes);
    assert.deepEqual(told.slice(0, 3), ['1 hello', '2 hello', '2 changed']);
  });
});
