import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuditKey, rotateAuditKey } from '../../../attest-server/custody/audit-key.ts';
import type { AuditOrigin } from '../../../attest-server/wire/audit-key.ts';

export interface MadeKey {
  readonly origin: AuditOrigin;
  /** What `audit.key` holds. */
  readonly text: string;
  /** What it held before the key was replaced. */
  readonly earlier: string;
}

/** An audit key that was replaced once. */
export function madeKey(): MadeKey {
  const folder = mkdtempSync(join(tmpdir(), 'assay-audit-key-'));
  try {
    const file = join(folder, 'audit.key');
    const first = createAuditKey(file);
    const earlier = readFileSync(file, 'utf8');
    const { origin, keys } = rotateAuditKey(file, first);
    return { origin: { origin, keys }, text: readFileSync(file, 'utf8'), earlier };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
