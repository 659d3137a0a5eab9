/**
 * Commands of a server that does not run: `check` of settings and policy, with `check-keys` for the keys of the
 * installation, `check-store` for its whole database, and `audit-key`, which begins another audit log. They open the
 * rooms that they ask, as the server does.
 */

import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkFolder } from '../backups/folder.ts';
import { type ServerValues, wrappingOf } from '../config.ts';
import { readDirectory } from '../declared/read-directory.ts';
import { isKeyFile, readSigners } from '../declared/read-signers.ts';
import { snapshotOf } from '../declared/snapshot.ts';
import { offeredMethods } from '../enrolment/methods.ts';
import { declaredFiles } from '../formats/declared.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import { policyLabel } from '../formats/policy-label.ts';
import { StorageFault } from '../formats/server-fault.ts';
import { kubeconfigAccess } from '../kubernetes/kubeconfig.ts';
import { PolicyError, type PolicyFault } from '../policy/file/policy-error.ts';
import { checkPolicy } from '../policy/file/policy-file.ts';
import { builtInPolicy } from '../policy/shipped/built-in.ts';
import { readTrustRoots } from '../roots/read-roots.ts';
import { ConfigError } from '../settings/config-error.ts';
import type { IgnoredSetting } from '../settings/settings.ts';
import { isReserveTouched } from '../state/reserve.ts';
import { readEndpoint } from '../webhook/endpoint.ts';
import { type CheckedKey, checkKeys, checkWrapping } from './check-keys.ts';

/** A fault or warning, with its place where that is known. */
interface CheckFinding {
  readonly file: string | null;
  /** From 1. */
  readonly line: number | null;
  /** Of the policy, or a setting; null for a file as a whole. */
  readonly field: string | null;
  readonly text: string;
}

/** The folder in which the server is to make copies by itself. */
interface CheckedBackups {
  readonly directory: string;
  /** Null: not looked at. */
  readonly fits: boolean | null;
  readonly text: string;
}

/** The configuration that a server would start with. Nothing is written, and nothing listens. */
export interface CheckedConfiguration {
  readonly valid: boolean;
  /** `NAME@REVISION`; null if it cannot be used. */
  readonly policy: string | null;
  readonly faults: readonly CheckFinding[];
  readonly warnings: readonly CheckFinding[];
  /** Of keys and database on this machine; empty if there are none yet. */
  readonly keys: readonly CheckedKey[];
  /** Null if it makes none by itself, or the folder is not on this machine. */
  readonly backups: CheckedBackups | null;
  /** Files that are not on this machine, and were not looked into: whoever checks may not have what the server has. */
  readonly absent: readonly { readonly setting: string; readonly path: string }[];
}

/**
 * @param read the settings; the error that they have, where they have one: no other part is looked at then, but the policy
 * @param isHere whether the server is to run on this machine, so that a file that is missing is a fault
 */
export async function checkConfiguration(
  read: { readonly values: ServerValues; readonly ignored: readonly IgnoredSetting[] } | Error,
  isHere: boolean,
): Promise<CheckedConfiguration> {
  const faults: CheckFinding[] = [];
  const warnings: CheckFinding[] = [];
  const absent: { readonly setting: string; readonly path: string }[] = [];
  const checkedKeys: CheckedKey[] = [];
  let backups: CheckedBackups | null = null;
  let policy: string | null = null;
  if (read instanceof Error) faults.push(...foundIn(read));
  else {
    const { values: settings, ignored } = read;
    for (const { key, variable, instead, file, line } of ignored)
      warnings.push({
        file,
        line,
        field: file === null ? `${key} (${variable})` : key,
        text: `it has no effect, and the next version refuses it: ${instead}`,
      });
    const part = async (
      setting: keyof ServerValues,
      paths: readonly (string | null)[],
      look: () => unknown,
    ) => {
      const missing = paths.filter((path) => path !== null && !existsSync(path));
      for (const path of missing)
        if (isHere) faults.push({ file: path, line: null, field: setting, text: 'there is no such file' });
        else absent.push({ setting, path: path ?? '' });
      if (missing.length === 0) await tryOut(setting, look, faults);
    };
    let source = null as PolicySource | null;
    const { 'webhook.url': url, 'webhook.secretFile': secretFile, 'webhook.caFile': caFile } = settings;
    const { 'kubernetes.api': api, cloudProgram } = settings;
    const { 'declared.directory': directory, 'declared.keys': keys } = settings;
    const { 'backup.directory': directoryOfBackups } = settings;
    const folders = settings.endorsementRoots.filter((name) => name !== 'none');
    await part(
      'endorsementRoots',
      folders.filter((name) => name !== 'builtin'),
      () => readTrustRoots(folders),
    );
    if (url !== null && secretFile !== null)
      await part('webhook.secretFile', [secretFile, caFile], () => readEndpoint({ url, secretFile, caFile }));
    if (directory !== null)
      await part('declared.directory', [directory, ...keys.filter(isKeyFile)], async () => {
        const snapshot = await snapshotOf(directory);
        const read = await readDirectory(snapshot, await readSigners(keys), methodsOf(settings));
        if (read.policy !== null) source = { name: join(directory, declaredFiles.policy), text: read.policy };
      });
    if (settings.trial)
      warnings.push({
        file: null,
        line: null,
        field: 'trial',
        text: 'the server would be on trial: no verdict counts, and nothing is marked',
      });
    await tryOut(
      'keysDir',
      async () =>
        checkedKeys.push(...(await checkKeys(settings.keysDir ?? settings.stateDir, settings.stateDir))),
      faults,
    );
    const wrapping = wrappingOf(settings);
    if (wrapping !== null)
      await part('keys.wrappingKeyFile', [wrapping.file], () =>
        checkedKeys.push(checkWrapping(wrapping, settings.stateDir)),
      );
    for (const { name, path, fits, text } of checkedKeys)
      if (fits === false) {
        const field = name === 'wrapping' ? 'keys.wrappingKeyFile' : 'keysDir';
        faults.push({ file: path, line: null, field, text });
      }
    if (directoryOfBackups !== null)
      await part('backup.directory', isHere ? [] : [dirname(directoryOfBackups)], () => {
        backups = checkBackups(directoryOfBackups, settings);
        if (backups.fits === false)
          faults.push({
            file: directoryOfBackups,
            line: null,
            field: 'backup.directory',
            text: backups.text,
          });
      });
    if (api !== 'none' && api !== 'pod') await part('kubernetes.api', [api], () => kubeconfigAccess(api));
    if (cloudProgram !== null)
      await part('cloudProgram', [cloudProgram], () => accessSync(cloudProgram, constants.X_OK));
    await tryOut(
      'policy',
      () => {
        // A server begins with it where no directory is in force yet.
        const ofSettings = policyOf({ name: settings.policy, text: null }, methodsOf(settings));
        const checked = source === null ? ofSettings : policyOf(source, methodsOf(settings));
        policy = checked.name;
        warnings.push(...checked.warnings.map((warning) => placed(source?.name ?? settings.policy, warning)));
      },
      faults,
    );
  }
  return { valid: faults.length === 0, policy, faults, warnings, keys: checkedKeys, backups, absent };
}

/** For a person; the last line says how it ended. */
export function checkedText(checked: CheckedConfiguration): string {
  const { valid, policy, faults, warnings, keys, backups, absent } = checked;
  const lines = [
    ...faults.map(lineOf),
    ...warnings.map((warning) => `warning: ${lineOf(warning)}`),
    ...keys.flatMap(({ name, path, fits, text }) =>
      fits === false ? [] : [`the key ${name} (${path}): ${text}`],
    ),
    ...(backups === null || backups.fits === false
      ? []
      : [`the folder of backups (${backups.directory}): ${backups.text}`]),
    ...absent.map(({ setting, path }) => `not looked at: ${setting}: ${path} is not on this machine`),
    valid
      ? `the configuration is valid; policy ${policy}`
      : `the configuration has ${faults.length === 1 ? 'a fault' : `${faults.length} faults`}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** Whose folders these are decides: what is private of another user looks wrong to this one, and right to the server. */
function checkBackups(
  directory: string,
  { stateDir, keysDir }: Pick<ServerValues, 'stateDir' | 'keysDir'>,
): CheckedBackups {
  const [owned] = [stateDir, directory].filter((folder) => existsSync(folder));
  if (owned !== undefined && statSync(owned).uid !== process.geteuid?.())
    return { directory, fits: null, text: `not looked at: ${owned} ${ofAnotherUser}` };
  const size = () =>
    ['assay.db', 'assay.db-wal']
      .map((name) => statSync(join(stateDir, name), { throwIfNoEntry: false })?.size ?? 0)
      .reduce((sum, each) => sum + each);
  const needsRoom = (bytes: number) => isReserveTouched(stateDir, -bytes);
  try {
    checkFolder(directory, { stateDir, keysDir: keysDir ?? stateDir, size, needsRoom });
  } catch (error) {
    const why = error instanceof StorageFault ? error.cause : error;
    return { directory, fits: false, text: why instanceof Error ? why.message : String(why) };
  }
  return { directory, fits: true, text: 'this user can write there, and one more copy has room' };
}

const ofAnotherUser = 'belongs to another user; type this as the user of the server';

function methodsOf(settings: ServerValues): readonly EnrolmentMethod[] {
  const { 'kubernetes.api': api, cloudProgram, endorsementRoots } = settings;
  return offeredMethods({
    isInCluster: api !== 'none',
    cloudProgram,
    hasRoots: !endorsementRoots.includes('none'),
  });
}

/** A policy: built in, or a file; `text` where that was read already. */
interface PolicySource {
  readonly name: string;
  readonly text: string | null;
}

function policyOf({ name, text }: PolicySource, methods: readonly EnrolmentMethod[]) {
  const builtIn = text === null ? builtInPolicy(name) : null;
  if (builtIn !== null) return { name: policyLabel(builtIn), warnings: [] };
  const { policy, warnings } = checkPolicy(text ?? textOf(name), name, methods);
  return { name: policyLabel(policy), warnings };
}

function textOf(path: string): string {
  try {
    // A pipe would be waited for.
    if (!statSync(path).isFile()) throw new Error('no file');
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error && 'code' in cause ? String(cause.code) : 'it is no file';
    throw new Error(`${path} cannot be read (${why})`, { cause });
  }
}

async function tryOut(
  setting: keyof ServerValues,
  look: () => unknown,
  faults: CheckFinding[],
): Promise<void> {
  try {
    await look();
  } catch (error) {
    faults.push(...foundIn(error, setting));
  }
}

function foundIn(error: unknown, setting: string | null = null): readonly CheckFinding[] {
  if (error instanceof AggregateError) return error.errors.flatMap((each) => foundIn(each, setting));
  if (error instanceof PolicyError) return error.faults.map((fault) => placed(error.file, fault));
  if (error instanceof ConfigError)
    return error.faults.map(({ key, also, file, line, text }) => ({
      file,
      line,
      field: key === null || also.length === 0 ? key : `${key} (${also.join(', ')})`,
      text,
    }));
  return [
    { file: null, line: null, field: setting, text: error instanceof Error ? error.message : String(error) },
  ];
}

function placed(file: string, { line, field, text }: PolicyFault): CheckFinding {
  return { file, line, field, text };
}

function lineOf({ file, line, field, text }: CheckFinding): string {
  const place = file === null ? [] : [line === null ? file : `${file}:${line}`];
  return [...place, ...(field === null ? [] : [field]), text].join(': ');
}
