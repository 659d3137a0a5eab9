import { createPrivateKey, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { AuditSigner } from '../audit/ports.ts';
import { checkPrivateFolder, readPrivate } from '../state/private-file.ts';
import { parsed, readOrNull } from '../state/whole-file.ts';
import { authorityDigest } from '../wire/authority.ts';
import { readAuditKey } from './audit-key.ts';
import { checkLeftBehind, placesIn } from './key-folder.ts';

/** Keys as they lie in their folder. */
export interface FoundKeys {
  readonly audit: { readonly path: string; readonly signer: AuditSigner | null };
  readonly tls: { readonly path: string; readonly authorities: FoundAuthorities | null };
}

/** Digests. */
interface FoundAuthorities {
  readonly inForce: string;
  /** Those that are or were in force, or follow. */
  readonly all: readonly string[];
  /** Whether the key is that of the one in force. */
  readonly hasKey: boolean;
}

/** Reads what a server would start with; makes nothing and completes nothing. @throws Error as a server that starts there */
export async function lookAtKeys(keysDir: string, stateDir: string): Promise<FoundKeys> {
  checkLeftBehind(keysDir, stateDir);
  const { auditKey, tls } = placesIn(keysDir);
  for (const folder of [keysDir, tls]) checkPrivateFolder(folder);
  return {
    audit: { path: auditKey, signer: readAuditKey(auditKey) },
    tls: { path: join(tls, 'ca.key'), authorities: await authoritiesIn(tls) },
  };
}

async function authoritiesIn(dir: string): Promise<FoundAuthorities | null> {
  const [ca, next, previous] = await Promise.all(
    ['ca.crt', 'next.crt', 'previous.crt'].map((name) => readOrNull(join(dir, name))),
  );
  if (ca == null) return null;
  const [certificate, keyFile] = [join(dir, 'ca.crt'), join(dir, 'ca.key')];
  const remedy = 'bring back a copy, private as it was';
  const inForce = parsed(certificate, remedy, () => new X509Certificate(ca));
  const key = parsed(keyFile, remedy, () => createPrivateKey(readPrivate(keyFile)));
  const others = [next, previous].flatMap((pem) => (pem == null ? [] : [new X509Certificate(pem)]));
  return {
    inForce: authorityDigest(inForce),
    all: [inForce, ...others].map(authorityDigest),
    hasKey: inForce.checkPrivateKey(key),
  };
}
