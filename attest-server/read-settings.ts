import { readFile } from 'node:fs/promises';
import { formerServerSettings, serverValues } from './config.ts';
import { readConfigFile } from './settings/config-file.ts';
import { type IgnoredSetting, ignoredSettings } from './settings/settings.ts';

/** The options of `assay-server` that stand for settings. */
export interface StartFlags {
  readonly config?: string;
  readonly stateDir?: string;
  readonly policy?: string;
  readonly logLevel?: string;
}

export interface ReadSettings {
  readonly values: ReturnType<typeof serverValues>;
  readonly ignored: readonly IgnoredSetting[];
}

/** @throws ConfigError with every fault at once, those of the policy too */
export async function readSettings(
  { config: path, stateDir, policy, logLevel }: StartFlags,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<ReadSettings> {
  const file = path === undefined ? null : await readConfigFile(path, () => readFile(path, 'utf8'));
  const sources = { file, environment, flags: { stateDir, policy, logLevel } };
  try {
    return { values: serverValues(sources), ignored: ignoredSettings(formerServerSettings, sources) };
  } catch (error) {
    const { withFaultsOfPolicy } = await import('./start-fault.ts');
    const inFile: unknown = Object(file?.value).policy;
    throw await withFaultsOfPolicy(error, [policy, environment.ASSAY_POLICY, inFile]);
  }
}
