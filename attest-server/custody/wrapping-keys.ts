import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import type { WrapContext, WrappingKeys } from '../keys/ports.ts';
import { readSuppliedSecret } from '../state/private-file.ts';
import { lengthPrefixed } from '../wire/binding.ts';
import { decryptSecret } from '../wire/secret-bytes.ts';

/** A wrapping key as its file has it. */
interface WrappingKey {
  readonly id: string;
  readonly bytes: Buffer;
}

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

export interface WrappingConfig {
  readonly file: string;
  /** Folders that are copied with the database, or are copies of it: a key there would protect nothing. */
  readonly beside: readonly string[];
}

/**
 * The wrapping keys in a file of this user alone, or of root for its group: one a line, 32 bytes in base64, the newest first.
 * That one wraps, the others unwrap what they wrapped. Null if no file is named: then there are no keys of disks.
 * @throws Error naming the file, and what to do
 */
export function openWrappingKeys(config: WrappingConfig | null): WrappingKeys | null {
  if (config === null) return null;
  const { file: path, beside } = config;
  const read = () => {
    checkApart(path, beside);
    const keys = keysIn(path);
    const [newest] = keys;
    if (newest === undefined)
      throw new Error(`${path} holds no wrapping key: write one with openssl rand -base64 32`);
    return { keys, newest };
  };
  let held = read();
  return {
    get current() {
      return held.newest.id;
    },
    get ids() {
      return held.keys.map(({ id }) => id);
    },
    reread(needed) {
      const found = read();
      const missing = needed.filter((id) => !found.keys.some((key) => key.id === id));
      if (missing.length > 0)
        throw new Error(
          `${path} lacks ${missing.join(', ')}, by which keys of disks are wrapped: put that wrapping key back, as a line of its own`,
        );
      held = found;
    },

    wrap(secret, context) {
      const { newest } = held;
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv('aes-256-gcm', newest.bytes, nonce).setAAD(contextBytes(context));
      const ciphertext = Buffer.concat([cipher.update(secret), cipher.final()]);
      return { keyId: newest.id, bytes: Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]) };
    },

    unwrap({ keyId, bytes }, context) {
      const key = held.keys.find(({ id }) => id === keyId);
      if (key === undefined)
        throw new Error(
          `the key of volume ${context.volume} is wrapped by ${keyId}, which is not in ${path}: put that wrapping key back, as a line of its own`,
        );
      const decipher = createDecipheriv('aes-256-gcm', key.bytes, bytes.subarray(0, nonceBytes))
        .setAAD(contextBytes(context))
        .setAuthTag(bytes.subarray(-tagBytes));
      try {
        return decryptSecret(decipher, bytes.subarray(nonceBytes, -tagBytes));
      } catch (cause) {
        throw new Error(`the stored key of volume ${context.volume} was changed, or is another node's`, {
          cause,
        });
      }
    },
  };
}

const label = Buffer.from('assay/wrapped/1');

function contextBytes({ purpose, node, ekDigest, volume }: WrapContext): Buffer {
  return lengthPrefixed([
    label,
    Buffer.from(purpose),
    Buffer.from(node),
    Buffer.from(ekDigest, 'hex'),
    Buffer.from(volume),
  ]);
}

function keysIn(path: string): readonly WrappingKey[] {
  const lines = readSuppliedSecret(path)
    .split('\n')
    .map((line) => line.trim());
  return lines.flatMap((line, index) => {
    if (line === '' || line.startsWith('#')) return [];
    const bytes = Buffer.from(line, 'base64');
    if (bytes.length !== keyBytes || bytes.toString('base64') !== line)
      throw new Error(
        `${path}, line ${index + 1}: not ${keyBytes} bytes of base64 (openssl rand -base64 32)`,
      );
    return [{ id: idOf(bytes), bytes }];
  });
}

/** Tells which key it is, and nothing of it. */
function idOf(bytes: Buffer): string {
  return hash('sha256', lengthPrefixed([Buffer.from('assay/wrapping-key/1'), bytes]), 'hex').slice(0, 16);
}

/** @throws Error if whoever copies the database would copy the key with it */
function checkApart(path: string, beside: readonly string[]): void {
  if (!existsSync(path))
    throw new Error(
      `there is no wrapping key ${path}: (umask 377; openssl rand -base64 32 > ${path}), keep a copy of it offline, and start again`,
    );
  const folder = dirname(realpathSync(path));
  for (const other of beside) {
    if (!existsSync(other)) continue;
    const [way] = relative(realpathSync(other), folder).split('/');
    if (way !== '..')
      throw new Error(
        `the wrapping key ${path} lies in ${other}, beside what it protects: name a file in another folder`,
      );
  }
}
