import { resolve } from 'node:path';
import { ConfigError, type ConfigFault } from '../../attest-server/settings/config-error.ts';
import type { LogLevel } from '../../attest-server/settings/settings.ts';

export interface NetfilterConfig {
  /** Absolute, as is that of the namespace. */
  readonly socket: string;
  readonly netns: string | null;
  /** Socket at which it says that it is alive; null: nowhere. */
  readonly healthSocket: string | null;
  readonly logLevel: LogLevel;
}

/** The levels of `settings`, which loads the schema library. */
const logLevels = [
  'fatal',
  'error',
  'warn',
  'info',
  'debug',
  'trace',
  'silent',
] as const satisfies readonly LogLevel[];

type Key = keyof NetfilterConfig;

const variables = {
  socket: 'ASSAY_NETFILTER_SOCKET',
  netns: 'ASSAY_NETFILTER_NETNS',
  healthSocket: 'ASSAY_NETFILTER_HEALTH_SOCKET',
  logLevel: 'ASSAY_NETFILTER_LOG_LEVEL',
} as const satisfies Record<Key, string>;
const flagOf = {
  socket: '--socket',
  netns: '--netns',
  healthSocket: '--health-socket',
  logLevel: '--log-level',
} as const satisfies Record<Key, string>;

/**
 * By flags, which win, and variables; docs/privileges.md has them as a table. Without the schema library: it would be
 * a third of what this program holds in memory.
 * @throws ConfigError with every fault at once
 */
export function netfilterConfig(
  environment: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Partial<Record<Key, string | undefined>>>,
): NetfilterConfig {
  const faults: ConfigFault[] = [];
  const fault = (key: Key, text: string) =>
    faults.push({ key, also: [variables[key], flagOf[key]], file: null, line: null, text });
  // An empty variable is none, as for every program.
  const given = (key: Key) => flags[key] ?? (environment[variables[key]] || undefined);
  const pathOf = (key: Key): string | null => {
    const text = given(key);
    if (text === undefined) return null;
    if (text === '' || text.includes('\0')) fault(key, 'not a path');
    return resolve(text);
  };
  const named = given('logLevel') ?? 'info';
  const logLevel = logLevels.find((level) => level === named);
  if (logLevel === undefined) fault('logLevel', `not one of ${logLevels.join(', ')}`);
  const socket = pathOf('socket') ?? '/run/assay/netfilter.sock';
  const netns = pathOf('netns');
  const healthSocket = pathOf('healthSocket');
  if (faults.length > 0) throw new ConfigError(faults);
  return { socket, netns, healthSocket, logLevel: logLevel ?? 'info' };
}
