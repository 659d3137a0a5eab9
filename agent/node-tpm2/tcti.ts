import { accessSync, constants } from 'node:fs';
import { deniedText } from './denied.ts';
import { ToolError } from './tool-error.ts';

/** How programs reach a TPM, as tpm2-tools write it: `name:configuration`. */
export interface Tcti {
  readonly text: string;
  /** The device or socket, where the configuration names one. */
  readonly path: string | null;
  /** Without a resource manager, what a program leaves in the TPM stays there. */
  readonly hasResourceManager: boolean;
  /** The same for every way of writing the same TPM; the lock's name comes from it. */
  readonly identity: string;
}

/** `cmd` is left out on purpose: it starts a shell. */
const names: ReadonlySet<string> = new Set(['swtpm', 'device', 'mssim', 'tabrmd', 'libtpms']);

/** @throws ToolError `bad_input` */
export function parseTcti(text: string): Tcti {
  const [, name, configuration] = /^([a-z]+):([\x21-\x7e]{1,200})$/.exec(text) ?? [];
  if (name === undefined || configuration === undefined || !names.has(name))
    throw new ToolError(
      `${JSON.stringify(text.slice(0, 80))} names no TPM: write device:/dev/tpmrm0 or swtpm:path=/absolute/socket`,
      { code: 'bad_input', tool: 'tcti' },
    );
  const path = name === 'device' ? configuration : (/(?:^|,)path=([^,]+)/.exec(configuration)?.[1] ?? null);
  if (path !== null && !path.startsWith('/'))
    throw new ToolError(`the TPM's path ${path} is not absolute`, { code: 'bad_input', tool: 'tcti' });
  return {
    text,
    path,
    hasResourceManager: name === 'tabrmd' || (name === 'device' && /tpmrm\d+$/.test(configuration)),
    // The raw device and its resource manager lead to the same TPM.
    identity: name === 'device' ? `device:${configuration.replace(/tpmrm(\d+)$/, 'tpm$1')}` : text,
  };
}

/** @throws ToolError `no_tpm`, saying which device or socket is missing, or closed to this user, and what to do */
export function checkPresent(tcti: Tcti): void {
  const { path } = tcti;
  if (path === null || tcti.text.startsWith('libtpms:')) return;
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (cause) {
    const isDenied = cause instanceof Error && 'code' in cause && denials.has(cause.code);
    if (!isDenied) throw noTpm(tcti, cause);
    const text = deniedText(path, tcti.text.startsWith('device:'));
    throw new ToolError(text, { code: 'no_tpm', tool: 'tcti', cause });
  }
}

const denials: ReadonlySet<unknown> = new Set(['EACCES', 'EPERM', 'EROFS']);

export function noTpm(tcti: Tcti, cause?: unknown): ToolError {
  const remedy = tcti.text.startsWith('device:')
    ? 'switch the TPM on in the firmware setup, and load its driver'
    : 'start the software TPM, or correct its socket path';
  return new ToolError(`no TPM answers at ${tcti.path ?? tcti.text}: ${remedy}`, {
    code: 'no_tpm',
    tool: cause instanceof ToolError ? cause.tool : 'tcti',
    retryable: false,
    ...(cause instanceof ToolError && {
      exitCode: cause.exitCode,
      ...(cause.responseCode !== undefined && { responseCode: cause.responseCode }),
      ...(cause.responseName !== undefined && { responseName: cause.responseName }),
    }),
    cause,
  });
}
