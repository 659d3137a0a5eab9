import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { writePrivate } from '../state/private-file.ts';
import { parsed, readOrNull, sync, writeWhole } from '../state/whole-file.ts';
import type { AuthorityKeys } from './ports.ts';

const day = 86_400_000;
/** How long a certificate is good; a new one takes its place when a third of that is left. */
const life = 365 * day;
/** It is good since before it was made: the clocks of those who look at it may be late. */
const before = 3_600_000;

/**
 * True if another one is to be made: a third of its life is left, or it was made when the clock was ahead. Who is
 * earlier than the authority has a wrong clock now.
 * @param now milliseconds since the epoch
 */
export function isDue(certificate: X509Certificate, authority: X509Certificate, now: number): boolean {
  if (now >= renewAt(certificate, authority)) return true;
  return now < certificate.validFromDate.getTime() && now >= authority.validFromDate.getTime();
}

/** When that third is left; no new one would last longer than the authority. */
function renewAt(certificate: X509Certificate, authority: X509Certificate): number {
  const until = certificate.validToDate.getTime();
  if (until > authority.validToDate.getTime() - day) return until;
  return until - (until - certificate.validFromDate.getTime()) / 3;
}

/**
 * The certificate with its key, PEM; null if one of them is missing. Completes a renewal that was cut off.
 * @throws Error if they are not of each other
 */
export async function readCertificate(
  dir: string,
): Promise<{ readonly certificate: string; readonly key: string } | null> {
  const certificate = await readOrNull(join(dir, 'server.crt'));
  const key = await readOrNull(join(dir, 'server.key'));
  if (key === null) return null;
  const ownKey = parsed(join(dir, 'server.key'), orMadeAnew, () => createPrivateKey(key));
  const isOfKey = (pem: string) =>
    parsed(join(dir, 'server.crt'), orMadeAnew, () => new X509Certificate(pem)).checkPrivateKey(ownKey);
  const made = await readOrNull(join(dir, 'new', 'certificate'));
  if (made !== null && isWhole(made) && isOfKey(made)) {
    await putInPlace(dir, made);
    return { certificate: made, key };
  }
  if (certificate === null) return null;
  if (isOfKey(certificate)) return { certificate, key };
  throw new Error(
    `${join(dir, 'server.key')} is not the key of server.crt: bring the right one, or remove both`,
  );
}

const orMadeAnew = 'bring back a copy, or remove server.crt and server.key: new ones are made';

/** Of one that was still being written the key is not in its place either. */
function isWhole(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

/** True if it is for all of these host names and addresses. */
export function isFor(certificate: X509Certificate, names: readonly string[]): boolean {
  return names.every(
    (name) => (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined,
  );
}

/**
 * Makes a key and its certificate under the authority in force, and puts them in their place once both are on disk: whoever
 * finds the key there, and the certificate not yet, puts that there too.
 * @param now milliseconds since the epoch
 * @throws ToolError; Error where the authority is about to end
 */
export async function makeCertificate(
  dir: string,
  keys: Pick<AuthorityKeys, 'issue'>,
  names: readonly string[],
  authority: X509Certificate,
  now: number,
): Promise<void> {
  const ends = authority.validToDate.getTime();
  if (ends - now < day)
    throw new Error(
      `the authority of the server ends at ${rfc3339(ends)} and can sign no more certificates: replace it (docs/connections.md#another-authority)`,
    );
  const made = join(dir, 'new');
  await rm(made, { recursive: true, force: true });
  await mkdir(made, { mode: 0o700 });
  try {
    const until = Math.min(now + life, ends);
    await keys.issue(made, { authority: authority.toString(), names, from: now - before, until });
    for (const path of [join(made, 'certificate'), made]) await sync(path);
  } catch (error) {
    await rm(made, { recursive: true, force: true });
    throw error;
  }
  writePrivate(join(dir, 'server.key'), await readFile(join(made, 'key'), 'utf8'), 'replace');
  await putInPlace(dir, await readFile(join(made, 'certificate'), 'utf8'));
}

async function putInPlace(dir: string, certificate: string): Promise<void> {
  await writeWhole(join(dir, 'server.crt'), certificate);
  await rm(join(dir, 'new'), { recursive: true });
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}
