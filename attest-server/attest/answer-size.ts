import { type Parts, partNames } from '../protocol/evidence.ts';
import type { Answer, Given } from './answer.ts';
import type { KeptIma } from './ima-lists.ts';
import type { NodeStatus } from './ports.ts';

/** All that came with an answer, in bytes. */
export function arrivedBytes({ parts, files, ima, initrd }: Answer): number {
  return partBytes(parts) + sum(files?.came ?? []) + sum(ima?.pieces ?? []) + sum(initrd?.came?.pieces ?? []);
}

/** What of an answer is read at once, in bytes. @param parts with the bytes of all that need some */
export function readBytes(parts: Parts, { files }: Answer): number {
  return partBytes(parts) + sum(files?.came ?? []);
}

/** Of what came and is kept under digests of its own, as far as that is not what was kept last: its bytes. */
export function keptBytes(
  parts: Parts,
  given: Given,
  ima: KeptIma | null,
  held: NodeStatus['parts'],
): number {
  const { loader, initrds } = given;
  let bytes = partBytes(parts, held);
  if (loader.list !== null && loader.list.digest !== held.loaderFiles) bytes += sum(loader.files.values());
  if (initrds.list !== null && initrds.list.digest !== held.initrds) bytes += sum(initrds.manifests.values());
  for (const piece of ima?.pieces ?? []) bytes += piece.bytes.length;
  return bytes;
}

/** The same of parts alone, but for the boot log: how many of these may come is counted apart. */
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

function sum(all: Iterable<Buffer>): number {
  let bytes = 0;
  for (const { length } of all) bytes += length;
  return bytes;
}
