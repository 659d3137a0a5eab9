import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import { chainFrom } from '../wire/certificates.ts';

const withinMs = 5_000;

/** Certificates that the server shows, its own first, of which nothing is believed; none if it does not answer. */
export function shownChain({ hostname, port }: URL): Promise<readonly X509Certificate[]> {
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  return new Promise((resolve) => {
    const socket = connect({
      host,
      port: Number(port || 443),
      rejectUnauthorized: false,
      ...(isIP(host) === 0 && { servername: host }),
    });
    let chain: readonly X509Certificate[] = [];
    // Of the whole: a server that sends a byte now and then is not waited for.
    const late = setTimeout(() => socket.destroy(), withinMs);
    socket.once('error', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(late);
      resolve(chain);
    });
    socket.once('secureConnect', () => {
      chain = chainFrom(socket.getPeerX509Certificate(), 4);
      socket.destroy();
    });
  });
}
