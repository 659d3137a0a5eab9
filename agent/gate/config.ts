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
import { tcti } from '../tcti-setting.ts';

/** Every setting of the gate; docs/reference-configuration.md follows. */
export const gateSettings = {
  servers: {
    variable: 'ASSAY_GATE_SERVERS',
    unit: 'list',
    separator: agentSettings.servers.separator,
    schema: agentSettings.servers.schema,
  },
  node: { variable: 'ASSAY_GATE_NODE', schema: agentSettings.node.schema },
  caFile: {
    variable: 'ASSAY_GATE_CA_FILE',
    schema: path.describe(
      'PEM file of the authority that vouches for the server; during a replacement, of both',
    ),
  },
  tcti: { variable: 'ASSAY_GATE_TCTI', schema: tcti },
  stateDir: {
    variable: 'ASSAY_GATE_STATE_DIR',
    schema: path
      .default('/var/lib/assay-gate')
      .describe(
        'folder of mode 0700. It keeps what the server last said, and the checkpoint of its audit log',
      ),
  },
  openFile: {
    variable: 'ASSAY_GATE_OPEN_FILE',
    schema: path
      .default('/run/assay/gate/open')
      .describe('file with which root lets kubelet start without proof, until the next boot'),
  },
  timeout: {
    variable: 'ASSAY_GATE_TIMEOUT',
    flag: '--timeout',
    unit: 'seconds',
    schema: z
      .int('not a whole number of seconds')
      .min(1, 'not at least 1 second')
      .max(86_400, 'more than a day')
      .nullable()
      .default(null)
      .describe('it holds kubelet back for good after this time, unless the policy sets an earlier one'),
  },
  sysroot: {
    variable: 'ASSAY_GATE_SYSROOT',
    schema: path
      .default('/')
      .describe('folder to use instead of `/` for `/proc`, `/sys`, `/etc`, `/boot` and `/efi`'),
  },
  logLevel: {
    variable: 'ASSAY_GATE_LOG_LEVEL',
    flag: '--log-level',
    schema: logLevel,
  },
} as const satisfies Settings;

type GateValues = SettingValues<typeof gateSettings>;

/** The value of each setting as it was given. @throws ConfigError with every fault at once */
export function gateValues(sources: SettingSources<typeof gateSettings>): GateValues {
  return resolveSettings(gateSettings, sources, () => []);
}

/** The configuration of a gate. Paths are absolute. */
export type GateConfig = Readonly<ReturnType<typeof gateConfigOf>>;

export function gateConfigOf(values: GateValues) {
  return {
    ...values,
    servers: serverAddresses(values.servers),
    caFile: resolve(values.caFile),
    stateDir: resolve(values.stateDir),
    openFile: resolve(values.openFile),
    sysroot: resolve(values.sysroot),
  };
}
