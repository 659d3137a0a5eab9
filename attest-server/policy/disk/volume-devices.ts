import type { DiskPart } from '../../wire/disk.ts';
import { asBytes, type Mount } from '../../wire/mount-table.ts';
import { volumeKind } from '../../wire/protected-mounts.ts';
import { Rejection } from '../../wire/rejection.ts';
import { parseMounts } from './mounts.ts';

/**
 * Devices on which nothing but volumes of pods stands: what is encrypted there is no volume of the node's own. It goes from node
 * to node with its pod, so that two of them show its header one after the other.
 */
export function volumeDevices({ mounts, devices, paths }: DiskPart): ReadonlySet<string> {
  const table = parsedOrNone(mounts);
  const byId = new Map(table.map((mount) => [mount.id, mount]));
  const reals = paths.flatMap(({ real }) => (real === null ? [] : [asBytes(real)]));
  const isVolume = (mount: Mount) => reals.some((real) => volumeKind(mount, real, { byId }) !== null);
  const [ofVolumes, ofOthers] = [new Set<string>(), new Set<string>()];
  for (const mount of table) (isVolume(mount) ? ofVolumes : ofOthers).add(mount.device);
  const below = new Map(
    devices.map(({ device, slaves, partitionOf }) => [
      device,
      partitionOf === null ? slaves : [...slaves, partitionOf],
    ]),
  );
  // A set is walked to what was added on the way.
  for (const reached of [ofVolumes, ofOthers])
    for (const device of reached) for (const one of below.get(device) ?? []) reached.add(one);
  return ofVolumes.difference(ofOthers);
}

function parsedOrNone(lines: readonly string[]): readonly Mount[] {
  try {
    return parseMounts(lines);
  } catch (error) {
    // The judgement says what is wrong with it.
    if (error instanceof Rejection) return [];
    throw error;
  }
}
