import { hash } from 'node:crypto';
import { z } from 'zod';
import type { Proven } from '../../verify/proven.ts';
import type { DiskPart } from '../../wire/disk.ts';
import { parseDiskPart } from '../../wire/disk.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { Past } from '../aspect.ts';
import { luksVolume } from './luks-metadata.ts';
import { volumeDevices } from './volume-devices.ts';

/** This aspect's memory of a node. */
export interface DiskMemory {
  /** Marks of its volumes, as it showed them last. */
  readonly volumes: readonly string[];
}

const memory = z.object({ volumes: z.array(z.string().max(64)).max(256) });
const noMemory: DiskMemory = { volumes: [] };

/** The memory of a node; only this aspect writes it, and a bundle may hold anything. */
export function diskMemoryIn({ disk }: Past['memory']): DiskMemory {
  return disk === undefined ? noMemory : (memory.safeParse(disk).data ?? noMemory);
}

/**
 * Marks by which volumes of two nodes are told to be copies: the UUID of a header (`uuid:`), and salt with digest of each
 * volume key (`key:`), which a copied header keeps whatever its UUID says. Each is a part of a SHA-256.
 */
export function volumeMarks(part: DiskPart): readonly string[] {
  const { inspected } = part;
  if ('cause' in inspected) return [];
  const ofPods = volumeDevices(part);
  const own = inspected.headers.filter(({ device }) => !ofPods.has(device));
  const marks = new Set<string>();
  for (const header of own) for (const mark of marksOf(header)) marks.add(mark);
  return [...marks].slice(0, mostMarks);
}

const mostMarks = 256;

export function marksOf(header: Parameters<typeof luksVolume>[0]): readonly string[] {
  const volume = luksVolume(header);
  const uuid = markOf('uuid', header.uuid.toLowerCase());
  return 'fault' in volume ? [uuid] : [uuid, ...volume.keys.map((key) => markOf('key', key))];
}

/** The marks of the volumes that a node shows now. It still has those that it does not show: their earlier marks stay. */
export function shownVolumes(proven: Proven, before: readonly string[]): readonly string[] {
  const bytes = proven.parts.disk?.bytes ?? null;
  if (bytes === null) return before;
  try {
    const part = parseDiskPart(bytes);
    return 'cause' in part.inspected ? before : volumeMarks(part);
  } catch (error) {
    if (error instanceof Rejection) return before;
    throw error;
  }
}

function markOf(kind: 'uuid' | 'key', text: string): string {
  return `${kind}:${hash('sha256', text).slice(0, 32)}`;
}
