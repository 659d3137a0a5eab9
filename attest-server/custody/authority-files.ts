import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { checkPrivateFile } from '../state/private-file.ts';
import { readableByAll, readOrNull, sync, writeWhole } from '../state/whole-file.ts';
import type { Authorities, AuthorityKeys, RotationStage } from '../tls/ports.ts';
import { vouchForAuthority } from '../wire/authority.ts';
import { issueCertificate } from './issue-certificate.ts';
import type { RunExclusively } from './key-folder.ts';
import { newEcKey, openssl } from './openssl.ts';

/**
 * The authorities in a folder. `ca.crt` holds them all, the one in force first, `ca.key` is its key; `next.crt` and `next.key`
 * are the next one, `previous.crt` the old one.
 */
export function authorityKeys(dir: string, alone: RunExclusively): AuthorityKeys {
  const change = (from: RotationStage, work: () => Promise<void>) =>
    alone(async () => {
      // Another server may have been here since the caller looked.
      if ((await completed(dir)).stage !== from) return false;
      await work();
      return true;
    });
  return {
    caFile: join(dir, 'ca.crt'),
    async read() {
      checkKeys(dir);
      // What is not whole, or is being changed, is looked at when nobody changes it.
      return (await readWhole(dir)) ?? alone(async () => announced(dir, await completed(dir)));
    },
    look: async () => JSON.stringify(await filesIn(dir)),
    issue: (folder, order) => issueCertificate(join(dir, 'ca.key'), folder, order),
    prepareNext: () => change('settled', () => makeAuthority(dir, 'next')),
    putNextInForce: () => change('announced', () => putNextInForce(dir)),
    dropPrevious: () => change('in_force', () => dropPrevious(dir)),
  };
}

/** Who could read a key or put his own there is the server's equal. */
function checkKeys(dir: string): void {
  for (const name of ['ca.key', 'next.key']) checkPrivateFile(join(dir, name));
}

type UnsignedAuthorities = Omit<Authorities, 'signature'>;

interface Files {
  readonly ca: string | null;
  readonly next: string | null;
  readonly hasNextKey: boolean;
  readonly previous: string | null;
}

async function filesIn(dir: string): Promise<Files> {
  const at = (name: string) => join(dir, name);
  const ca = await readOrNull(at('ca.crt'));
  const next = await readOrNull(at('next.crt'));
  const hasNextKey = existsSync(at('next.key'));
  return { ca, next, hasNextKey, previous: await readOrNull(at('previous.crt')) };
}

/** As they are between two changes, without a lock; null if something is to be completed, or is under way. */
async function readWhole(dir: string): Promise<Authorities | null> {
  const files = await filesIn(dir);
  // No step of a change leads back: what is the same twice was so at one moment.
  if (!isDeepStrictEqual(files, await filesIn(dir))) return null;
  const { ca, next, hasNextKey, previous } = files;
  if (ca === null || (next !== null && !hasNextKey)) return null;
  await narrow(join(dir, 'ca.crt'));
  const other = next ?? previous;
  if (other === null) return { stage: 'settled', inForce: ca, other, signature: null };
  const inForce = firstOf(ca);
  if (ca !== `${inForce}${other}`) return null;
  if (next === null) return { stage: 'in_force', inForce, other, signature: null };
  const key = await readKey(join(dir, 'ca.key'));
  if (!new X509Certificate(inForce).checkPrivateKey(key)) return null;
  return { stage: 'announced', inForce, other, signature: vouchForAuthority(new X509Certificate(next), key) };
}

/** Makes the first authority if there is none; completes a change that was cut off. */
async function completed(dir: string): Promise<UnsignedAuthorities> {
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

/** Only one that follows needs a word: whoever does not know the one before has no use for it. */
async function announced(dir: string, found: UnsignedAuthorities): Promise<Authorities> {
  if (found.stage !== 'announced' || found.other === null) return { ...found, signature: null };
  const key = await readKey(join(dir, 'ca.key'));
  return { ...found, signature: vouchForAuthority(new X509Certificate(found.other), key) };
}

async function readKey(path: string): Promise<KeyObject> {
  return createPrivateKey(await readFile(path, 'utf8'));
}

async function putNextInForce(dir: string): Promise<void> {
  const at = (name: string) => join(dir, name);
  const next = await readFile(at('next.crt'), 'utf8');
  await checkKey(next, at('next.key'), 'it is not the key of next.crt: remove both and rotate again');
  await writeWhole(at('previous.crt'), firstOf(await readFile(at('ca.crt'), 'utf8')));
  // The change is made here: what comes after is done again by whoever finds a next certificate without its key.
  await rename(at('next.key'), at('ca.key'));
  await completeChange(dir, next);
}

async function dropPrevious(dir: string): Promise<void> {
  await writeBundle(dir, firstOf(await readFile(join(dir, 'ca.crt'), 'utf8')), null);
  await rm(join(dir, 'previous.crt'), { force: true });
}

async function completeChange(dir: string, next: string): Promise<UnsignedAuthorities> {
  const at = (name: string) => join(dir, name);
  await checkKey(next, at('ca.key'), 'next.key is missing: bring it back, or remove next.crt');
  const other = await readOrNull(at('previous.crt'));
  await writeBundle(dir, next, other);
  await rm(at('next.crt'), { force: true });
  return { stage: other === null ? 'settled' : 'in_force', inForce: next, other };
}

async function checkKey(certificate: string, path: string, fault: string): Promise<void> {
  let cause: unknown;
  try {
    const key = await readKey(path);
    if (new X509Certificate(certificate).checkPrivateKey(key)) return;
  } catch (error) {
    cause = error;
  }
  throw new Error(`${path}: ${fault}`, { cause });
}

/** Writes the bundle that agents and callers of the API get as a file. */
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

function firstOf(pem: string): string {
  return new X509Certificate(pem).toString();
}
