import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { AuditLog } from '../audit/audit-log.ts';
import { chainEntry } from '../audit/chain.ts';
import { startAnew } from '../audit/start-anew.ts';
import type { ServerConfig } from '../config.ts';
import { openCustody } from '../custody/open.ts';
import { openState } from '../state/open.ts';
import { openStore } from '../store/open.ts';

const longestReason = 200;

type ServerFolders = Pick<ServerConfig, 'stateDir' | 'keysDir'>;

/** Starts a new audit log. A person runs this on the machine of a server that is stopped. */
export async function startAuditLogAnew({ stateDir, keysDir }: ServerFolders, reason: string): Promise<void> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the point
  if (reason.trim() === '' || reason.length > longestReason || /[\u0000-\u001f\u007f]/.test(reason))
    throw new Error(`--reason is one line of at most ${longestReason} characters`);
  const { origin, keyId, path } = await replaceLostKey({ stateDir, keysDir }, reason, Date.now());
  process.stdout.write(
    `the audit log is signed by the key ${keyId} of ${origin} from now on; back up ${path}\n`,
  );
}

async function replaceLostKey(
  { stateDir, keysDir }: ServerFolders,
  reason: string,
  at: number,
): Promise<{ readonly origin: string; readonly keyId: string; readonly path: string }> {
  const path = join(stateDir, 'assay.db');
  if (!existsSync(path)) throw new Error(`there is no ${path}: name the server's state folder (--state-dir)`);
  await using _state = await openState(stateDir);
  await using store = await openStore(path, {
    chain: chainEntry,
    // No server runs that would tell anybody: what cannot be written is thrown.
    onUnreadable: () => {},
    watch: { failed: () => {}, isFull: () => false, isLow: () => false },
  });
  await using custody = openCustody(keysDir, stateDir);
  const { audit: keys } = custody;
  const { origin } = await startAnew({ store: store.audit, keys, actor: whoIsThis(), reason, at });
  const rolledBack: string[] = [];
  const log = await AuditLog.open({
    store: store.audit,
    stateDir,
    keys,
    now: () => Date.now(),
    signed: () => {},
    rolledBack: (text) => rolledBack.push(text),
  });
  if (rolledBack.length > 0) process.stderr.write(`assay-server: ${rolledBack.join('; ')}\n`);
  return { origin, keyId: log.keyId, path: keys.path };
}

function whoIsThis(): string {
  try {
    return `user:${userInfo().username}`;
  } catch {
    // A user without a name, as in many containers.
    return `uid:${process.geteuid?.()}`;
  }
}
