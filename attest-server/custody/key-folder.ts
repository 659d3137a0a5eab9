import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { acquireLock } from 'node-tpm2/lock';
import { removeLeftovers } from '../state/leftovers.ts';
import { preparePrivateFolder } from '../state/private-file.ts';
import { closeToVolumeGroup, type OpenedToGroup } from '../state/volume-group.ts';

/** Does the work while no other program changes keys of this folder. Not to be called within itself. */
export type RunExclusively = <T>(work: () => T | Promise<T>) => Promise<T>;

/** The folder of keys, which servers may share: only one changes them at a time, and readers never wait. */
export interface KeyFolder {
  readonly auditKey: string;
  /** Of the TLS authorities. */
  readonly tls: string;
  readonly alone: RunExclusively;
  /** Whether other servers may have the same keys. */
  readonly isShared: boolean;
  /** Files that a kubelet had opened to the group of its volume, now closed again; null if there were none. */
  readonly wasOpened: OpenedToGroup | null;
}

/** Of those in it; a server that finds one of them in its state folder, and not there, is not to make another one. */
const keyFiles = ['audit.key', 'tls/ca.crt', 'tls/ca.key'];

/** Longer than any change takes. */
const patience = 60_000;

/**
 * Makes the folder, or checks that the one found is private.
 * @throws Error if it is open to others, is the state folder of another server, or keys were left behind
 */
export function openKeyFolder(dir: string, stateDir: string): KeyFolder {
  const isShared = isApart(dir, stateDir);
  const wasOpened = isShared ? closeToVolumeGroup(dir) : null;
  checkLeftBehind(dir, stateDir);
  const places = placesIn(dir);
  for (const folder of [dir, places.tls]) preparePrivateFolder(folder);
  return {
    ...places,
    isShared,
    wasOpened,
    async alone(work) {
      const release = await acquireLock({ file: join(dir, 'keys.lock'), timeoutMs: patience });
      try {
        // Of one that died while it was alone here. In a state folder its server has done so.
        if (isShared) removeLeftovers(dir);
        return await work();
      } finally {
        await release();
      }
    },
  };
}

export function placesIn(dir: string): Pick<KeyFolder, 'auditKey' | 'tls'> {
  return { auditKey: join(dir, 'audit.key'), tls: join(dir, 'tls') };
}

function isApart(dir: string, stateDir: string): boolean {
  return resolve(dir) !== resolve(stateDir);
}

/** @throws Error if keys would be replaced, or would land where another server has its own */
export function checkLeftBehind(dir: string, stateDir: string): void {
  if (!isApart(dir, stateDir)) return;
  if (existsSync(join(dir, 'assay.db')))
    throw new Error(`${dir} is a state folder: name a folder for keys alone (keysDir)`);
  for (const file of keyFiles)
    if (existsSync(join(stateDir, file)) && !existsSync(join(dir, file)))
      throw new Error(
        `${join(stateDir, file)} is not in ${dir}, where keysDir has the keys: move it there, or a new one would be made`,
      );
}
