import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ServerConfig } from './config.ts';
import { damageAdvice } from './formats/database-damage.ts';
import { storageCauseOf } from './formats/server-fault.ts';
import { PolicyError } from './policy/file/policy-error.ts';
import { checkPolicy } from './policy/file/policy-file.ts';
import { enrolments } from './policy/policy.ts';
import { builtInPolicy } from './policy/shipped/built-in.ts';
import { ConfigError } from './settings/config-error.ts';

export interface StartFault {
  readonly text: string;
  /** 2 for a wrong usage. */
  readonly exitCode: 1 | 2;
}

/** Configuration of a start, as far as it is known. */
export type StartConfiguration = Pick<
  ServerConfig,
  'agentPort' | 'apiPort' | 'metricsPort' | 'policy' | 'host' | 'stateDir'
>;

/** Why a server did not start, for a person: what is wrong, and what to do. */
export function startFault(error: unknown, started: StartConfiguration | null = null): StartFault {
  // What opened before the fault did not close well either: the fault is what a person must know of.
  if (error instanceof SuppressedError) return startFault(error.suppressed, started);
  if (error instanceof AggregateError) {
    const all = error.errors.map((each) => startFault(each, started).text);
    return { text: all.join('\nassay-server: '), exitCode: 2 };
  }
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof ConfigError) return { text, exitCode: 2 };
  if (error instanceof PolicyError) return { text: policyText(error), exitCode: 2 };
  const { code, path, port, address } = systemError(error);
  const cause = storageCauseOf(error);
  // Found by a room that reads it, once the store is open: SQLite names no file.
  if (cause === 'damaged' && started !== null && !text.includes(started.stateDir))
    return {
      text: `the database ${join(started.stateDir, 'assay.db')} is damaged: ${text}\n  ${damageAdvice(started.stateDir)}`,
      exitCode: 1,
    };
  if (cause === 'disk_full') {
    // Errors of writing to an open file have no path.
    const where = started === null || text.includes(started.stateDir) ? text : `${started.stateDir}: ${text}`;
    return { text: `the disk is full: ${path ?? where}\n  ${makeRoom}`, exitCode: 1 };
  }
  if (code !== null && path !== null)
    return { text: `${path} cannot be used (${code})\n  ${whatToName(path, started)}`, exitCode: 1 };
  if (code !== null && address !== null)
    return { text: notListening(code, address, port ?? 0, started), exitCode: 1 };
  return { text, exitCode: 1 };
}

const makeRoom =
  'Make room where the state folder is (df -h shows how full it is; docs/backup.md, "When the disk is full"), and start again.';

/**
 * The faults of a configuration, and those of the policy that it names beside them: whoever fixes a file wants to know
 * all of them.
 * @param named what names the policy, from the first source that counts to the last
 */
export async function withFaultsOfPolicy(error: unknown, named: readonly unknown[]): Promise<unknown> {
  const name = named.find((each) => each !== undefined && each !== '');
  if (!(error instanceof ConfigError) || typeof name !== 'string') return error;
  if (builtInPolicy(name) !== null) return error;
  try {
    // By which methods nodes may enrol depends on the configuration that is faulty.
    checkPolicy(await readFile(name, 'utf8'), name, enrolments);
    return error;
  } catch (fault) {
    return new AggregateError([error, fault]);
  }
}

function policyText({ file, faults, message }: PolicyError): string {
  const count = faults.length === 1 ? 'a fault' : `${faults.length} faults`;
  return `the policy ${file} has ${count}:\n${message.replace(/^/gm, '  ')}`;
}

function whatToName(path: string, started: StartConfiguration | null): string {
  const usable = 'See whether it exists and this user may use it, or name another:';
  return path === started?.policy
    ? `${usable} policy (ASSAY_POLICY, --policy).`
    : `${usable} --config, --policy, --state-dir.`;
}

const listeners = [
  ['agentPort', 'ASSAY_AGENT_PORT'],
  ['apiPort', 'ASSAY_API_PORT'],
  ['metricsPort', 'ASSAY_METRICS_PORT'],
] as const;

function notListening(
  code: string,
  address: string,
  port: number,
  started: StartConfiguration | null,
): string {
  const [key, variable] = listeners.find(([name]) => started?.[name] === port) ?? ['its port', ''];
  const setting = variable === '' ? key : `${key} (${variable})`;
  if (code === 'EADDRINUSE')
    return `the port ${port} of ${setting} is taken\n  See what listens there and end it, or set ${setting} to another port:\n  ss -ltnp 'sport = :${port}'`;
  if (code === 'EACCES')
    return `this user may not listen at the port ${port} of ${setting}\n  Set ${setting} to a port from 1024 on.`;
  return `nothing can listen at ${address}:${port} (${code})\n  Set host (ASSAY_HOST) to an address of this machine: 0.0.0.0 is all of them.`;
}

/** The fields of an error of Node.js's own that tell what it is about; null if it is none. */
function systemError(error: unknown) {
  const fields: Readonly<Record<string, unknown>> = error instanceof Error ? { ...error } : {};
  const { code, path, port, address } = fields;
  return {
    code: typeof code === 'string' ? code : null,
    path: typeof path === 'string' ? path : null,
    port: typeof port === 'number' ? port : null,
    address: typeof address === 'string' ? address : null,
  };
}
