import type { X509Certificate } from 'node:crypto';
import { lstat, readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { connect } from 'node:tls';
import { authorityDigest } from '../attest-server/wire/authority.ts';
import { dateFault } from '../attest-server/wire/certificate-dates.ts';
import { chainFrom, parseCertificates } from '../attest-server/wire/certificates.ts';
import { AgentError } from './agent-error.ts';
import { isSignedBy, openTrust, type TrustedAuthorities } from './announced-authorities.ts';
import type { ServerAddress } from './config.ts';
import { connectFault, notForHost } from './connect-fault.ts';
import type { JoinToken } from './join-token.ts';
import type { StateDir } from './state-dir.ts';

/** Where trust in the server comes from. */
export interface TrustSource {
  readonly caFile: string | null;
  readonly joinToken: JoinToken | null;
  readonly state: StateDir;
}

/**
 * The only authorities that may vouch for the server. Given are all of the file (while one follows another, both), else
 * the one kept from an earlier start, else the one among those that the server shows whose key the join token names;
 * what the server announced since, under one of these, adds to them and takes away.
 * @throws AgentError `ca_file` (retryable if a server of the cluster writes it), `join_token`, `server_identity`,
 * `connect_failed` (retryable), `state_dir`
 */
export async function readTrust(
  source: TrustSource,
  server: ServerAddress,
  signal: AbortSignal,
): Promise<TrustedAuthorities> {
  return openTrust(await readGiven(source, server, signal), source.state);
}

async function readGiven(
  { caFile, joinToken, state }: TrustSource,
  server: ServerAddress,
  signal: AbortSignal,
): Promise<readonly X509Certificate[]> {
  if (caFile !== null) return readCaFile(caFile, joinToken);
  const text = await state.read('serverCa');
  const kept = text === null ? null : parsePem(text, 'the authority that is kept in the state folder');
  if (kept !== null && (joinToken === null || kept.some((authority) => isNamedBy(authority, joinToken))))
    return kept;
  if (joinToken === null)
    throw new AgentError(
      'join_token',
      'joinTokenFile names no file that is there, and no authority is kept: make a token (assay join-token create --node NODE), or give caFile',
    );
  const chain = await readPeerChain(server, signal);
  const authority = checkChain(chain, server.host, joinToken, new Date());
  await state.write('serverCa', authority.toString());
  return [authority];
}

/**
 * The authority in a chain (leaf first) that the token names, after checking that it signed this leaf for this host.
 * Stops a server that shows the true authority beside a leaf of its own.
 * @throws AgentError `server_identity`
 */
export function checkChain(
  chain: readonly X509Certificate[],
  host: string,
  token: Pick<JoinToken, 'authorityDigest'>,
  now: Date,
): X509Certificate {
  const leaf = chain[0];
  const authority = chain.find((certificate) => isNamedBy(certificate, token));
  if (leaf === undefined || authority === undefined)
    throw refused(
      'it shows no authority with the key that the join token names. Is this the right server? If its authority was replaced, make a new token',
    );
  if (!authority.ca || !isSignedBy(authority, authority))
    throw refused('the key that the join token names is not that of a self-signed authority');
  if (!isSignedBy(leaf, authority))
    throw refused('its certificate is not signed by the authority that the join token names');
  const fault = dateFault([leaf, authority], now.getTime());
  if (fault !== null) throw refused(`${fault.text}. ${fault.hint}`);
  if ((isIP(host) ? leaf.checkIP(host) : leaf.checkHost(host)) === undefined)
    throw refused(notForHost(host, leaf.subjectAltName));
  return authority;
}

async function readCaFile(path: string, token: JoinToken | null): Promise<readonly X509Certificate[]> {
  const authorities = await readAuthoritiesOf(path).catch(async (fault: unknown) => {
    throw (await isFromConfigMap(path)) ? notYet(path, fault) : fault;
  });
  if (token !== null && !authorities.some((authority) => isNamedBy(authority, token)))
    throw new AgentError(
      'ca_file',
      `the join token names another authority than ${path} (caFile): leave caFile out if the token comes from the right server, otherwise make a token there (assay join-token create --node NODE)`,
    );
  return authorities;
}

async function readAuthoritiesOf(path: string): Promise<readonly X509Certificate[]> {
  const pem = await readFile(path, 'utf8').catch((cause: unknown) => {
    const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
    const text = `the authority's file ${path} (caFile) cannot be read${code}: ${whichCaFile}`;
    throw new AgentError('ca_file', text, { cause });
  });
  return parsePem(pem, `${path} (caFile)`);
}

/** The kubelet puts `..data` beside the files of a ConfigMap, and makes it lead to others when they change. */
function isFromConfigMap(path: string): Promise<boolean> {
  return lstat(join(dirname(path), '..data')).then(
    (found) => found.isSymbolicLink(),
    () => false,
  );
}

/** A server of the cluster writes it when it starts, and puts it back where it was changed. */
function notYet(path: string, cause: unknown): AgentError {
  return new AgentError(
    'ca_file',
    `the ConfigMap has no authority in ${path} (caFile) yet: the server writes it there (its setting kubernetes.authorityConfigMap; assay status says why it cannot)`,
    { retryable: true, cause },
  );
}

const whichCaFile =
  "copy tls/ca.crt out of the server's state folder, and name the copy as caFile of this agent's configuration";

function parsePem(pem: string, name: string): X509Certificate[] {
  try {
    return parseCertificates(pem);
  } catch (cause) {
    throw new AgentError(
      'ca_file',
      `${name} holds no certificate in PEM (-----BEGIN CERTIFICATE-----): ${whichCaFile}`,
      { cause },
    );
  }
}

/** Looks at what the server shows, and believes nothing of it. */
export function readPeerChain(
  { host, port }: ServerAddress,
  signal: AbortSignal,
): Promise<X509Certificate[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      minVersion: 'TLSv1.3',
      rejectUnauthorized: false,
      ...(isIP(host) === 0 && { servername: host }),
    });
    const fail = (cause: unknown) => {
      socket.destroy();
      const said = cause instanceof Error ? connectFault(cause) : 'no answer';
      reject(
        new AgentError('connect_failed', `${host}:${port} cannot be reached: ${said}`, {
          retryable: true,
          cause,
        }),
      );
    };
    const onAbort = () => fail(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const late = setTimeout(() => fail(new Error('no answer within 10 s')), 10_000);
    socket.once('error', fail);
    socket.once('close', () => {
      clearTimeout(late);
      signal.removeEventListener('abort', onAbort);
    });
    socket.once('secureConnect', () => {
      const chain = chainFrom(socket.getPeerX509Certificate(), 8);
      socket.destroy();
      resolve(chain);
    });
  });
}

function isNamedBy(certificate: X509Certificate, token: Pick<JoinToken, 'authorityDigest'>): boolean {
  return authorityDigest(certificate) === token.authorityDigest;
}

function refused(why: string): AgentError {
  return new AgentError('server_identity', `the server is not trusted: ${why}`, { retryable: true });
}
