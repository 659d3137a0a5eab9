import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { type AnnouncedAuthority, authorityDigest, vouchForAuthority } from '../protocol/authority.ts';
import { checkPrivateFile, preparePrivateFolder } from '../state/private-file.ts';
import { type Authorities, type RotationStage, readAuthorities, readOrNull } from './authority-files.ts';
import { newEcKey, openssl } from './openssl.ts';

/** The server's own authority and certificate, PEM. One authority per installation, never shared. */
export interface ServerIdentity {
  /** The authority in force. */
  readonly ca: string;
  /** File of all authorities: two while one follows another. */
  readonly caFile: string;
  /** SHA-256 of the authority's SubjectPublicKeyInfo, DER, in hex: what a join token carries. */
  readonly caDigest: string;
  /** Leaf first, then the authority. */
  readonly chain: string;
  readonly key: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  /** Of the authority in force. Milliseconds since the epoch. */
  readonly authorityNotAfter: number;
  readonly stage: RotationStage;
  /** All authorities, the one in force first, as agents are told of them. */
  readonly authorities: readonly AnnouncedAuthority[];
}

/**
 * Reads the authority and the server's certificate from the state folder; makes what is missing with openssl, and
 * makes the server's certificate anew when its names changed or a third of its life is left.
 * @param names host names and addresses under which agents reach the server
 * @throws Error for a folder or key that is open to others
 */
export async function ensureIdentity(
  stateDir: string,
  names: readonly string[],
  now: number,
): Promise<ServerIdentity> {
  const dir = tlsFolder(stateDir);
  preparePrivateFolder(dir);
  const file = (name: string) => join(dir, name);
  // Who could read a key or put his own there is the server's equal.
  for (const name of ['ca.key', 'next.key', 'server.key']) checkPrivateFile(file(name));
  const found = await readAuthorities(dir);
  const authority = new X509Certificate(found.inForce);
  if (!(await isGood(file('server.crt'), names, now))) await makeServerCertificate(file, names);
  const [leaf, key] = await Promise.all([
    readFile(file('server.crt'), 'utf8'),
    readFile(file('server.key'), 'utf8'),
  ]);
  return {
    ca: found.inForce,
    caFile: file('ca.crt'),
    caDigest: authorityDigest(authority),
    chain: `${leaf}${found.inForce}`,
    key,
    notAfter: Date.parse(new X509Certificate(leaf).validTo),
    authorityNotAfter: Date.parse(authority.validTo),
    stage: found.stage,
    authorities: await announcement(found, file('ca.key')),
  };
}

export function tlsFolder(stateDir: string): string {
  return join(stateDir, 'tls');
}

async function announcement(
  { inForce, other, stage }: Authorities,
  keyFile: string,
): Promise<readonly AnnouncedAuthority[]> {
  const first = { certificate: new X509Certificate(inForce).toString(), signature: null };
  if (other === null) return [first];
  // Only one that follows needs a word: whoever does not know the one before has no use for it.
  const signature =
    stage === 'announced'
      ? vouchForAuthority(new X509Certificate(other), createPrivateKey(await readFile(keyFile, 'utf8')))
      : null;
  return [first, { certificate: other, signature }];
}

async function makeServerCertificate(
  file: (name: string) => string,
  names: readonly string[],
): Promise<void> {
  const extensions = file('server.ext');
  await openssl([
    ...['req', '-new', ...newEcKey, '-subj', '/O=Assay/CN=assay-server'],
    ...['-keyout', file('server.key'), '-out', file('server.csr')],
  ]);
  await chmod(file('server.key'), 0o600);
  await writeFile(
    extensions,
    [
      `subjectAltName=${names.map((name) => (isIP(name) !== 0 ? `IP:${name}` : `DNS:${name}`)).join(',')}`,
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      'extendedKeyUsage=serverAuth',
      // Which of two authorities of one name signed it: they overlap while one follows the other.
      'authorityKeyIdentifier=keyid\n',
    ].join('\n'),
  );
  await openssl([
    ...['x509', '-req', '-in', file('server.csr'), '-CA', file('ca.crt'), '-CAkey', file('ca.key')],
    ...['-days', '365', '-extfile', extensions, '-out', file('server.crt.new')],
  ]);
  await rename(file('server.crt.new'), file('server.crt'));
  await Promise.all([rm(file('server.csr')), rm(extensions)]);
}

async function isGood(path: string, names: readonly string[], now: number): Promise<boolean> {
  const pem = await readOrNull(path);
  if (pem === null) return false;
  const certificate = new X509Certificate(pem);
  const life = Date.parse(certificate.validTo) - Date.parse(certificate.validFrom);
  if (now > Date.parse(certificate.validTo) - life / 3) return false;
  return names.every(
    (name) => (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined,
  );
}
