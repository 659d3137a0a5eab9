import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import pLimit from 'p-limit';
import type { AuditAction } from '../formats/audit.ts';
import { readPrivate, writePrivate } from '../state/private-file.ts';
import { type AuditKey, type AuditOrigin, auditKeysKept } from '../wire/audit-key.ts';
import {
  auditKeyId,
  type Checkpoint,
  formatCheckpoint,
  parseCheckpoint,
  verifyCheckpoint,
} from '../wire/checkpoint.ts';
import { Rejection } from '../wire/rejection.ts';
import type { AuditKeys, AuditSigner, AuditStore } from './ports.ts';

export interface AuditLogPorts {
  readonly store: Omit<
    AuditStore,
    'entries' | 'head' | 'checkpoints' | 'position' | 'setPosition' | 'onAppend'
  >;
  readonly stateDir: string;
  readonly keys: Omit<AuditKeys, 'startAnew'>;
  /** Milliseconds since the epoch. */
  now(): number;
  signed(size: number): void;
  /** The log was cut or replaced. Called before the entry about it is written. */
  rolledBack(text: string): void;
}

/** The signed checkpoint that travels with a verdict, and the latest keys of its origin. */
export interface ShownCheckpoint {
  readonly checkpoint: string;
  readonly auditKeys: AuditKey[];
}

/** Files beside the database, so that a restored one is compared with checkpoints that are newer than its backup. */
export const auditFiles = {
  mark: 'audit-checkpoint',
  /** The first checkpoint that the log contradicted. It stays until a person resolves it. */
  lost: 'audit-checkpoint.rolled-back',
  /** The same after that: checkpoints of the lost log that agents still keep are explained by it. */
  resolved: 'audit-checkpoint.resolved',
} as const;

/** Signs the audit log of one installation, and detects a log that is not the one that was signed. */
export class AuditLog {
  readonly #ports: AuditLogPorts;
  /** Origins whose key was lost, oldest first. */
  readonly #earlier: readonly AuditOrigin[];
  #signer: AuditSigner;
  /** How many of the signer's keys are in the store. */
  #stored = 0;
  #shown: ShownCheckpoint | null = null;
  /** A checkpoint that is in the store, but not yet in the file beside it, for lack of room. */
  #unmarked: string | null = null;
  readonly #inTurn = pLimit(1);

  private constructor(ports: AuditLogPorts, signer: AuditSigner, earlier: readonly AuditOrigin[]) {
    this.#ports = ports;
    this.#earlier = earlier;
    this.#signer = signer;
  }

  /**
   * Makes the key if the store has none yet, and compares the store with earlier checkpoints.
   * @throws Error if the store belongs to another key than the one in the folder
   */
  static async open(ports: AuditLogPorts): Promise<AuditLog> {
    const { keys, store } = ports;
    const origins = await store.origins();
    const known = origins.at(-1) ?? null;
    const signer = known === null ? await keys.ensure() : checkBelongs(keys.read(), known, keys.path);
    const log = new AuditLog(ports, signer, origins.slice(0, -1));
    // Also after a rotation that was cut short, and where an older store has a newer key beside it.
    log.#stored = known?.keys.length ?? 0;
    await log.#addKeys('server');
    await log.#checkMarks();
    await log.sign();
    return log;
  }

  /** Null only before the first entry. */
  get shown(): ShownCheckpoint | null {
    return this.#shown;
  }

  get origin(): string {
    return this.#signer.origin;
  }

  /** Id of the key that signs now: 8 hex digits. */
  get keyId(): string {
    return auditKeyId(this.#signer.origin, this.#signer.publicKey);
  }

  get keys(): readonly AuditKey[] {
    return this.#signer.keys;
  }

  /** Origins of this log whose key was lost, oldest first. */
  get earlier(): readonly AuditOrigin[] {
    return this.#earlier;
  }

  /** A sentence about a rollback that no person has resolved yet, else null. */
  get rollback(): string | null {
    return existsSync(this.#path('lost'))
      ? 'the audit log was rolled back or replaced (audit_rollback)'
      : null;
  }

  /**
   * Records why the log was cut or replaced, as a person says, with the proof of it.
   * @returns false if no rollback was open
   */
  resolve(actor: string, reason: string): Promise<boolean> {
    return this.#inTurn(async () => {
      const lost = this.#path('lost');
      const proof = existsSync(lost) ? readPrivate(lost) : null;
      await this.#ports.store.append({
        at: this.#ports.now(),
        actor,
        action: 'audit.resolve',
        subject: this.#signer.origin,
        code: 'audit_rollback',
        detail: { reason, proof },
      });
      if (proof !== null) renameSync(lost, this.#path('resolved'));
      await this.#sign();
      return proof !== null;
    });
  }

  /** Signs the head if the log has grown; the checkpoint is on disk when this resolves. */
  sign(): Promise<void> {
    return this.#inTurn(() => this.#sign());
  }

  /** Replaces the key with a new one, which the old one signs. */
  rotate(actor: string): Promise<{ readonly keyId: string }> {
    return this.#inTurn(async () => {
      // Another server that has the same key may have rotated it before: that is not this person's doing.
      await this.#follow(this.#ports.keys.read(), 'server');
      await this.#follow(await this.#ports.keys.rotate(), actor);
      await this.#sign();
      return { keyId: this.keyId };
    });
  }

  /**
   * Compares the log with a checkpoint from outside.
   * @returns a sentence if we signed it and the log contradicts it; null also if we did not sign it
   */
  async contradicts(note: string): Promise<string | null> {
    const checkpoint = this.#own(note);
    if (checkpoint === null) return null;
    const text = await this.#compare(checkpoint);
    if (text === null || checkpoint.size <= this.#resolvedSize()) return null;
    this.#keepProof(note);
    return text;
  }

  /** Whether one of our keys signed the checkpoint, lost ones included. */
  isOwn(note: string): boolean {
    return this.#own(note) !== null;
  }

  /** Size of the lost log that a person has explained: agents may still bring its checkpoints. */
  #resolvedSize(): number {
    const path = this.#path('resolved');
    return existsSync(path) ? (this.#own(readPrivate(path))?.size ?? 0) : 0;
  }

  /** Keeps the first proof only: a second rollback must not overwrite it. */
  #keepProof(note: string): void {
    const path = this.#path('lost');
    if (!existsSync(path)) writePrivate(path, note, 'replace');
  }

  #path(file: keyof typeof auditFiles): string {
    return join(this.#ports.stateDir, auditFiles[file]);
  }

  async #sign(): Promise<void> {
    await this.#follow(this.#ports.keys.read(), 'server');
    const { origin, keys } = this.#signer;
    // Somebody may change the database under a server that runs.
    if (this.#shown !== null) await this.#check(this.#shown.checkpoint);
    const note =
      (await this.#ports.store.addCheckpoint((head) =>
        formatCheckpoint({ origin, ...head }, this.#signer),
      )) ??
      this.#unmarked ??
      (this.#shown === null ? await this.#ports.store.latestCheckpoint() : null);
    if (note === null) return;
    this.#unmarked = note;
    // Before anybody sees it: a checkpoint that agents have must not be unknown to the next start.
    writePrivate(this.#path('mark'), note, 'replace');
    this.#unmarked = null;
    this.#shown = { checkpoint: note, auditKeys: keys.slice(-auditKeysKept) };
    this.#ports.signed(parseCheckpoint(note).size);
  }

  /** Switches to the key that was found. @throws Error if its keys do not begin with those of the present one */
  async #follow(found: AuditSigner | null, actor: string): Promise<void> {
    this.#signer = checkBelongs(found, this.#signer, this.#ports.keys.path);
    await this.#addKeys(actor);
  }

  /** Stores new keys before they sign: a signature by a key that the store lacks cannot be verified. */
  async #addKeys(actor: string): Promise<void> {
    for (const key of this.#signer.keys.slice(this.#stored)) {
      await this.#addKey(key, actor, key.signature === null ? 'audit_key.create' : 'audit_key.rotate');
      this.#stored += 1;
    }
  }

  async #addKey(key: AuditKey, actor: string, action: AuditAction): Promise<void> {
    const { origin } = this.#signer;
    await this.#ports.store.addKey(origin, key, {
      at: this.#ports.now(),
      actor,
      action,
      subject: origin,
      code: null,
      detail: { keyId: idOf(origin, key), publicKey: key.publicKey, signature: key.signature },
    });
  }

  /** Compares the log with the checkpoint beside the database and with the latest one in it. */
  async #checkMarks(): Promise<void> {
    const path = this.#path('mark');
    for (const note of [
      existsSync(path) ? readPrivate(path) : null,
      await this.#ports.store.latestCheckpoint(),
    ])
      if (note !== null && (await this.#check(note))) return;
  }

  /** Compares the log with one of our checkpoints. A contradiction is reported, and its proof kept. @returns whether there is one */
  async #check(note: string): Promise<boolean> {
    const own = this.#own(note);
    const text = own === null ? 'a checkpoint is not signed by a key of ours' : await this.#compare(own);
    if (text === null) return false;
    this.#ports.rolledBack(text);
    this.#keepProof(note);
    await this.#ports.store.append({
      at: this.#ports.now(),
      actor: 'server',
      action: 'audit_rollback',
      subject: this.#signer.origin,
      code: 'audit_rollback',
      detail: { text, size: own?.size ?? null, head: own?.head ?? null },
    });
    return true;
  }

  /** The parsed checkpoint if one of our keys signed it, else null. */
  #own(note: string): Checkpoint | null {
    try {
      return checkOwn(note, [...this.#earlier, this.#signer]);
    } catch (error) {
      if (error instanceof Rejection) return null;
      throw error;
    }
  }

  async #compare({ size, head }: Checkpoint): Promise<string | null> {
    const found = await this.#ports.store.hash(size);
    if (found === head) return null;
    return found === null
      ? `entry ${size} of the audit log was signed, but the log ends before it`
      : `the audit log has changed since entry ${size} was signed`;
  }
}

/** @throws Rejection if none of these keys signed the checkpoint */
export function checkOwn(note: string, origins: readonly AuditOrigin[]): Checkpoint {
  const { keyId, origin } = parseCheckpoint(note);
  const keys = origins.find((each) => each.origin === origin)?.keys ?? [];
  const key = keys.find((each) => idOf(origin, each) === keyId);
  if (key === undefined) throw new Rejection('sig_invalid', `${origin} has no key ${keyId} here`);
  return verifyCheckpoint(note, Buffer.from(key.publicKey, 'base64'));
}

/** The store's keys must be the first ones of the file: a store restored from before a rotation has fewer. @throws Error */
export function checkBelongs(
  signer: AuditSigner | null,
  { origin, keys }: AuditOrigin,
  path: string,
): AuditSigner {
  const last = keys.at(-1);
  if (last === undefined) throw new Error(`the store names ${origin}, and no key of it`);
  const wanted = `the store is signed by the audit key ${idOf(origin, last)} of ${origin}`;
  const remedy = 'put that key back, or another store beside this one';
  if (signer === null)
    throw new Error(
      `${wanted}, and ${path} is missing: ${remedy}. If there is no copy of it, assay-server audit-key --start-anew makes a new key with a new origin`,
    );
  const fits =
    signer.origin === origin &&
    keys.every(({ publicKey }, index) => publicKey === signer.keys[index]?.publicKey);
  if (fits) return signer;
  const id = auditKeyId(signer.origin, signer.publicKey);
  throw new Error(`${wanted}, and ${path} holds the key ${id} of ${signer.origin}: ${remedy}`);
}

function idOf(origin: string, { publicKey }: AuditKey): string {
  return auditKeyId(origin, Buffer.from(publicKey, 'base64'));
}
