import { resolve } from 'node:path';
import {
  type LogLevel,
  logLevel,
  path,
  resolveSettings,
  type SettingSources,
  type Settings,
} from '../../attest-server/protocol/settings.ts';
import { tcti } from '../tcti-setting.ts';

export interface BrokerConfig {
  /** Absolute. */
  readonly socket: string;
  readonly tcti: string;
  readonly logLevel: LogLevel;
}

/** Every setting of the TPM broker; docs/privileges.md has them as a table. */
export const brokerSettings = {
  socket: {
    variable: 'ASSAY_TPM_BROKER_SOCKET',
    flag: '--socket',
    schema: path
      .default('/run/assay/tpm.sock')
      .describe('Unix socket to listen on; its group is that of the process, its mode 0660'),
  },
  tcti: {
    variable: 'ASSAY_TPM_BROKER_TCTI',
    flag: '--tcti',
    schema: tcti,
  },
  logLevel: {
    variable: 'ASSAY_TPM_BROKER_LOG_LEVEL',
    flag: '--log-level',
    schema: logLevel.default('info').describe('as for the server'),
  },
} as const satisfies Settings;

/** @throws ConfigError with every fault at once */
export function brokerConfig(
  environment: SettingSources<typeof brokerSettings>['environment'],
  flags: SettingSources<typeof brokerSettings>['flags'],
): BrokerConfig {
  const { socket, ...values } = resolveSettings(brokerSettings, { file: null, environment, flags }, () => []);
  return { ...values, socket: resolve(socket) };
}
