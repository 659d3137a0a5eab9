import { resolve } from 'node:path';
import { z } from 'zod';
import {
  type ConfigFile,
  logLevel,
  path,
  resolveSettings,
  type SettingFlags,
  type SettingSources,
  type Settings,
  type SettingValues,
} from '../attest-server/settings/settings.ts';
import { nodeName } from '../attest-server/wire/messages.ts';
import { tcti } from './tcti-setting.ts';

export interface ServerAddress {
  /** A name, or an IP address without brackets. */
  readonly host: string;
  readonly port: number;
}

const notList = 'not a list of 1 to 16 host:port';
const notAddress = 'not host:port (an IPv6 address in brackets)';
/** A name or bracketed address, and a port from 1 to 65535. */
const address =
  /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):(0{0,4}[1-9]|0{0,3}[1-9]\d|0{0,2}[1-9]\d{2}|0?[1-9]\d{3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;

/** Every key of the agent's configuration; docs/reference-configuration.md follows. */
export const agentSettings = {
  servers: {
    variable: 'ASSAY_AGENT_SERVERS',
    unit: 'list',
    separator: /[\s,]+/,
    schema: z
      .array(z.string(notAddress).regex(address, notAddress), notList)
      .min(1, notList)
      .max(16, notList)
      .describe('1 to 16 `host:port`, tried in turn; separated by commas or blanks in the variable'),
  },
  node: {
    variable: 'ASSAY_AGENT_NODE',
    schema: nodeName.describe("this node's name (lower-case RFC 1123)"),
  },
  caFile: {
    variable: 'ASSAY_AGENT_CA_FILE',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'PEM file of the authority that vouches for the server; during a replacement, of the old and the new one',
      ),
  },
  joinTokenFile: {
    variable: 'ASSAY_AGENT_JOIN_TOKEN_FILE',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'file with a join token, which also names the authority. Either this or `caFile` is required',
      ),
  },
  clusterTokenFile: {
    variable: 'ASSAY_AGENT_CLUSTER_TOKEN_FILE',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'in a cluster, the projected token of its service account, with the audience `assay`; read again at each connection',
      ),
  },
  tcti: {
    variable: 'ASSAY_AGENT_TCTI',
    schema: tcti,
  },
  tpmBroker: {
    variable: 'ASSAY_AGENT_TPM_BROKER',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'socket of `assay-agent tpm-broker`, which holds the TPM; `tcti` is then ignored. Without it the agent opens the TPM itself',
      ),
  },
  netfilter: {
    variable: 'ASSAY_AGENT_NETFILTER',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'socket of `assay-agent netfilter`, which reads the firewall rules. Without it the agent reads them itself, if it has the right and `sysroot` is `/`',
      ),
  },
  stateDir: {
    variable: 'ASSAY_AGENT_STATE_DIR',
    schema: path
      .default('/var/lib/assay-agent')
      .describe(
        "folder of mode 0700. It keeps the server's authority and those announced later, a record that the node is enrolled, and the latest checkpoint of the server's audit log",
      ),
  },
  sysroot: {
    variable: 'ASSAY_AGENT_SYSROOT',
    schema: path
      .default('/')
      .describe('folder to use instead of `/` for `/proc`, `/sys`, `/etc`, `/boot` and `/efi`'),
  },
  watch: {
    variable: 'ASSAY_AGENT_WATCH',
    schema: z
      .boolean('neither true nor false')
      .default(true)
      .describe(
        'whether the agent looks for changes of mounts, device mappings, listening sockets and the firewall, and asks to be challenged at once; otherwise the next challenge finds them',
      ),
  },
  healthSocket: {
    variable: 'ASSAY_AGENT_HEALTH_SOCKET',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'Unix socket at which the agent tells `assay-agent health` whether it is alive and ready; its mode is 0660, and nobody else may write its folder',
      ),
  },
  logLevel: {
    variable: 'ASSAY_AGENT_LOG_LEVEL',
    flag: '--log-level',
    schema: logLevel,
  },
} as const satisfies Settings;

/** @throws ConfigError with every fault at once */
export function buildConfig(
  file: ConfigFile | null,
  environment: Readonly<Record<string, string | undefined>>,
  flags: SettingFlags<typeof agentSettings> = {},
): AgentConfig {
  return configOf(agentValues({ file, environment, flags }));
}

type AgentValues = SettingValues<typeof agentSettings>;

/** The value of each setting as it was given. @throws ConfigError with every fault at once */
export function agentValues(sources: SettingSources<typeof agentSettings>): AgentValues {
  return resolveSettings(agentSettings, sources, ({ caFile, joinTokenFile }) =>
    caFile === null && joinTokenFile === null
      ? [
          {
            key: 'caFile',
            text: "is missing: name the file with the server's authority, or give a joinTokenFile",
          },
        ]
      : [],
  );
}

/** The configuration of an agent. Paths are absolute, and null if nothing was given. */
export type AgentConfig = Readonly<ReturnType<typeof configOf>>;

export function configOf(values: AgentValues) {
  const absolute = (path: string | null) => (path === null ? null : resolve(path));
  return {
    ...values,
    servers: serverAddresses(values.servers),
    caFile: absolute(values.caFile),
    joinTokenFile: absolute(values.joinTokenFile),
    clusterTokenFile: absolute(values.clusterTokenFile),
    tpmBroker: absolute(values.tpmBroker),
    netfilter: absolute(values.netfilter),
    stateDir: resolve(values.stateDir),
    sysroot: resolve(values.sysroot),
    healthSocket: absolute(values.healthSocket),
  };
}

/** The addresses in the texts of the setting `servers`. */
export function serverAddresses(texts: readonly string[]): readonly ServerAddress[] {
  return texts.map(addressOf).filter((address) => address !== null);
}

function addressOf(text: string): ServerAddress | null {
  const found = address.exec(text);
  const host = found?.[1] ?? found?.[2];
  return host === undefined ? null : { host, port: Number(found?.[4]) };
}
