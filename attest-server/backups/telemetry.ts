import type { Reporting } from '../telemetry/reporting.ts';
import type { BackupConfig, BackupParts } from './open.ts';

/** @param config null: the server makes none by itself */
export function backupsReport(
  { figures, logger }: Pick<Reporting, 'figures' | 'logger'>,
  config: BackupConfig | null,
): BackupParts['report'] {
  figures
    .gauge(
      'backup_interval_seconds',
      'Time between two backups that the server makes by itself; 0: it makes none',
    )
    .set((config?.every ?? 0) / 1000);
  const latest = figures.gauge(
    'backup_last_success_timestamp_seconds',
    'When the latest backup in the folder was made; 0: there is none',
  );
  const failed = figures.gauge('backup_failed', '1 if the latest backup failed, else 0');
  return {
    found: (at) => latest.set((at ?? 0) / 1000),
    made(copy, at) {
      latest.set(at / 1000);
      failed.set(0);
      logger.info(copy, 'a backup was made');
    },
    failed(error) {
      failed.set(1);
      logger.error({ err: error, code: 'backup_failed' }, 'no backup could be made; it is tried again');
    },
  };
}
