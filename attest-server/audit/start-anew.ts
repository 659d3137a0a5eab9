import { existsSync } from 'node:fs';
import type { AuditOrigin } from '../wire/audit-key.ts';
import { auditKeyId } from '../wire/checkpoint.ts';
import { Rejection } from '../wire/rejection.ts';
import { checkOwn } from './audit-log.ts';
import type { AuditKeys, AuditStore } from './ports.ts';

interface LostKey {
  readonly store: Pick<AuditStore, 'origins' | 'addKey' | 'latestCheckpoint' | 'hash'>;
  readonly keys: Pick<AuditKeys, 'path' | 'startAnew'>;
  /** The person who does it; recorded with the reason in the audit log. */
  readonly actor: string;
  readonly reason: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/**
 * Continues a log whose key is lost with a new key under a new origin, since no key can sign the new one. The entry
 * about it is the first that the new key signs. Signatures of the lost key can still be verified with its public part.
 * @throws Error if no key is lost, or the log is not the one that the lost key signed last
 */
export async function startAnew({ store, keys, actor, reason, at }: LostKey): Promise<AuditOrigin> {
  const { path } = keys;
  const origins = await store.origins();
  const lost = origins.at(-1);
  const lostKey = lost?.keys.at(-1);
  if (lost === undefined || lostKey === undefined)
    throw new Error('the store has no audit key yet: start the server, and it makes the first one');
  if (existsSync(path))
    throw new Error(
      `${path} exists: start the server. Move the file away only if it is damaged and there is no copy of it`,
    );
  const signed = await sizeOfLatest(store, origins);
  // The store first: a key that it does not know would keep the server from starting, and this from a second try.
  return keys.startAnew(async ({ origin, keys: [key], publicKey }) => {
    if (key === undefined) throw new Error(`${origin} has no key`);
    await store.addKey(origin, key, {
      at,
      actor,
      action: 'audit_key.start_anew',
      subject: origin,
      code: null,
      detail: {
        reason,
        keyId: auditKeyId(origin, publicKey),
        publicKey: key.publicKey,
        after: lost.origin,
        lostKeyId: auditKeyId(lost.origin, Buffer.from(lostKey.publicKey, 'base64')),
        signed,
      },
    });
  });
}

/** How many entries the lost key signed. Attack: entries changed since would pass under the new key. @throws Error if so */
async function sizeOfLatest(
  store: Pick<AuditStore, 'latestCheckpoint' | 'hash'>,
  origins: readonly AuditOrigin[],
): Promise<number> {
  const note = await store.latestCheckpoint();
  if (note === null) return 0;
  try {
    const { size, head } = checkOwn(note, origins);
    if ((await store.hash(size)) === head) return size;
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
  }
  throw new Error(
    'the audit log is not the one that the lost key signed (audit_rollback): restore a backup of the database',
  );
}
