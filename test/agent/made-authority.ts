import { hash, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';

/** An authority and a server's certificate, made by openssl in a folder of its own. */
export interface MadeAuthority extends AsyncDisposable {
  readonly dir: string;
  /** PEM. */
  readonly ca: string;
  /** SHA-256 of the authority's SPKI, hex. */
  readonly digest: string;
  issue(options?: LeafOptions): Promise<{ readonly key: string; readonly cert: string }>;
}

export interface LeafOptions {
  readonly names?: string;
  readonly validity?: readonly string[];
}

export async function makeAuthority(isCa = true): Promise<MadeAuthority> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-agent-ca-'));
  const file = (name: string) => join(dir, name);
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await openssl([
    ...['req', '-x509', ...curve, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-days', '2'],
    ...['-subj', '/CN=Test authority', '-addext', `basicConstraints=critical,CA:${isCa ? 'TRUE' : 'FALSE'}`],
  ]);
  const ca = await readFile(file('ca.pem'), 'utf8');
  const spki = new X509Certificate(ca).publicKey.export({ type: 'spki', format: 'der' });
  return {
    dir,
    ca,
    digest: hash('sha256', spki, 'hex'),
    async issue({ names = 'DNS:localhost,IP:127.0.0.1', validity = ['-days', '1'] } = {}) {
      await openssl([
        'req',
        ...curve,
        '-keyout',
        file('s.key'),
        '-out',
        file('s.csr'),
        '-subj',
        '/CN=server',
      ]);
      await writeFile(file('ext'), `subjectAltName=${names}\n`);
      await openssl([
        ...['x509', '-req', '-in', file('s.csr'), '-CA', file('ca.pem'), '-CAkey', file('ca.key')],
        ...['-CAcreateserial', '-extfile', file('ext'), '-out', file('s.pem'), ...validity],
      ]);
      return { key: await readFile(file('s.key'), 'utf8'), cert: await readFile(file('s.pem'), 'utf8') };
    },
    async [Symbol.asyncDispose]() {
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function openssl(args: readonly string[]): Promise<void> {
  await run('openssl', args, { timeoutMs: 20_000, maxOutputBytes: 65_536 });
}
