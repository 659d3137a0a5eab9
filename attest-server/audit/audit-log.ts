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
  /** The log is shorter than it was, or another one. Called before the entry is written. */
  rolledBack(text: string): void;
}

/** What travels with a verdict. */
export interface ShownCheckpoint {
  readonly checkpoint: string;
  readonly auditKeys: AuditKey[];
}

/** Beside the database, so that a restored one is compared with what was signed after its copy was made. */
export const auditFiles = {
  mark: 'audit-checkpoint',
  /** The first mark that the log did not match. It stays until a person has resolved it. */
  lost: 'audit-checkpoint.rolled-back',
  /** And from then on: what agents kept of the log that was lost is known. */
  resolved: 'audit-checkpoint.resolved',
} as const;

/** Signs the audit log of one installation, and notices when the log is not the one that was signed. */
export class AuditLog {
  readonly #ports: AuditLogPorts;
  /** Those whose key was lost. */
  readonly #earlier: readonly AuditOrigin[];
  #signer: AuditSigner;
  /** How many of its keys are in the store. */
  #stored = 0;
  #shown: ShownCheckpoint | null = null;
  /** Signed, in the store, and not yet in the file beside it: there was no room. */
  #unmarked: string | null = null;
  readonly #inTurn = pLimit(1);

  private constructor(ports: AuditLogPorts, signer: AuditSigner, earlier: readonly AuditOrigin[]) {
    this.#ports = ports;
    this.#earlier = earlier;
    this.#signer = signer;
  }

  /**
   * Makes the key where the store has none yet, and compares the store with what was signed before.
   * @throws Error where the store belongs to another key than the one in the folder
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

  /** Of the key that signs now: 8 hex digits. */
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

  /** What is to be reported of a rollback that nobody has looked into yet. */
  get rollback(): string | null {
    return existsSync(this.#path('lost'))
      ? 'the audit log was rolled back or replaced (audit_rollback). When you know why, type assay audit resolve --reason WHY'
      : null;
  }

  /**
   * A person knows why the log is another one: the reason stands in it from now on, with the proof.
   * @returns false where nothing was reported since the last time
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

  /** Signs the head where something changed; the checkpoint is on disk when this resolves. */
  sign(): Promise<void> {
    return this.#inTurn(() => this.#sign());
  }

  /** Puts a new key in the place of the old one, which vouches for it. */
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
   * Compares the log with a checkpoint that comes from outside.
   * @returns a sentence where we signed it and the log is another one; null also for what we did not sign
   */
  async contradicts(note: string): Promise<string | null> {
    const checkpoint = this.#own(note);
    if (checkpoint === null) return null;
    const text = await this.#compare(checkpoint);
    if (text === null || checkpoint.size <= this.#resolvedSize()) return null;
    this.#keepProof(note);
    return text;
  }

  /** Whether one of our keys signed it, also one that was lost. */
  isOwn(note: string): boolean {
    return this.#own(note) !== null;
  }

  /** Agents keep what they saw of a log that was lost: up to here a person has said why. */
  #resolvedSize(): number {
    const path = this.#path('resolved');
    return existsSync(path) ? (this.#own(readPrivate(path))?.size ?? 0) : 0;
  }

  /** The first one: whoever rolls back again must not take it away. */
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

  /** Takes the key that is there by now. @throws Error where it does not follow on the one before */
  async #follow(found: AuditSigner | null, actor: string): Promise<void> {
    this.#signer = checkBelongs(found, this.#signer, this.#ports.keys.path);
    await this.#addKeys(actor);
  }

  /** Before one of them signs: nobody could verify what a key signed that the store does not know. */
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

  /** The mark beside the database and the latest checkpoint in it must both fit the log. */
  async #checkMarks(): Promise<void> {
    const path = this.#path('mark');
    for (const note of [
      existsSync(path) ? readPrivate(path) : null,
      await this.#ports.store.latestCheckpoint(),
    ])
      if (note !== null && (await this.#check(note))) return;
  }

  /** Compares the log with what we signed; a log that is another one is reported, and the proof of it is kept. */
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

  /** The checkpoint where one of our keys signed it, else null. */
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

/** @throws Rejection where none of these keys signed the checkpoint */
export function checkOwn(note: string, origins: readonly AuditOrigin[]): Checkpoint {
  const { keyId, origin } = parseCheckpoint(note);
  const keys = origins.find((each) => each.origin === origin)?.keys ?? [];
  const key = keys.find((each) => idOf(origin, each) === keyId);
  if (key === undefined) throw new Rejection('sig_invalid', `${origin} has no key ${keyId} here`);
  return verifyCheckpoint(note, Buffer.from(key.publicKey, 'base64'));
}

/** The store's keys must be the first ones of the file: a store restored from before a rotation has fewer. */
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
