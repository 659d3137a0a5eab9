import { type AuditLine, auditPage, checkpointPage } from '../protocol/audit-pages.ts';
import { parseCheckpoint } from '../protocol/checkpoint.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { Client } from './client.ts';

/** The server's audit log, up to the checkpoint that it signs for this call: all that is read is signed. */
export async function* readLiveAuditLog(client: Client): AsyncGenerator<AuditLine> {
  const notes: string[] = [];
  const first = await client.get('/v1/audit/checkpoints?limit=1000', checkpointPage);
  notes.push(...first.items);
  for (let { next } = first; next !== null; ) {
    const page = await client.get(
      `/v1/audit/checkpoints?limit=1000&after=${encodeURIComponent(next)}`,
      checkpointPage,
    );
    notes.push(...page.items);
    next = page.next;
  }
  const size = sizeOf(notes.at(-1));
  for (let after: string | null = '0'; after !== null; ) {
    const page: { items: { seq: number }[]; next: string | null } & Awaited<ReturnType<typeof entriesAfter>> =
      await entriesAfter(client, after);
    for (const entry of page.items) if (entry.seq <= size) yield { entry };
    after = (page.items.at(-1)?.seq ?? size) < size ? page.next : null;
  }
  for (const { origin, keys } of [...first.earlier, first]) yield { origin, keys };
  for (const checkpoint of notes) yield { checkpoint };
}

function entriesAfter(client: Client, after: string) {
  return client.get(`/v1/audit?limit=1000&after=${encodeURIComponent(after)}`, auditPage);
}

/** One that cannot be read covers everything: the check will name it. */
function sizeOf(note: string | undefined): number {
  try {
    return note === undefined ? Number.MAX_SAFE_INTEGER : parseCheckpoint(note).size;
  } catch (error) {
    if (error instanceof Rejection) return Number.MAX_SAFE_INTEGER;
    throw error;
  }
}
