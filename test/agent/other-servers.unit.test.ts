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
import { parseAgentMessage } from '../../attest-server/wire/messages.ts';
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

  const greet = (socket: WebSocket) =>
    socket.send(JSON.stringify({ type: 'verdict', state: 'pending', codes: ['unsupported_tpm'] }));

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

  it('tells what changed while it was away, once a hello was accepted', async () => {
    const changes = new EventTarget();
    const nonce = Buffer.alloc(32).toString('base64');
    const challenge = {
      type: 'challenge',
      nonce,
      selection: {},
      purpose: 'attest',
      holds: [],
      parts: [],
      within: 1,
    };
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
