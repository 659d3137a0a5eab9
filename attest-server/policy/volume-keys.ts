import { z } from 'zod';
import type { Proven } from '../verify/proven.ts';
import type { Verdict } from '../wire/verdict.ts';
import { breaksPolicy } from './finding.ts';

/** Keys of a node's leased volumes, by their marks (disk/exposure.ts). */
export interface VolumeKeys {
  /** The reset count of the boot in which it showed its disks last. */
  readonly boot: number;
  /** Those of the volumes that it showed open in that boot. */
  readonly open: readonly string[];
  /** Those that were open while it was untrusted, the latest first. No proof takes one back: only another key is not exposed. */
  readonly exposed: readonly string[];
}

/** The member of a node's memory that this file writes; the others are named by aspect. */
const key = 'volumeKeys';
const most = 64;
const marks = z.array(z.string().max(128)).max(most);
const kept = z.object({ boot: z.int(), open: marks, exposed: marks }) satisfies z.ZodType<VolumeKeys>;
const none: VolumeKeys = { boot: -1, open: [], exposed: [] };

/** Only this file writes it; a bundle may hold anything. */
export function volumeKeysIn({ [key]: given }: Readonly<Record<string, unknown>>): VolumeKeys {
  return given === undefined ? none : (kept.safeParse(given).data ?? none);
}

/**
 * The memory of a node with the keys that an answer shows in use. Attack: a node that is found out shows its volume closed, or
 * hides its disks. What was open in this boot counts, and without a word of it what was open last.
 * @param shown null: the answer did not show its disks
 * @param concurrent the answer is to a challenge older than the previous reading: it may be of an earlier boot
 */
export function withOpen(
  memory: Readonly<Record<string, unknown>>,
  shown: readonly string[] | null,
  { clock: { resetCount }, concurrent }: Pick<Proven, 'clock'> & { readonly concurrent: boolean },
): Readonly<Record<string, unknown>> {
  const before = volumeKeysIn(memory);
  if (shown === null || (before === none && shown.length === 0)) return memory;
  const isSameBoot = concurrent || before.boot === resetCount;
  const open = isSameBoot ? [...new Set([...before.open, ...shown])].slice(0, most) : shown;
  if (isSameBoot && open.length === before.open.length) return memory;
  return { ...memory, [key]: { ...before, boot: concurrent ? before.boot : resetCount, open } };
}

/** The same once its verdict is known, where that exposes another key; else null. That a key is exposed exposes no further one. */
export function withExposed(
  memory: Readonly<Record<string, unknown>>,
  { state, reasons }: Pick<Verdict, 'state' | 'reasons'>,
): Readonly<Record<string, unknown>> | null {
  const isBroken = reasons.some((one) => breaksPolicy(one) && one.code !== 'volume_exposed');
  if (state !== 'untrusted' || !isBroken) return null;
  const { open, exposed, ...rest } = volumeKeysIn(memory);
  const latest = open.filter((mark) => !exposed.includes(mark));
  if (latest.length === 0) return null;
  return { ...memory, [key]: { ...rest, open, exposed: [...latest, ...exposed].slice(0, most) } };
}
