import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { existsSync } from 'node:fs';
import type { AuditKeys, AuditSigner } from '../audit/ports.ts';
import { auditKeyFile, rawOf } from '../formats/audit-key-copy.ts';
import { readPrivate, writePrivate } from '../state/private-file.ts';
import { type AuditKey, followRotations, signRotation } from '../wire/audit-key.ts';
import { jsonOrNothing } from '../wire/parse-json.ts';
import type { KeyFolder } from './key-folder.ts';

/** The file is a secret: whoever has it can rewrite the audit log. */
interface AuditKeyPair extends AuditSigner {
  readonly privateKey: KeyObject;
}

/** The audit key in its file, which one server at a time changes. @param isShared whether others may change it, too */
export function auditKeys(
  path: string,
  { alone, isShared }: Pick<KeyFolder, 'alone' | 'isShared'>,
): AuditKeys {
  /** As it was read; text: null for one that was made here. */
  let latest: { readonly text: string | null; readonly held: AuditKeyPair } | null = null;
  const now = (): AuditKeyPair | null => {
    if (latest !== null && !isShared) return latest.held;
    const text = textOf(path);
    if (text === null) return null;
    if (latest?.text !== text) latest = { text, held: heldIn(text, path) };
    return latest.held;
  };
  const take = (held: AuditKeyPair): AuditSigner => {
    latest = { text: null, held };
    return signerOf(held);
  };
  const read = () => {
    const held = now();
    return held && signerOf(held);
  };
  return {
    path,
    read,
    ensure: async () => read() ?? alone(() => read() ?? take(createAuditKey(path))),
    rotate: () =>
      alone(() => {
        const held = now();
        if (held === null) throw new Error(`${path} is missing: put that key back`);
        return take(rotateAuditKey(path, held));
      }),
    startAnew: (announce) =>
      alone(async () => {
        const held = newKey();
        await announce(signerOf(held));
        save(path, held, 'new');
        return take(held);
      }),
  };
}

/** Makes an installation and its first key. @throws Error if the file exists */
export function createAuditKey(path: string): AuditKeyPair {
  const held = newKey();
  save(path, held, 'new');
  return held;
}

/** Makes the next key, signed by the one before it; that one is gone when this returns. */
export function rotateAuditKey(
  path: string,
  { origin, keys, privateKey: before }: AuditKeyPair,
): AuditKeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const next = signRotation(origin, rawOf(publicKey).toString('base64'), before);
  const rotated = heldKey(origin, [...keys, next], privateKey);
  save(path, rotated, 'replace');
  return rotated;
}

/** As `AuditKeys` reads it. */
export function readAuditKey(path: string): AuditSigner | null {
  const text = textOf(path);
  return text === null ? null : signerOf(heldIn(text, path));
}

/** Null if there is none. @throws Error if it is open to others, or no file */
function textOf(path: string): string | null {
  if (!existsSync(path)) return null;
  return usable(path, () => readPrivate(path));
}

/** @throws Error if it is damaged, or its private key is not that of the last public one */
function heldIn(text: string, path: string): AuditKeyPair {
  return usable(path, () => {
    const value = jsonOrNothing(text);
    // The error of JSON.parse repeats a piece of the file, in which the private key stands.
    if (value === undefined) throw new Error('it is not JSON');
    const { installation, keys, privateKey } = auditKeyFile.parse(value);
    const held = heldKey(`${originHead}${installation}`, keys, createPrivateKey(privateKey));
    if (held.keys.at(-1)?.publicKey !== held.publicKey.toString('base64'))
      throw new Error('its private key is not that of its last public key');
    followRotations(held.origin, keys, null);
    return held;
  });
}

function usable<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`the audit key ${path} cannot be used: ${why}. Restore it from its backup`, { cause });
  }
}

/** An origin of its own and its first key, in memory. */
function newKey(): AuditKeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const first = { publicKey: rawOf(publicKey).toString('base64'), signature: null };
  return heldKey(`${originHead}${randomBytes(16).toString('hex')}`, [first], privateKey);
}

const originHead = 'assay/';

function heldKey(origin: string, keys: readonly AuditKey[], privateKey: KeyObject): AuditKeyPair {
  const publicKey = rawOf(createPublicKey(privateKey));
  return { origin, keys, publicKey, privateKey, sign: (message) => sign(null, message, privateKey) };
}

/** Without the private key, which stays here. */
function signerOf({ privateKey: _, ...signer }: AuditKeyPair): AuditSigner {
  return signer;
}

function save(path: string, { origin, keys, privateKey }: AuditKeyPair, how: 'new' | 'replace'): void {
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const installation = origin.slice(originHead.length);
  writePrivate(path, `${JSON.stringify({ version: 1, installation, keys, privateKey: pem })}\n`, how);
}
