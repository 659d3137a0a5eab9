import { PolicyError } from './policy/file/policy-error.ts';
import { ConfigError } from './protocol/config-error.ts';
import { storageCauseOf } from './protocol/server-fault.ts';

/**
 * Why a server did not start, for a person: what is wrong, and what to do; and the exit code, 2 for a wrong usage.
 * @param stateDir where it is known
 */
export function startFault(
  error: unknown,
  stateDir?: string,
): { readonly text: string; readonly exitCode: 1 | 2 } {
  // What opened before the fault did not close well either: the fault is what a person must know of.
  if (error instanceof SuppressedError) return startFault(error.suppressed, stateDir);
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof ConfigError || error instanceof PolicyError) return { text, exitCode: 2 };
  const { code, path, port } = systemError(error);
  const storage = storageCauseOf(error);
  if (storage === 'disk_full') {
    // Who writes into an open file is told no path.
    const where = stateDir === undefined || text.includes(stateDir) ? text : `${stateDir}: ${text}`;
    return { text: `the disk is full: ${path ?? where}\n  ${makeRoom}`, exitCode: 1 };
  }
  if (code !== null && path !== null)
    return {
      text: `${path} cannot be used (${code})\n  See whether it exists and this user may use it, or name another: --config, --policy, --state-dir.`,
      exitCode: 1,
    };
  if (code === 'EADDRINUSE' && port !== null)
    return {
      text: `the port ${port} is taken\n  End what listens there, or choose another: agentPort, apiPort, metricsPort.`,
      exitCode: 1,
    };
  return { text, exitCode: 1 };
}

const makeRoom =
  'Make room where the state folder is (df -h shows how full it is; docs/backup.md, "When the disk is full"), and start again.';

/** The fields of an error of Node.js's own that tell what it is about; null where it is none. */
function systemError(error: unknown) {
  const fields: Readonly<Record<string, unknown>> = error instanceof Error ? { ...error } : {};
  const { code, path, port } = fields;
  return {
    code: typeof code === 'string' ? code : null,
    path: typeof path === 'string' ? path : null,
    port: typeof port === 'number' ? port : null,
  };
}
