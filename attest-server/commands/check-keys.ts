import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { checkBelongs } from '../audit/audit-log.ts';
import { type KnownKeys, readKnownKeys } from '../cli/offline/audit/log-in-database.ts';
import { type FoundKeys, lookAtKeys } from '../custody/look-at-keys.ts';
import { openWrappingKeys, type WrappingConfig } from '../custody/wrapping-keys.ts';
import { auditKeyId } from '../wire/checkpoint.ts';

/** One key, and the database that a server would use it with. */
export interface CheckedKey {
  readonly name: keyof FoundKeys | 'wrapping';
  /** Its file. */
  readonly path: string;
  /** Null if the database names no such key, or there is none; it says less than a fault where it is null, too. */
  readonly fits: boolean | null;
  /** For a person. */
  readonly text: string;
}

/** Nothing where there are neither keys nor a database yet. @throws Error for what a server would not start with */
export async function checkKeys(keysDir: string, stateDir: string): Promise<readonly CheckedKey[]> {
  const database = join(stateDir, 'assay.db');
  const owner = [keysDir, stateDir].find((folder) => existsSync(folder) && !isOurs(folder));
  // What is private of another user looks wrong to this one, and right to the server.
  if (owner !== undefined) return [notLookedAt('audit', owner), notLookedAt('tls', owner)];
  const { audit, tls } = await lookAtKeys(keysDir, stateDir);
  const known = existsSync(database) ? readKnownKeys(database) : null;
  if (known === null && audit.signer === null && tls.authorities === null) return [];
  return [
    { name: 'audit', path: audit.path, ...auditFits(audit, known) },
    { name: 'tls', path: tls.path, ...tlsFits(tls, known) },
  ];
}

/** The wrapping keys of disk keys, beside a database that may hold some. @throws Error for what a server would not start with */
export function checkWrapping(config: WrappingConfig, stateDir: string): CheckedKey {
  const { file: path } = config;
  const database = join(stateDir, 'assay.db');
  const found = { name: 'wrapping', path } as const;
  if (existsSync(stateDir) && !isOurs(stateDir)) return notLookedAt('wrapping', stateDir);
  const ids = openWrappingKeys(config)?.ids ?? [];
  const used = existsSync(database) ? readKnownKeys(database).wrapping : [];
  const missing = used.filter((id) => !ids.includes(id));
  if (missing.length > 0)
    return {
      ...found,
      fits: false,
      text: `disk keys in the database are wrapped by ${missing.join(', ')}, and the file has ${ids.join(', ')}: put that wrapping key back, as a line of its own`,
    };
  const text = `${ids[0]}${used.length === 0 ? '; no database holds a disk key yet' : ' fits the database'}`;
  return { ...found, fits: used.length === 0 ? null : true, text };
}

function isOurs(folder: string): boolean {
  return statSync(folder).uid === process.geteuid?.();
}

function notLookedAt(name: CheckedKey['name'], path: string): CheckedKey {
  const text = 'not looked at: its folder is of another user; type this as the user of the server';
  return { name, path, fits: null, text };
}

type KeyFinding = Pick<CheckedKey, 'fits' | 'text'>;

function auditFits({ path, signer }: FoundKeys['audit'], known: KnownKeys | null): KeyFinding {
  const origin = known?.origins.at(-1);
  if (origin === undefined) {
    const text = signer === null ? 'the first start makes it' : `${idOf(signer)}; no database names one yet`;
    return { fits: null, text };
  }
  try {
    const found = checkBelongs(signer, origin, path);
    return { fits: true, text: `${idOf(found)} fits the database` };
  } catch (error) {
    return { fits: false, text: error instanceof Error ? error.message : String(error) };
  }
}

function idOf({ origin, publicKey }: NonNullable<FoundKeys['audit']['signer']>): string {
  return `${auditKeyId(origin, publicKey)} of ${origin}`;
}

function tlsFits({ authorities }: FoundKeys['tls'], known: KnownKeys | null): KeyFinding {
  if (authorities === null) {
    const text = 'the next start makes it';
    return {
      fits: null,
      text: known === null ? text : `${text}, and agents that know another one refuse it`,
    };
  }
  const { inForce, all, hasKey } = authorities;
  if (!hasKey) return { fits: false, text: 'it is not the key of ca.crt: bring back the right one' };
  const seen = known?.authority ?? null;
  if (seen === null) return { fits: null, text: `${inForce}; no database names another one` };
  if (all.includes(seen)) return { fits: true, text: `${inForce} fits the database` };
  return {
    fits: null,
    text: `${inForce}, but the audit log saw ${seen} in force last: correct if the database is older, or another server has replaced it; otherwise agents refuse it`,
  };
}
