import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { upgradeRequest } from '../attest-server/raw-peer.ts';
import type { Tallies } from './attack.ts';

/** How far a stranger means to go. */
export type Aim = 'tcp' | 'tls' | 'websocket' | 'hello';

export interface Stranger {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
  /** Address of the loopback that he comes from. */
  readonly from: string;
  readonly aim: Aim;
  /** What he sends once he has a WebSocket, and after it. */
  readonly frames: readonly Buffer[];
  /** How long he stays, in milliseconds. */
  readonly stays: number;
}

/** One connection, from TCP as far as it comes; each stage that it reached is counted. Settles when it is over. */
export function visit(
  { host, port, ca, from, aim, frames, stays }: Stranger,
  tallies: Tallies,
): Promise<void> {
  return new Promise((resolve) => {
    tallies.add('tried');
    const raw = connectPlain({ host, port, localAddress: from });
    const end = setTimeout(() => raw.destroy(), stays);
    raw.on('error', () => {});
    raw.once('close', () => {
      clearTimeout(end);
      tallies.add('ended');
      resolve();
    });
    raw.once('connect', () => {
      tallies.add('tcp');
      if (aim !== 'tcp') onTcp(raw);
    });
    function onTcp(socket: Socket) {
      const tls = connectTls({ socket, host, ca });
      tls.on('error', () => raw.destroy());
      tls.once('close', () => raw.destroy());
      tls.once('secureConnect', () => {
        tallies.add('tls');
        if (aim === 'tls') return;
        tls.write(request);
        tls.once('data', (answer: Buffer) => {
          if (!answer.toString('latin1').startsWith('HTTP/1.1 101')) return tls.destroy();
          tallies.add('websocket');
          if (aim !== 'hello') return;
          for (const frame of frames) tls.write(frame);
          tallies.add('hello');
          tls.once('data', () => {
            tallies.add('answered');
          });
        });
      });
    }
  });
}

/** RFC 6455, section 5.2: a final frame with a mask of zeros. */
export function frameOf(payload: string | Buffer, claimed?: number): Buffer {
  const bytes = Buffer.from(payload);
  const head = Buffer.alloc(14);
  head[0] = typeof payload === 'string' ? 0x81 : 0x82;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(claimed ?? bytes.length), 2);
  return Buffer.concat([head, bytes]);
}

const request = upgradeRequest();
