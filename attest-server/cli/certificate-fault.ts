import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import { authorityDigest } from '../wire/authority.ts';
import { dateFault, dateFaults } from '../wire/certificate-dates.ts';
import { chainFrom, parseCertificates, plainNames } from '../wire/certificates.ts';
import { printable } from '../wire/printable.ts';
import { CliError, exit } from './exit.ts';
import { withShortDigests } from './readable.ts';
import type { ServerAccess } from './server-access.ts';

/**
 * Why the certificate of the server was not taken, and what to do.
 * @param code of the error of TLS
 * @returns null: another server answers than the one of `npm start`
 */
export async function certificateFault(
  access: ServerAccess,
  code: string,
  cause: Error,
): Promise<CliError | null> {
  const { server, caFile, startedBy } = access;
  const because = (text: string, hint: string) => new CliError(text, hint, exit.error, cause);
  if (dateFaults.has(code)) {
    const fault = dateFault(await shownChain(server), Date.now());
    if (fault !== null) return because(`${server.host}: ${fault.text}`, fault.hint);
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = plainNames((await shownChain(server))[0]?.subjectAltName ?? 'another name');
    return because(
      `the certificate of ${server.host} is not for ${server.hostname}, but for ${printable(names)}`,
      `Use a name that it is for with --server, or add ${server.hostname} to names (ASSAY_NAMES) of the server and restart it.`,
    );
  }
  if (startedBy !== null) return null;
  const signer = caFile === null ? 'no authority that this system trusts' : `the authority in ${caFile}`;
  return because(
    `${signer} ${caFile === null ? 'signed' : 'did not sign'} the certificate of ${server.host} (${code})`,
    `${await whoSigned(access)}Copy tls/ca.crt out of the state folder of that server (/var/lib/assay/tls/ca.crt where nothing else is set), and name the copy with --ca-file or ASSAY_CA_FILE.`,
  );
}

/** The certificates that the server shows and those of the file, by the digests of `assay authority status`. */
async function whoSigned({ server, ca }: ServerAccess): Promise<string> {
  const shown = (await shownChain(server)).at(-1);
  if (shown === undefined) return '';
  const name = printable(shown.issuer.split('\n').toReversed().join(', '));
  const known = ca === null ? [] : parseCertificates(ca);
  const held =
    known.length === 0
      ? ''
      : `; the file holds ${known.map(authorityDigest).map(withShortDigests).join(' and ')}`;
  return `It shows one of ${name}, whose key has the digest ${withShortDigests(authorityDigest(shown))}${held}.\n`;
}

const withinMs = 5_000;

/** Certificates that the server shows, its own first, of which nothing is believed; none if it does not answer. */
function shownChain({ hostname, port }: URL): Promise<readonly X509Certificate[]> {
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
