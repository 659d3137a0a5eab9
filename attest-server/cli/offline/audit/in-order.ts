import type { AuditEntry } from '../../../protocol/audit.ts';
import type { AuditLine } from '../../../protocol/audit-pages.ts';
import { parseCheckpoint } from '../../../protocol/checkpoint.ts';
import { Rejection } from '../../../protocol/rejection.ts';

/** Entries in the order of the chain, each followed by the checkpoints that sign it. */
export function* inOrder(entries: Iterable<AuditEntry>, notes: Iterable<string>): Generator<AuditLine> {
  const rest = notes[Symbol.iterator]();
  let next = rest.next();
  let due = next.done ? Number.POSITIVE_INFINITY : sizeOf(next.value);
  let last = 0;
  for (const entry of entries) {
    yield { entry };
    last = entry.seq;
    while (!next.done && due <= last) {
      yield { checkpoint: next.value };
      next = rest.next();
      due = next.done ? Number.POSITIVE_INFINITY : sizeOf(next.value);
    }
  }
  for (; !next.done; next = rest.next()) yield { checkpoint: next.value };
}

/** One that cannot be read is due at once: the check names it. */
function sizeOf(note: string): number {
  try {
    return parseCheckpoint(note).size;
  } catch (error) {
    if (error instanceof Rejection) return 0;
    throw error;
  }
}
