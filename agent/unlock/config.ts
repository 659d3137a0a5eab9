import { resolve } from 'node:path';
import { z } from 'zod';
import {
  logLevel,
  path,
  resolveSettings,
  type SettingSources,
  type Settings,
  type SettingValues,
} from '../../attest-server/settings/settings.ts';
import { agentSettings, serverAddresses } from '../config.ts';
import { gateSettings } from '../gate/config.ts';
import { tcti } from '../tcti-setting.ts';

/** Every setting of `unlock`, `format`, `rotate` and `cap`, which read one file; docs/reference-configuration.md follows. */
export const unlockSettings = {
  servers: {
    variable: 'ASSAY_UNLOCK_SERVERS',
    unit: 'list',
    separator: agentSettings.servers.separator,
    schema: agentSettings.servers.schema,
  },
  node: { variable: 'ASSAY_UNLOCK_NODE', schema: agentSettings.node.schema },
  caFile: {
    variable: 'ASSAY_UNLOCK_CA_FILE',
    schema: gateSettings.caFile.schema,
  },
  volume: {
    variable: 'ASSAY_UNLOCK_VOLUME',
    flag: '--volume',
    schema: z
      .string('not a LUKS UUID')
      .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'not a LUKS UUID in lower case')
      .nullable()
      .default(null)
      .describe('LUKS UUID of the volume whose key is asked for, as `assay disk list -o wide` shows it'),
  },
  tcti: { variable: 'ASSAY_UNLOCK_TCTI', schema: tcti },
  stateDir: {
    variable: 'ASSAY_UNLOCK_STATE_DIR',
    schema: path
      .default('/var/lib/assay-unlock')
      .describe('folder of mode 0700. It keeps the authorities that the server announced'),
  },
  runtimeDir: {
    variable: 'ASSAY_UNLOCK_RUNTIME_DIR',
    schema: path
      .default('/run/assay-unlock')
      .describe(
        'folder of mode 0700 in which `unlock` leaves, for `cap` and `rotate`, which volumes it opened, and whose key is replaced',
      ),
  },
  capDir: {
    variable: 'ASSAY_UNLOCK_CAP_DIR',
    schema: path
      .default('/run/assay-cap')
      .describe('folder of mode 0700 in which `cap` keeps that this boot is capped'),
  },
  timeout: {
    variable: 'ASSAY_UNLOCK_TIMEOUT',
    flag: '--timeout',
    unit: 'seconds',
    schema: z
      .int('not a whole number of seconds')
      .min(1, 'not at least 1 second')
      .max(86_400, 'more than a day')
      .default(300)
      .describe('after this time it gives up, and systemd asks for the recovery passphrase on the console'),
  },
  sysroot: {
    variable: 'ASSAY_UNLOCK_SYSROOT',
    schema: gateSettings.sysroot.schema,
  },
  logLevel: { variable: 'ASSAY_UNLOCK_LOG_LEVEL', flag: '--log-level', schema: logLevel },
} as const satisfies Settings;

type UnlockValues = SettingValues<typeof unlockSettings>;

/** The value of each setting as it was given. @throws ConfigError with every fault at once */
export function unlockValues(sources: SettingSources<typeof unlockSettings>): UnlockValues {
  return resolveSettings(unlockSettings, sources, () => []);
}

/** Paths are absolute, times in milliseconds. */
export type UnlockConfig = Readonly<ReturnType<typeof unlockConfigOf>>;

export function unlockConfigOf(values: UnlockValues) {
  return {
    ...values,
    servers: serverAddresses(values.servers),
    timeout: values.timeout * 1000,
    caFile: resolve(values.caFile),
    stateDir: resolve(values.stateDir),
    runtimeDir: resolve(values.runtimeDir),
    capDir: resolve(values.capDir),
    sysroot: resolve(values.sysroot),
  };
}
