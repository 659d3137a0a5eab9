import { resolve } from 'node:path';
import {
  logLevel,
  path,
  resolveSettings,
  type SettingSources,
  type Settings,
} from '../../attest-server/settings/settings.ts';
import { tcti } from '../tcti-setting.ts';

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
    schema: logLevel,
  },
} as const satisfies Settings;

/** Paths are absolute. */
export type BrokerConfig = Readonly<ReturnType<typeof brokerConfig>>;

/** @throws ConfigError with every fault at once */
export function brokerConfig(
  environment: SettingSources<typeof brokerSettings>['environment'],
  flags: SettingSources<typeof brokerSettings>['flags'],
) {
  const sources = { file: null, environment, flags };
  const values = resolveSettings(brokerSettings, sources, () => []);
  return {
    ...values,
    socket: resolve(values.socket),
    healthSocket: values.healthSocket === null ? null : resolve(values.healthSocket),
  };
}
