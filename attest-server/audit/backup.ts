import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditStore } from './ports.ts';

interface BackupSource {
  readonly audit: Pick<AuditStore, 'append'>;
  backup(path: string): Promise<void>;
}

/** Backs up the store, while it is in use, to `backups/assay-<time>.db`. The copy includes the entry about itself. */
export async function backUp(
  store: BackupSource,
  stateDir: string,
  actor: string,
  at: number,
): Promise<{ readonly path: string; readonly bytes: number }> {
  const name = `assay-${new Date(at).toISOString().replace(/[-:]/g, '')}.db`;
  const path = join(stateDir, 'backups', name);
  await store.audit.append({ at, actor, action: 'backup', subject: name, code: null, detail: {} });
  await store.backup(path);
  return { path, bytes: (await stat(path)).size };
}
