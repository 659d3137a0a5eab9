import { createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { newEcKey, openssl } from './openssl.ts';

/** `settled`: one authority; `announced`: the next one waits; `in_force`: it signs, and the old one is still told of. */
export const rotationStages = ['settled', 'announced', 'in_force'] as const;
export type RotationStage = (typeof rotationStages)[number];

/** The authorities in a folder, PEM. */
export interface Authorities {
  readonly stage: RotationStage;
  readonly inForce: string;
  /** The one that follows, or the one that went before. */
  readonly other: string | null;
}

/**
 * Reads them and makes the first one where there is none; completes a change that was cut off. `ca.crt` holds them all,
 * the one in force first, `ca.key` is its key; `next.crt` and `next.key` are the next one, `previous.crt` the old one.
 * @throws Error where keys and certificates do not belong together
 */
export async function readAuthorities(dir: string): Promise<Authorities> {
  const at = (name: string) => join(dir, name);
  if ((await readOrNull(at('ca.crt'))) === null) await makeAuthority(dir, 'ca');
  // As an earlier version left it, or whoever copied it here.
  else await narrow(at('ca.crt'));
  const next = await readOrNull(at('next.crt'));
  if (next !== null && (await readOrNull(at('next.key'))) === null) return completeChange(dir, next);
  const other = next ?? (await readOrNull(at('previous.crt')));
  const all = await readFile(at('ca.crt'), 'utf8');
  if (other === null) return { stage: 'settled', inForce: all, other };
  const inForce = firstOf(all);
  await writeBundle(dir, inForce, other);
  return { stage: next === null ? 'in_force' : 'announced', inForce, other };
}

/** Makes the authority that will follow. */
export async function prepareNext(dir: string): Promise<void> {
  await makeAuthority(dir, 'next');
}

/** Puts the next authority in the place of the one in force, whose key is gone after that. */
export async function putNextInForce(dir: string): Promise<void> {
  const at = (name: string) => join(dir, name);
  const next = await readFile(at('next.crt'), 'utf8');
  await checkKey(next, at('next.key'), 'it is not the key of next.crt: remove both and rotate again');
  await writeWhole(at('previous.crt'), firstOf(await readFile(at('ca.crt'), 'utf8')));
  // The change is made here: what comes after is done again by whoever finds a next certificate without its key.
  await rename(at('next.key'), at('ca.key'));
  await completeChange(dir, next);
}

/** Forgets the authority that went before. */
export async function dropPrevious(dir: string): Promise<void> {
  await writeBundle(dir, firstOf(await readFile(join(dir, 'ca.crt'), 'utf8')), null);
  await rm(join(dir, 'previous.crt'), { force: true });
}

async function completeChange(dir: string, next: string): Promise<Authorities> {
  const at = (name: string) => join(dir, name);
  await checkKey(next, at('ca.key'), 'next.key is missing: bring it back, or remove next.crt');
  const other = await readOrNull(at('previous.crt'));
  await writeBundle(dir, next, other);
  // Of the old authority: one of the new is made in its place.
  await rm(at('server.crt'), { force: true });
  await rm(at('new'), { recursive: true, force: true });
  await rm(at('next.crt'), { force: true });
  return { stage: other === null ? 'settled' : 'in_force', inForce: next, other };
}

async function checkKey(certificate: string, path: string, fault: string): Promise<void> {
  let cause: unknown;
  try {
    const key = createPrivateKey(await readFile(path, 'utf8'));
    if (new X509Certificate(certificate).checkPrivateKey(key)) return;
  } catch (error) {
    cause = error;
  }
  throw new Error(`${path}: ${fault}`, { cause });
}

/** What agents and the API's callers are given as a file. */
async function writeBundle(dir: string, inForce: string, other: string | null): Promise<void> {
  const path = join(dir, 'ca.crt');
  const bundle = `${inForce}${other ?? ''}`;
  if ((await readOrNull(path)) !== bundle) await writeWhole(path, bundle);
}

async function makeAuthority(dir: string, name: 'ca' | 'next'): Promise<void> {
  const at = (ending: string) => join(dir, `${name}.${ending}`);
  await openssl([
    ...['req', '-x509', ...newEcKey, '-days', '3650', '-subj', '/O=Assay/CN=Assay server authority'],
    ...['-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0'],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ...['-keyout', at('key'), '-out', at('crt.new')],
  ]);
  await chmod(at('key'), 0o600);
  // OpenSSL goes by the umask alone.
  await narrow(at('crt.new'));
  // The key is on disk before the certificate says that there is one.
  for (const path of [at('key'), at('crt.new'), dir]) await sync(path);
  await rename(at('crt.new'), at('crt'));
}

/** A certificate is for all to read, and for nobody else to write, wherever its folder is copied. */
async function narrow(path: string): Promise<void> {
  const { mode, uid } = await stat(path);
  // One that an operator put there for us to read is his.
  if (uid === process.geteuid?.() && (mode & 0o7777 & ~readableByAll) !== 0)
    await chmod(path, mode & readableByAll);
}

const readableByAll = 0o644;

/** What is in the file, or which names are in the folder, is on disk. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function firstOf(pem: string): string {
  return new X509Certificate(pem).toString();
}

/** Whole or not at all, readable by all. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  await rm(temporary, { force: true });
  const file = await open(temporary, 'wx', readableByAll);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** Null where there is no such file. */
export async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}
