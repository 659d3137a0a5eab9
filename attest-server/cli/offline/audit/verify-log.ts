import type { AuditLine } from '../../../api/audit-pages.ts';
import { verifyChain } from '../../../audit/chain.ts';
import { type AuditEntry, genesis } from '../../../formats/audit.ts';
import { type AuditOrigin, followRotations } from '../../../wire/audit-key.ts';
import { auditKeyId, type Checkpoint, parseCheckpoint, verifyCheckpoint } from '../../../wire/checkpoint.ts';
import { Rejection } from '../../../wire/rejection.ts';

/** A checkpoint that came another way than the audit log: what an agent, a log or a colleague kept. */
export interface Witness {
  readonly checkpoint: string;
  /** The key that is known to be the server's, base64; null if only the checkpoint was kept. */
  readonly publicKey: string | null;
}

export interface AuditLogResult {
  readonly ok: boolean;
  readonly origin: string | null;
  /** Origins before it, whose key was lost, and how many entries their checkpoints cover. */
  readonly earlier: readonly { readonly origin: string; readonly signed: number }[];
  /** Entries that were verified before, and were not looked at again. */
  readonly resumedAfter: number;
  /** Entries that follow each other without fault. */
  readonly size: number;
  readonly head: string;
  /** Entries that a checkpoint covers. */
  readonly signed: number;
  /** Whether a checkpoint from outside fits. Without, a rewrite by who holds the server's key would not show. */
  readonly witnessed: boolean;
  /** The first entry that is wrong or missing; `seq` is null if the fault is in a key or a checkpoint, or in the file. */
  readonly fault: { readonly seq: number | null; readonly text: string } | null;
}

/** Up to where an audit log is good, and what is to be known of that part to go on from there. */
export interface VerifiedPart {
  /** The note that signs it. */
  readonly checkpoint: string;
  readonly earlier: AuditLogResult['earlier'];
  /** The entry about a rollback that nobody has resolved in it. */
  readonly rollback: number | null;
}

/** A line that cannot be read: no fault of ours, and so a fault of the audit log. */
export class UnreadableAuditLog extends Error {
  override readonly name = 'UnreadableAuditLog';
}

/** The file is damaged, be the audit log in it whole or not. */
export class DamagedDatabase extends UnreadableAuditLog {}

/**
 * Checks the chain, the keys, each checkpoint against the entry that it signs, and all of it against a witness: in one
 * pass, keeping nothing but where it is. Lines come in the order of an export.
 */
export class AuditLogCheck {
  readonly #witness: Witness | null;
  readonly #from: (Checkpoint & { readonly rollback: number | null }) | null;
  readonly #owners: AuditOrigin[] = [];
  readonly #keys = new Map<string, Buffer>();
  readonly #signedBy = new Map<string, number>();
  #signatures = 0;
  /** The latest checkpoint, while its signature was not looked at. */
  #waiting: {
    readonly note: string;
    readonly origin: string;
    readonly size: number;
    readonly rollback: number | null;
  } | null = null;
  #seen: Checkpoint | null = null;
  #size: number;
  #head: string;
  /** The first entry of a part that follows another one must be the last of that. */
  #isConnected: boolean;
  #signed = 0;
  #verified: VerifiedPart | null = null;
  #rollback: number | null = null;
  #fault: AuditLogResult['fault'] = null;

  /** @param after what was verified before, under this witness */
  constructor(witness: Witness | null, after: VerifiedPart | null = null) {
    this.#witness = witness;
    this.#from = after === null ? null : { ...parseCheckpoint(after.checkpoint), rollback: after.rollback };
    this.#size = this.#from?.size ?? 0;
    this.#head = this.#from?.head ?? genesis;
    this.#isConnected = this.#from === null;
    this.#signed = this.#size;
    this.#rollback = after?.rollback ?? null;
    for (const { origin, signed } of after?.earlier ?? []) this.#signedBy.set(origin, signed);
    if (this.#from !== null) this.#signedBy.set(this.#from.origin, this.#from.size);
  }

  /** Entries that follow each other without fault so far. */
  get size(): number {
    return this.#size;
  }

  /** The latest part that a checkpoint signs; null if nothing was new. */
  get verified(): VerifiedPart | null {
    return this.#verified;
  }

  /** False if a fault was found: what follows does not matter any more. */
  take(line: AuditLine): boolean {
    this.#guard(() => {
      if ('entry' in line) this.#onEntry(line.entry);
      else if ('keys' in line) this.#onOwner(line);
      else this.#onCheckpoint(line.checkpoint);
    });
    return this.#fault === null;
  }

  /** The next line cannot be read. */
  unreadable(error: UnreadableAuditLog): void {
    this.#fault ??= { seq: error instanceof DamagedDatabase ? null : this.#size + 1, text: error.message };
  }

  end(): AuditLogResult {
    const owner = this.#owners.at(-1) ?? null;
    if (this.#fault === null) this.#guard(() => this.#checkWaiting());
    this.#fault ??= this.#faultAtEnd();
    const ok = this.#fault === null;
    return {
      ok,
      origin: owner?.origin ?? null,
      earlier: ok ? this.#earlier(owner?.origin) : [],
      resumedAfter: this.#from?.size ?? 0,
      size: this.#size,
      head: this.#head,
      signed: ok ? this.#signed : 0,
      witnessed: ok && this.#seen !== null,
      fault: this.#fault,
    };
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (error instanceof WrongEntry) this.#fault = { seq: error.seq, text: error.message };
      else if (error instanceof Rejection) this.#fault = { seq: null, text: error.message };
      else throw error;
    }
  }

  #onEntry(entry: AuditEntry): void {
    if (!this.#isConnected) {
      this.#isConnected = true;
      if (entry.seq === this.#size && entry.hash === this.#head) return;
      throw new WrongEntry(this.#size, `audit entry ${this.#size} has changed since it was last verified`);
    }
    const checked = verifyChain([entry], { size: this.#size, head: this.#head });
    if (!checked.ok) throw new WrongEntry(checked.seq, checked.text);
    this.#size = checked.size;
    this.#head = checked.head;
    if (entry.action === 'audit_rollback') this.#rollback ??= entry.seq;
    else if (entry.action === 'audit.resolve') this.#rollback = null;
    if (this.#seen?.size === this.#size && this.#seen.head !== this.#head)
      throw new WrongEntry(
        1,
        `at least one of the audit entries 1 to ${this.#size} has changed since the witness saw them`,
      );
  }

  #onOwner(owner: AuditOrigin): void {
    const { origin, keys } = owner;
    followRotations(origin, keys, null);
    // An export that was resumed says its keys again, and a rotation since then.
    const known = this.#owners.findIndex((each) => each.origin === origin);
    if (known < 0) this.#owners.push(owner);
    else this.#owners[known] = owner;
    for (const { publicKey } of keys) {
      const raw = Buffer.from(publicKey, 'base64');
      this.#keys.set(`${origin} ${auditKeyId(origin, raw)}`, raw);
    }
    if (this.#witness === null || parseCheckpoint(this.#witness.checkpoint).origin !== origin) return;
    this.#seen = this.#checkSigned(this.#witness.checkpoint);
    if (this.#witness.publicKey !== null) followRotations(origin, keys, this.#witness.publicKey);
    if (this.#seen.size < this.#size)
      throw new Rejection(
        'malformed',
        'the witness covers only entries that were already verified: verify without --resume',
      );
  }

  #onCheckpoint(note: string): void {
    if (this.#owners.length === 0) throw new WrongEntry(1, unsigned);
    const checkpoint = parseCheckpoint(note);
    const { origin, size, head } = checkpoint;
    if (this.#waiting !== null && this.#waiting.origin !== origin) this.#checkWaiting();
    if (!this.#keys.has(`${origin} ${checkpoint.keyId}`) || size !== this.#size || head !== this.#head)
      this.#checkCovered(this.#checkSigned(note));
    this.#signedBy.set(origin, size);
    this.#waiting = { note, origin, size, rollback: this.#rollback };
    if (this.#signatures < allSignatures || size >= this.#signed + entriesOfSignature) this.#checkWaiting();
  }

  /** A later checkpoint vouches for all before it: of very many not each signature is looked at, but each last one is. */
  #checkWaiting(): void {
    if (this.#waiting === null) return;
    const { note, origin, size, rollback } = this.#waiting;
    this.#waiting = null;
    this.#checkSigned(note);
    this.#signatures += 1;
    this.#signed = size;
    this.#verified = { checkpoint: note, earlier: this.#earlier(origin), rollback };
  }

  /** @throws Rejection if none of the keys signed it */
  #checkSigned(note: string): Checkpoint {
    const { keyId, origin } = parseCheckpoint(note);
    const key = this.#keys.get(`${origin} ${keyId}`);
    if (key !== undefined) return verifyCheckpoint(note, key);
    const text = `the key ${keyId} of ${origin} signed a checkpoint, and it is not a key of this audit log`;
    throw new Rejection('sig_invalid', text);
  }

  /** @throws WrongEntry, Rejection */
  #checkCovered({ size, head }: Checkpoint): void {
    if (size > this.#size) throw missing(this.#size + 1, size);
    if (size < this.#size)
      throw new Rejection('malformed', `a checkpoint of ${size} entries comes after entry ${this.#size}`);
    if (head === this.#head) return;
    const next = this.#signed + 1;
    throw new WrongEntry(
      next,
      next === size
        ? `audit entry ${size} has changed since it was signed`
        : `at least one of the audit entries ${next} to ${size} has changed since they were signed`,
    );
  }

  #faultAtEnd(): AuditLogResult['fault'] {
    if (!this.#isConnected) return { seq: this.#size, text: missing(this.#size, this.#size).message };
    if (this.#owners.length === 0 || this.#signed === 0)
      return { seq: this.#size === 0 ? null : 1, text: unsigned };
    if (this.#witness !== null) {
      if (this.#seen === null)
        return {
          seq: null,
          text: 'the witness belongs to another audit log: its origin is not one of this log',
        };
      if (this.#seen.size > this.#size)
        return { seq: this.#size + 1, text: missing(this.#size + 1, this.#seen.size).message };
    }
    if (this.#rollback === null) return null;
    const text = `audit entry ${this.#rollback} reports that the audit log was rolled back or replaced (audit_rollback), and nobody has resolved it: assay audit resolve`;
    return { seq: this.#rollback, text };
  }

  #earlier(latest: string | undefined): AuditLogResult['earlier'] {
    return this.#owners.flatMap(({ origin }) =>
      origin === latest ? [] : [{ origin, signed: this.#signedBy.get(origin) ?? 0 }],
    );
  }
}

/** The first signatures are all checked, and after them one in so many entries. */
const allSignatures = 4_096;
const entriesOfSignature = 4_096;

const unsigned = 'no checkpoint signs the audit log: nothing proves that it is unchanged';

class WrongEntry extends Error {
  override readonly name = 'WrongEntry';
  readonly seq: number;
  constructor(seq: number, text: string) {
    super(text);
    this.seq = seq;
  }
}

function missing(seq: number, signed: number): WrongEntry {
  return new WrongEntry(seq, `audit entry ${seq} is missing: ${signed} entries were signed`);
}
