import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { madeInTurn } from '../made-once.ts';

export interface ServingCertificate {
  /** PEM. */
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/** Makes an authority, and the certificate by which the API is served on this machine. @throws ToolError */
export async function makeCertificate(dir: string): Promise<ServingCertificate> {
  await madeInTurn('api-certificate', 4, files, dir, () => make(dir));
  const [authority, certificate, key] = await Promise.all(
    files.map((name) => readFile(join(dir, name), 'utf8')),
  );
  return { authority: authority ?? '', certificate: certificate ?? '', key: key ?? '' };
}

const files = ['ca.crt', 'tls.crt', 'tls.key'];

async function make(dir: string): Promise<void> {
  const path = (name: string) => join(dir, name);
  await openssl([
    ...['req', '-x509', ...newKey, '-keyout', path('ca.key'), '-out', path('ca.crt')],
    ...[
      '-days',
      '30',
      '-subj',
      '/CN=kubernetes',
      '-addext',
      'keyUsage=critical,keyCertSign,digitalSignature',
    ],
  ]);
  await openssl([
    ...['req', '-new', ...newKey, '-keyout', path('tls.key'), '-out', path('tls.csr')],
    ...['-subj', '/CN=kube-apiserver'],
  ]);
  await writeFile(path('names'), `subjectAltName=${names}\nextendedKeyUsage=serverAuth\n`);
  await openssl([
    ...['x509', '-req', '-in', path('tls.csr'), '-CA', path('ca.crt'), '-CAkey', path('ca.key')],
    ...['-CAcreateserial', '-days', '30', '-extfile', path('names'), '-out', path('tls.crt')],
  ]);
}

const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
const names = 'IP:127.0.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc';

async function openssl(args: readonly string[]): Promise<void> {
  await run('openssl', args, { timeoutMs: 20_000, maxOutputBytes: 65_536 });
}
