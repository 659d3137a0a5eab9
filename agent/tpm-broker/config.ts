import { resolve } from 'node:path';
import {
  type LogLevel,
  logLevel,
  path,
  resolveSettings,
  type SettingSources,
  type Settings,
} from '../../attest-server/settings/settings.ts';
import { tcti } from '../tcti-setting.ts';

export interface BrokerConfig {
  /** Absolute. */
  readonly socket: string;
  readonly tcti: string;
  /** Socket at which it says whether it is alive; null: nowhere. Absolute. */
  readonly healthSocket: string | null;
  readonly logLevel: LogLevel;
}

/** Every setting of the TPM broker; docs/reference-configuration.md follows. */
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
  healthSocket: {
    variable: 'ASSAY_TPM_BROKER_HEALTH_SOCKET',
    flag: '--health-socket',
    schema: path
      .nullable()
      .default(null)
      .describe('Unix socket at which it tells `assay-agent health` whether it is alive, and has a TPM'),
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
  const sources = { file: null, environment, flags };
  const { socket, healthSocket, ...values } = resolveSettings(brokerSettings, sources, () => []);
  return {
    ...values,
    socket: resolve(socket),
    healthSocket: healthSocket === null ? null : resolve(healthSocket),
  };
}
