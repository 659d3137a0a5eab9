import { type Parts, partNames } from '../wire/evidence.ts';
import {
  type AnsweredSupplements,
  type SupplementName,
  supplementForms,
  supplementNames,
} from '../wire/supplements.ts';
import type { Answer } from './answer.ts';
import type { NodeStatus } from './ports.ts';
import type { KeptSupplement } from './supplements/supplement.ts';

/** All that came with an answer, in bytes. */
export function arrivedBytes({ parts, supplements }: Answer): number {
  return partBytes(parts) + supplementBytes(supplements, supplementNames);
}

/** Bytes of an answer that are read at once. @param parts with the bytes of all that need some */
export function readBytes(parts: Parts, { supplements }: Answer): number {
  return partBytes(parts) + supplementBytes(supplements, readAtOnce);
}

const readAtOnce = supplementNames.filter((name) => supplementForms[name].isReadAtOnce);

function supplementBytes(answered: AnsweredSupplements = {}, names: readonly SupplementName[]): number {
  let bytes = 0;
  for (const name of names) for (const { length } of answered[name]?.came?.pieces ?? []) bytes += length;
  return bytes;
}

/** Of what came and is kept under digests of its own, as far as that is not what was kept last: its bytes. */
export function keptBytes(
  parts: Parts,
  supplements: readonly KeptSupplement[],
  held: NodeStatus['parts'],
): number {
  let bytes = partBytes(parts, held);
  // A list that grows is another one with each answer, and what is unwritten of it is on no disk yet.
  for (const { name, part, tail, blobs } of supplements)
    if (tail !== null || part.digest !== held[name]) for (const blob of blobs) bytes += blob.bytes.length;
  return bytes;
}

/** The same for parts only, except the boot log, which is counted separately. */
export function newPartBytes({ boot: _, ...parts }: Parts, held: NodeStatus['parts']): number {
  return partBytes(parts, held);
}

/** @param held digests of parts that do not count */
function partBytes(parts: Parts, held: NodeStatus['parts'] = {}): number {
  let bytes = 0;
  for (const name of partNames) {
    const part = parts[name];
    if (part !== undefined && part.digest !== held[name]) bytes += part.bytes?.length ?? 0;
  }
  return bytes;
}
