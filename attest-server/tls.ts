import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { chmod, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { preparePrivateFolder } from './store/private-file.ts';

/** The server's own authority and certificate, PEM. One authority per installation, never shared. */
export interface ServerIdentity {
  readonly ca: string;
  readonly caFile: string;
  /** SHA-256 of the authority's SubjectPublicKeyInfo, DER, in hex: what a join token carries. */
  readonly caDigest: string;
  /** Leaf first, then the authority. */
  readonly chain: string;
  readonly key: string;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
}

/**
 * Reads the authority and the server's certificate from the state folder; makes what is missing with openssl, and
 * makes the server's certificate anew when its names changed or a third of its life is left.
 * @param names host names and addresses under which agents reach the server
 */
export async function ensureIdentity(
  stateDir: string,
  names: readonly string[],
  now: number,
): Promise<ServerIdentity> {
  const dir = join(stateDir, 'tls');
  preparePrivateFolder(dir);
  const file = (name: string) => join(dir, name);
  if (!(await exists(file('ca.crt')))) await makeAuthority(file);
  if (!(await isGood(file('server.crt'), names, now))) await makeServerCertificate(file, names);
  const [ca, leaf, key] = await Promise.all([
    readFile(file('ca.crt'), 'utf8'),
    readFile(file('server.crt'), 'utf8'),
    readFile(file('server.key'), 'utf8'),
  ]);
  const spki = createPublicKey(ca).export({ type: 'spki', format: 'der' });
  return {
    ca,
    caFile: file('ca.crt'),
    caDigest: createHash('sha256').update(spki).digest('hex'),
    chain: `${leaf}${ca}`,
    key,
    notAfter: Date.parse(new X509Certificate(leaf).validTo),
  };
}

const ecKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const;

async function makeAuthority(file: (name: string) => string): Promise<void> {
  await openssl([
    ...['req', '-x509', ...ecKey, '-days', '3650', '-subj', '/O=Assay/CN=Assay server authority'],
    ...[
      '-addext',
      'basicConstraints=critical,CA:TRUE,pathlen:0',
      '-addext',
      'keyUsage=critical,keyCertSign,cRLSign',
    ],
    ...['-keyout', file('ca.key'), '-out', file('ca.crt.new')],
  ]);
  await chmod(file('ca.key'), 0o600);
  await rename(file('ca.crt.new'), file('ca.crt'));
}

async function makeServerCertificate(
  file: (name: string) => string,
  names: readonly string[],
): Promise<void> {
  const extensions = file('server.ext');
  await openssl([
    ...['req', '-new', ...ecKey, '-subj', '/O=Assay/CN=assay-server'],
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

async function openssl(args: readonly string[]): Promise<void> {
  await run('openssl', args, { timeoutMs: 20_000, maxOutputBytes: 65_536 });
}

async function isGood(path: string, names: readonly string[], now: number): Promise<boolean> {
  if (!(await exists(path))) return false;
  const certificate = new X509Certificate(await readFile(path));
  const life = Date.parse(certificate.validTo) - Date.parse(certificate.validFrom);
  if (now > Date.parse(certificate.validTo) - life / 3) return false;
  return names.every(
    (name) => (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined,
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    await readFile(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
