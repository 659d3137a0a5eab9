import { resolve } from 'node:path';

export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface ServerAddress {
  /** A name, or an IP address without brackets. */
  readonly host: string;
  readonly port: number;
}

/** What an agent needs to know. Paths are absolute. */
export interface AgentConfig {
  /** Tried in turn. */
  readonly servers: readonly ServerAddress[];
  readonly node: string;
  readonly tcti: string;
  readonly stateDir: string;
  /** PEM of the only authority that may vouch for the server; null where the join token names it. */
  readonly caFile: string | null;
  readonly joinTokenFile: string | null;
  /** Stands for `/` when /proc, /sys and /etc are read. */
  readonly sysroot: string;
  readonly logLevel: LogLevel;
}

/** Everything that is wrong, each with the key and variable to correct. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: readonly ConfigFault[];

  constructor(faults: readonly ConfigFault[]) {
    super(faults.map(({ key, text }) => `${key}: ${text}`).join('\n'));
    this.faults = faults;
  }
}

export interface ConfigFault {
  /** As in the file, with its variable: `node (ASSAY_NODE)`. */
  readonly key: string;
  readonly text: string;
}

/** Key in the file -> variable, which wins. */
const variables = {
  servers: 'ASSAY_SERVERS',
  node: 'ASSAY_NODE',
  tcti: 'ASSAY_TCTI',
  stateDir: 'ASSAY_STATE_DIR',
  caFile: 'ASSAY_CA_FILE',
  joinTokenFile: 'ASSAY_JOIN_TOKEN_FILE',
  sysroot: 'ASSAY_SYSROOT',
  logLevel: 'ASSAY_LOG_LEVEL',
} as const;
type Key = keyof typeof variables;

/**
 * Builds the configuration from a parsed file (null where there is none) and the environment.
 * @throws ConfigError with every fault at once
 */
export function buildConfig(
  file: unknown,
  environment: Readonly<Record<string, string | undefined>>,
): AgentConfig {
  const faults: ConfigFault[] = [];
  const settings = readSettings(file, faults);
  const take = <T>(key: Key, fallback: T, read: (value: unknown) => T): T => {
    const value = environment[variables[key]] || settings.get(key);
    if (value === undefined || value === null) return fallback;
    try {
      return read(value);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      faults.push({ key: `${key} (${variables[key]})`, text: error.message });
      return fallback;
    }
  };
  const missing = (key: Key, text: string) => {
    if (!faults.some((fault) => fault.key.startsWith(`${key} `)))
      faults.push({ key: `${key} (${variables[key]})`, text });
  };

  const config: AgentConfig = {
    servers: take('servers', [], readServers),
    node: take('node', '', readNode),
    tcti: take('tcti', 'device:/dev/tpmrm0', readTcti),
    stateDir: take('stateDir', '/var/lib/assay-agent', readPath),
    caFile: take('caFile', null, readPath),
    joinTokenFile: take('joinTokenFile', null, readPath),
    sysroot: take('sysroot', '/', readPath),
    logLevel: take('logLevel', 'info', readLogLevel),
  };
  if (config.servers.length === 0) missing('servers', 'is missing: name at least one host:port');
  if (config.node === '') missing('node', "is missing: give this node's name");
  if (config.caFile === null && config.joinTokenFile === null) {
    missing('caFile', "is missing: name the file with the server's authority, or give a joinTokenFile");
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return config;
}

function readSettings(file: unknown, faults: ConfigFault[]): ReadonlyMap<string, unknown> {
  if (file === null || file === undefined) return new Map();
  if (typeof file !== 'object' || Array.isArray(file)) {
    faults.push({ key: 'file', text: 'is not a mapping of keys to values' });
    return new Map();
  }
  for (const key of Object.keys(file)) {
    if (!Object.hasOwn(variables, key))
      faults.push({ key, text: `is no key; there are ${Object.keys(variables).join(', ')}` });
  }
  return new Map(Object.entries(file));
}

function readServers(value: unknown): readonly ServerAddress[] {
  const texts = typeof value === 'string' ? value.split(/[\s,]+/).filter(Boolean) : value;
  if (!Array.isArray(texts) || texts.length === 0 || texts.length > 16)
    throw new RangeError('is not a list of 1 to 16 host:port');
  return texts.map(readServer);
}

function readServer(text: unknown): ServerAddress {
  const found =
    /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):(\d{1,5})$/.exec(
      readText(text),
    );
  const port = Number(found?.[4]);
  const host = found?.[1] ?? found?.[2];
  if (host === undefined || port < 1 || port > 65_535)
    throw new RangeError(`${quoted(text)} is not host:port (an IPv6 address in brackets)`);
  return { host, port };
}

/** The rule of the protocol's `nodeName`, which a test holds it to; loading the protocol takes 0.1 s. */
function readNode(value: unknown): string {
  const text = readText(value);
  if (text.length > 253 || !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text))
    throw new RangeError(`${quoted(text)} is not a node name (lower-case RFC 1123)`);
  return text;
}

/** node-tpm2 judges the rest when it opens the TPM. */
function readTcti(value: unknown): string {
  const text = readText(value);
  if (!/^[a-z]+:[\x21-\x7e]+$/.test(text))
    throw new RangeError(`${quoted(text)} names no TPM: write device:/dev/tpmrm0 or swtpm:path=/run/socket`);
  return text;
}

function readPath(value: unknown): string {
  const text = readText(value);
  if (text === '' || text.includes('\0')) throw new RangeError('is not a path');
  return resolve(text);
}

function readLogLevel(value: unknown): LogLevel {
  const level = logLevels.find((name) => name === value);
  if (level === undefined) throw new RangeError(`is not one of ${logLevels.join(', ')}`);
  return level;
}

function readText(value: unknown): string {
  if (typeof value !== 'string') throw new RangeError('is not a text');
  return value;
}

function quoted(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? 'it';
}
