import type { Verdict } from '../wire/verdict.ts';
import type { AuditEvent } from './audit.ts';

/** Disk space of rows that are never erased, in bytes: a little more than they are measured to take. */

/** A page of the database, and what of it holds a row that is longer than one. */
const page = { bytes: 4096, ofLongRow: 4092 };
/** The bytes of a row in its own page if it goes on in other pages. */
const mostInOwnPage = 900;

/** The size of an entry of the audit log: two hashes, three numbers, and a part of the page that stays empty. */
export function auditRowBytes({ actor, action, subject, code, detail }: AuditEvent): number {
  const texts = [actor, action, subject, code ?? '', JSON.stringify(detail)];
  return rowBytes(texts.reduce((sum, text) => sum + Buffer.byteLength(text), 160));
}

/**
 * The size of a row of the history: two digests, five numbers, the name once more in each of two indexes, and the digest once
 * more if its evidence is erased one day, which is an entry of the audit log.
 */
export function historyRowBytes(
  node: string,
  row: { readonly verdict: Verdict; readonly flaps?: unknown },
): number {
  const texts = [JSON.stringify(row.verdict), row.flaps === undefined ? '' : JSON.stringify(row.flaps)];
  return rowBytes(texts.reduce((sum, text) => sum + Buffer.byteLength(text), 290 + 3 * node.length));
}

function rowBytes(bytes: number): number {
  if (bytes <= page.bytes / 2) return Math.ceil(bytes * 1.15);
  if (bytes < page.ofLongRow) return page.bytes;
  return mostInOwnPage + Math.ceil(bytes / page.ofLongRow) * page.bytes;
}
