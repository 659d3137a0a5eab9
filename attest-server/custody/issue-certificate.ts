import { writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import type { CertificateOrder } from '../tls/ports.ts';
import { newEcKey, openssl } from './openssl.ts';

/** Into a folder of its own: `key` and `certificate`. OpenSSL fails where the key is not that of the authority. */
export async function issueCertificate(
  keyFile: string,
  folder: string,
  { authority, names, from, until }: CertificateOrder,
): Promise<void> {
  const at = (name: string) => join(folder, name);
  await openssl([
    ...['req', '-new', ...newEcKey, '-subj', '/O=Assay/CN=assay-server'],
    ...['-keyout', at('key'), '-out', at('request')],
  ]);
  await writeFile(at('issued'), '');
  await writeFile(at('ca.cnf'), issuing);
  await writeFile(at('authority'), authority);
  await writeFile(
    at('extensions'),
    [
      `subjectAltName=${names.map((name) => (isIP(name) !== 0 ? `IP:${name}` : `DNS:${name}`)).join(',')}`,
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      'extendedKeyUsage=serverAuth',
      // Which of two authorities of one name signed it: they overlap while one follows the other.
      'authorityKeyIdentifier=keyid\n',
    ].join('\n'),
  );
  await openssl(
    [
      ...['ca', '-batch', '-notext', '-config', at('ca.cnf'), '-extfile', at('extensions')],
      ...['-cert', at('authority'), '-keyfile', keyFile],
      ...['-startdate', asn1Time(from), '-enddate', asn1Time(until)],
      ...['-in', at('request'), '-out', at('certificate')],
    ],
    // In the file a folder's name would be read for variables.
    { ASSAY_NEW: folder },
  );
}

/** For `openssl ca`, which alone takes dates in every version that there is. */
const issuing = `[ca]
default_ca = server
[server]
database = $ENV::ASSAY_NEW/issued
new_certs_dir = $ENV::ASSAY_NEW
default_md = sha256
policy = any
rand_serial = yes
unique_subject = no
[any]
organizationName = optional
commonName = supplied
`;

/** GeneralizedTime: 20261126195500Z. */
function asn1Time(ms: number): string {
  return `${new Date(ms).toISOString().replace(/\.\d+|[-:T]/g, '')}`;
}
