import { type AuditLine, auditPage, checkpointPage } from '../api/audit-pages.ts';
import type { AuditEntry } from '../formats/audit.ts';
import { claimedSize } from '../wire/checkpoint.ts';
import type { Client } from './client.ts';

/**
 * The server's audit log in the order of an export, up to the checkpoint that it signs for this call: all that is read is
 * signed. No more than a page of it is held.
 * @param after how many entries are known: what follows begins with the last of them
 */
export async function* readLiveAuditLog(client: Client, after = 0): AsyncGenerator<AuditLine> {
  const entries = entriesAfter(client, Math.max(0, after - 1));
  let isFirst = true;
  let seq = 0;
  let isAnySigned = false;
  for await (const page of checkpointsAbove(client, after)) {
    if (isFirst) for (const { origin, keys } of [...page.earlier, page]) yield { origin, keys };
    isFirst = false;
    for (const checkpoint of page.items) {
      isAnySigned = true;
      const size = claimedSize(checkpoint);
      while (seq < size) {
        const next = await entries.next();
        if (next.done) break;
        seq = next.value.seq;
        yield { entry: next.value };
      }
      yield { checkpoint };
    }
  }
  // Nothing new is signed: what there is shows whether the known part is still the same.
  if (isAnySigned) return;
  for await (const entry of entries) {
    yield { entry };
    if (after > 0) return;
  }
}

async function* checkpointsAbove(client: Client, above: number) {
  for (let after: string | null = '0'; after !== null; ) {
    const path = `/v1/audit/checkpoints?limit=1000&after=${encodeURIComponent(after)}${above === 0 ? '' : `&above=${above}`}`;
    const page: Awaited<ReturnType<typeof ask>> = await ask(path);
    yield page;
    after = page.next;
  }

  function ask(path: string) {
    return client.get(path, checkpointPage);
  }
}

async function* entriesAfter(client: Client, first: number): AsyncGenerator<AuditEntry> {
  for (let after: string | null = String(first); after !== null; ) {
    const page: Awaited<ReturnType<typeof ask>> = await ask(after);
    yield* page.items;
    after = page.next;
  }

  function ask(from: string) {
    return client.get(`/v1/audit?limit=1000&after=${encodeURIComponent(from)}`, auditPage);
  }
}
