import { once } from 'node:events';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { attestPath, subprotocol } from '../../attest-server/wire/messages.ts';
import type { TestServer } from './running-server.ts';

/** A TCP connection from this address of the loopback that says nothing. */
export async function rawTcp({ server }: TestServer, from: string): Promise<Socket> {
  const socket = connectPlain({ host: '127.0.0.1', port: server.agentPort, localAddress: from });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** The same, with TLS. */
export async function rawTls(world: TestServer, from: string): Promise<TLSSocket> {
  const socket = connectTls({ socket: await rawTcp(world, from), host: '127.0.0.1', ca: world.ca });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  return socket;
}

/** The same, after the upgrade: every byte of a frame is the attacker's. */
export async function rawWebSocket(
  world: TestServer,
  from: string,
  extensions?: string,
): Promise<{ readonly socket: TLSSocket; readonly answer: string }> {
  const socket = await rawTls(world, from);
  socket.write(upgradeRequest(extensions));
  const [first] = await once(socket, 'data');
  return { socket, answer: String(first) };
}

/** A frame's head (RFC 6455, section 5.2) with the length that it claims and a mask of zeros. */
export function frameHead(opcode: number, length: number, bits = 0x80): Buffer {
  if (length < 126) return Buffer.from([bits | opcode, 0x80 | length, 0, 0, 0, 0]);
  const head = Buffer.alloc(14);
  head[0] = bits | opcode;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(length), 2);
  return head;
}

/** What a peer got until the connection was over. */
export async function untilClosed(socket: Socket): Promise<string> {
  let got = '';
  socket.on('data', (part: Buffer) => {
    got += part.toString('latin1');
  });
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return got;
}

/** The status of the close frame that ends what an untold peer got (RFC 6455, section 5.5.1); null without one. */
export function closeStatus(got: string): number | null {
  const at = got.lastIndexOf('\x88');
  return at < 0 ? null : Buffer.from(got.slice(at + 2, at + 4), 'latin1').readUInt16BE();
}

/** The request with which an agent's WebSocket begins. */
export function upgradeRequest(extensions?: string): string {
  const lines = [
    `GET ${attestPath} HTTP/1.1`,
    'host: localhost',
    'connection: upgrade',
    'upgrade: websocket',
    'sec-websocket-version: 13',
    `sec-websocket-key: ${Buffer.alloc(16).toString('base64')}`,
    `sec-websocket-protocol: ${subprotocol}`,
    ...(extensions === undefined ? [] : [`sec-websocket-extensions: ${extensions}`]),
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}
