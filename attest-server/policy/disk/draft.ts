import { z } from 'zod';
import type { Proven } from '../../verify/proven.ts';
import { parseDiskPart } from '../../wire/disk.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { DraftedRules, ObservedNode } from '../aspect.ts';
import { judgeDisk } from './judge-disk.ts';
import { measuredTables } from './measured-tables.ts';
import { defaultDiskRules } from './rules.ts';

const observed = z.object({
  /** Paths that the node has, of those that it was asked for. */
  paths: z.array(z.object({ path: z.string().max(1024), encrypted: z.boolean() })).max(64),
});

/** Which paths are encrypted as the default rules say; null if nothing was read. */
export function observeDisk({ parts, ima }: Proven): z.infer<typeof observed> | null {
  const bytes = parts.disk?.bytes ?? null;
  if (bytes === null) return null;
  try {
    const part = parseDiskPart(bytes);
    const measured = measuredTables(ima);
    const paths = part.paths
      .filter(({ real }) => real !== null)
      .map(({ path }) => {
        const rules = { ...defaultDiskRules, paths: [{ path, required: true }] };
        return { path, encrypted: judgeDisk(part, rules, nobodyEnrolled, measured).affirmed };
      });
    return { paths };
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}

const nobodyEnrolled = { isDemanded: false, volumes: [], revoked: new Map<string, string>() };

/** The paths that are encrypted on every node that has them. */
export function draftDisk(nodes: readonly ObservedNode[]): DraftedRules | null {
  const encrypted = new Map<string, number>();
  const open = new Map<string, string[]>();
  let read = 0;
  for (const { node, said } of nodes) {
    const { data } = observed.safeParse(said);
    if (data === undefined) continue;
    read += 1;
    for (const { path, encrypted: is } of data.paths)
      if (is) encrypted.set(path, (encrypted.get(path) ?? 0) + 1);
      else open.set(path, [...(open.get(path) ?? []), node]);
  }
  if (read === 0) return null;
  const all = [...encrypted.keys(), ...open.keys()].filter((path, at, paths) => paths.indexOf(path) === at);
  const good = all.filter((path) => !open.has(path) && encrypted.get(path) === nodes.length);
  const notes = all.map((path) => {
    const not = open.get(path) ?? [];
    const where = `${encrypted.get(path) ?? 0} of ${nodes.length}`;
    return not.length === 0
      ? `encrypted on ${where}: ${path}`
      : `NOT encrypted on ${not.join(', ')}: ${path}`;
  });
  if (all.length === 0)
    return { rules: {}, holds: false, notes: ['none of the paths that were asked for is there'] };
  if (good.length === 0) return { rules: { paths: all }, holds: false, notes };
  return { rules: { paths: good }, holds: true, notes };
}
