/**
 * Signs with the keys of an installation (`audit-key`, `authority-files`), in a folder that servers may share
 * (`key-folder`), and wraps the keys of disks by a key that lies elsewhere (`wrapping-keys`). See docs/backup.md, *Keys in a folder of their own*.
 */

import type { AuditKeys } from '../audit/ports.ts';
import type { WrappingKeys } from '../keys/ports.ts';
import type { OpenedToGroup } from '../state/volume-group.ts';
import type { AuthorityKeys } from '../tls/ports.ts';
import { auditKeys } from './audit-key.ts';
import { authorityKeys } from './authority-files.ts';
import { openKeyFolder } from './key-folder.ts';
import { openWrappingKeys, type WrappingConfig } from './wrapping-keys.ts';

/** The keys of an installation by their names. They sign here; no other room has a private key of theirs. */
export interface Custody extends AsyncDisposable {
  readonly audit: AuditKeys;
  readonly tls: AuthorityKeys;
  /** Null: there are no keys of disks. */
  readonly wrapping: WrappingKeys | null;
  /** Whether other servers may have the same keys. */
  readonly isShared: boolean;
  /** Files that a kubelet had opened to the group of its volume, now closed again; null if there were none. */
  readonly wasOpened: OpenedToGroup | null;
}

/**
 * @param keysDir the state folder, or a folder of their own, which several servers may share
 * @throws Error for a folder that is open to others, or has not the keys of this server; and as `openWrappingKeys`
 */
export function openCustody(
  keysDir: string,
  stateDir: string,
  wrapping: WrappingConfig | null = null,
): Custody {
  const folder = openKeyFolder(keysDir, stateDir);
  const { auditKey, tls, alone, isShared, wasOpened } = folder;
  return {
    audit: auditKeys(auditKey, folder),
    tls: authorityKeys(tls, alone),
    wrapping: openWrappingKeys(wrapping),
    isShared,
    wasOpened,
    async [Symbol.asyncDispose]() {},
  };
}
