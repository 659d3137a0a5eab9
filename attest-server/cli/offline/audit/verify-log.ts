import { verifyChain } from '../../../audit/chain.ts';
import { genesis } from '../../../protocol/audit.ts';
import { type AuditOrigin, followRotations } from '../../../protocol/audit-key.ts';
import type { AuditLine } from '../../../protocol/audit-pages.ts';
import {
  auditKeyId,
  type Checkpoint,
  parseCheckpoint,
  verifyCheckpoint,
} from '../../../protocol/checkpoint.ts';
import { Rejection } from '../../../protocol/rejection.ts';

/** A checkpoint that came another way than the audit log: what an agent, a log or a colleague kept. */
export interface Witness {
  readonly checkpoint: string;
  /** The key that is known to be the server's, base64; null where only the checkpoint was kept. */
  readonly publicKey: string | null;
}

export interface AuditLogResult {
  readonly ok: boolean;
  readonly origin: string | null;
  /** Origins before it, whose key was lost, and how many entries their checkpoints cover. */
  readonly earlier: readonly { readonly origin: string; readonly signed: number }[];
  /** Entries that follow each other without fault. */
  readonly size: number;
  readonly head: string;
  /** Entries that a checkpoint covers. */
  readonly signed: number;
  /** Whether a checkpoint from outside fits. Without, a rewrite by who holds the server's key would not show. */
  readonly witnessed: boolean;
  /** The first entry that is wrong or missing; `seq` is null where the fault is in a key or a checkpoint itself. */
  readonly fault: { readonly seq: number | null; readonly text: string } | null;
}

/** A line that cannot be read: no fault of ours, and so a fault of the audit log. */
export class UnreadableAuditLog extends Error {
  override readonly name = 'UnreadableAuditLog';
}

/** Checks the chain, the keys, each checkpoint against the entry that it signs, and all of it against a witness. */
export async function checkAuditLog(
  lines: AsyncIterable<AuditLine>,
  witness: Witness | null,
): Promise<AuditLogResult> {
  const heads: string[] = [];
  const notes: string[] = [];
  const owners: AuditOrigin[] = [];
  let fault: AuditLogResult['fault'] = null;
  try {
    for await (const line of lines) {
      if ('checkpoint' in line) notes.push(line.checkpoint);
      else if ('keys' in line) owners.push(line);
      else if (fault === null) {
        const from = { size: heads.length, head: heads.at(-1) ?? genesis };
        const checked = verifyChain([line.entry], from);
        if (checked.ok) heads.push(checked.head);
        else fault = { seq: checked.seq, text: checked.text };
      }
    }
  } catch (error) {
    if (!(error instanceof UnreadableAuditLog)) throw error;
    fault ??= { seq: heads.length + 1, text: error.message };
  }
  const owner = owners.at(-1) ?? null;
  const result = {
    origin: owner?.origin ?? null,
    earlier: [],
    size: heads.length,
    head: heads.at(-1) ?? genesis,
    signed: 0,
    witnessed: false,
  };
  if (fault !== null) return { ...result, ok: false, fault };
  if (owner === null || notes.length === 0) {
    const text = 'no checkpoint signs the audit log: nothing shows that it is the one that was written';
    return { ...result, ok: false, fault: { seq: heads.length === 0 ? null : 1, text } };
  }
  try {
    for (const { origin, keys } of owners) followRotations(origin, keys, null);
    const checkpoints = notes.map((note) => verified(note, owners));
    const signed = coverage(heads, checkpoints);
    const earlier = owners.slice(0, -1).map(({ origin }) => {
      const its = checkpoints.filter((each) => each.origin === origin);
      return { origin, signed: Math.max(0, ...its.map(({ size }) => size)) };
    });
    const good = { ...result, ok: true, signed, earlier, fault: null };
    if (witness === null) return good;
    const seen = verified(witness.checkpoint, owners);
    const by = owners.find(({ origin }) => origin === seen.origin) ?? owner;
    if (witness.publicKey !== null) followRotations(by.origin, by.keys, witness.publicKey);
    coverage(heads, [seen]);
    return { ...good, witnessed: true };
  } catch (error) {
    if (error instanceof WrongEntry)
      return { ...result, ok: false, fault: { seq: error.seq, text: error.message } };
    if (error instanceof Rejection)
      return { ...result, ok: false, fault: { seq: null, text: error.message } };
    throw error;
  }
}

class WrongEntry extends Error {
  override readonly name = 'WrongEntry';
  readonly seq: number;
  constructor(seq: number, text: string) {
    super(text);
    this.seq = seq;
  }
}

/** @throws Rejection where none of these keys signed it */
function verified(note: string, owners: readonly AuditOrigin[]): Checkpoint {
  const { keyId, origin } = parseCheckpoint(note);
  const keys = owners.find((each) => each.origin === origin)?.keys ?? [];
  const key = keys.find((each) => auditKeyId(origin, Buffer.from(each.publicKey, 'base64')) === keyId);
  if (key === undefined)
    throw new Rejection(
      'sig_invalid',
      `a checkpoint is signed by the key ${keyId} of ${origin}, which is no key of this audit log`,
    );
  return verifyCheckpoint(note, Buffer.from(key.publicKey, 'base64'));
}

/** How many entries are signed. @throws WrongEntry */
function coverage(heads: readonly string[], checkpoints: readonly Checkpoint[]): number {
  let good = 0;
  for (const { size, head } of checkpoints.toSorted((a, b) => a.size - b.size)) {
    if (size > heads.length)
      throw new WrongEntry(
        heads.length + 1,
        `audit entry ${heads.length + 1} is missing: ${size} were signed`,
      );
    if (heads[size - 1] !== head)
      throw new WrongEntry(
        good + 1,
        good + 1 === size
          ? `audit entry ${size} is not the one that was signed`
          : `of the audit entries ${good + 1} to ${size} at least one is not the one that was signed`,
      );
    good = size;
  }
  return good;
}
