import type { AuditLine } from '../../../api/audit-pages.ts';
import type { AuditEntry } from '../../../formats/audit.ts';
import { claimedSize } from '../../../wire/checkpoint.ts';

/** Entries in the order of the chain, each followed by the checkpoints that sign it. */
export function* inOrder(entries: Iterable<AuditEntry>, notes: Iterable<string>): Generator<AuditLine> {
  const rest = notes[Symbol.iterator]();
  let next = rest.next();
  let due = next.done ? Number.POSITIVE_INFINITY : claimedSize(next.value);
  let last = 0;
  for (const entry of entries) {
    yield { entry };
    last = entry.seq;
    while (!next.done && due <= last) {
      yield { checkpoint: next.value };
      next = rest.next();
      due = next.done ? Number.POSITIVE_INFINITY : claimedSize(next.value);
    }
  }
  for (; !next.done; next = rest.next()) yield { checkpoint: next.value };
}
