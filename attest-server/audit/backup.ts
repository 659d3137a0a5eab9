import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { backupName } from '../formats/backup-name.ts';
import type { AuditStore } from './ports.ts';

interface BackupSource {
  readonly audit: Pick<AuditStore, 'append'>;
  backup(path: string): Promise<void>;
}

interface MadeBackup {
  readonly path: string;
  readonly bytes: number;
}

/** Backs up the store, while it is in use, to `backups/assay-<time>.db` of the state folder. */
export function backUp(
  store: BackupSource,
  stateDir: string,
  actor: string,
  at: number,
): Promise<MadeBackup> {
  return backUpTo(store, join(stateDir, 'backups', backupName(null, at)), actor, at);
}

/** Backs it up to this file. The copy includes the entry about itself. */
export async function backUpTo(
  store: BackupSource,
  path: string,
  actor: string,
  at: number,
): Promise<MadeBackup> {
  const subject = basename(path);
  await store.audit.append({ at, actor, action: 'backup', subject, code: null, detail: {} });
  await store.backup(path);
  return { path, bytes: (await stat(path)).size };
}
