import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'mocha';
import { WebSocket, WebSocketServer } from 'ws';
import { Heartbeat } from '../../../attest-server/channel/heartbeat.ts';

describe('the heartbeat', () => {
  it('gives up a peer that did not answer the last ping, and says so first; one that answers stays', async () => {
    const server = createServer();
    const sockets = new WebSocketServer({ server });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const said: string[] = [];
    const heartbeats: Heartbeat[] = [];
    sockets.on('connection', (socket) => {
      socket.on('close', (code) => said.push(`closed ${code}`));
      const watch = {
        controlFrame: () => true,
        reads: () => true,
        unanswered: () => said.push('unanswered'),
      };
      heartbeats.push(new Heartbeat(socket, watch));
    });
    const peer = new WebSocket(`ws://127.0.0.1:${port}`, { autoPong: false });
    const pinged = () => new Promise<void>((resolve) => peer.once('ping', () => resolve()));
    await new Promise<void>((resolve) => peer.once('open', () => resolve()));
    const ponged = new Promise<void>((resolve) => [...sockets.clients][0]?.once('pong', () => resolve()));
    let ping = pinged();
    heartbeats[0]?.beat();
    await ping;
    peer.pong();
    await ponged;
    ping = pinged();
    heartbeats[0]?.beat();
    await ping;
    assert.deepEqual(said, []);
    const gone = new Promise<void>((resolve) => peer.once('close', () => resolve()));
    heartbeats[0]?.beat();
    await gone;
    assert.deepEqual(said, ['unanswered', 'closed 1006']);
    server.close();
  });
});
