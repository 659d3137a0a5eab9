/**
 * `assay-agent doctor`: whether this node has all that its agent needs. `tpm`, `readings` and `servers` look at one
 * thing each, as the agent does, and change nothing; `in-pod` says what to type where the agent is a container.
 */

import { access, lstat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { ConfigError } from '../../attest-server/settings/config-error.ts';
import { type ConfigFile, resolveSettings } from '../../attest-server/settings/settings.ts';
import { shellWord } from '../../attest-server/wire/advice.ts';
import { type Check, finding, okay } from '../../attest-server/wire/checks.ts';
import { type AgentConfig, agentSettings, buildConfig } from '../config.ts';
import { askHealth } from '../health/ask-health.ts';
import { inPod } from './in-pod.ts';
import { checkReadings } from './readings.ts';
import { checkServers } from './servers.ts';
import { checkTpm } from './tpm.ts';

const { tcti, tpmBroker, netfilter, sysroot, clusterTokenFile } = agentSettings;
const localSettings = { tcti, tpmBroker, netfilter, sysroot, clusterTokenFile };

/**
 * @param path of the configuration; null if none is named
 * @param signal ends what is under way
 */
export async function examine(
  path: string | null,
  readFile: (path: string) => Promise<ConfigFile>,
  environment: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<readonly Check[]> {
  const { config, check } = await readConfiguration(path, readFile, environment);
  // A machine without a configuration can be looked at, too.
  const local = config ?? localOf(environment);
  // A kubelet gives it to each container.
  const isInPod = environment.KUBERNETES_SERVICE_HOST !== undefined;
  const checks = [
    check,
    ...(await checkTpm(local, config?.node ?? hostname(), signal)),
    ...(await checkReadings(local, isInPod, signal)),
    await checkClock(local.sysroot, isInPod),
    ...(config === null ? [] : [await checkState(config), ...(await checkHealth(config))]),
    ...(config === null
      ? [finding('server', 'not looked at', 'no configuration names one', configure(path))]
      : await checkServers(config, signal)),
  ];
  return isInPod ? inPod(checks, local) : checks;
}

function configure(path: string | null): string {
  return `sudo assay-agent doctor --config ${shellWord(path ?? '/etc/assay/agent.yaml')}`;
}

async function readConfiguration(
  path: string | null,
  readFile: (path: string) => Promise<ConfigFile>,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<{ readonly config: AgentConfig | null; readonly check: Check }> {
  try {
    const config = buildConfig(path === null ? null : await readFile(path), environment);
    return { config, check: okay('configuration', `this node is ${config.node}`) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: null, check: finding('configuration', 'failed', error.message, configure(path)) };
  }
}

function localOf(environment: Readonly<Record<string, string | undefined>>) {
  try {
    return resolveSettings(localSettings, { file: null, environment, flags: {} }, () => []);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return resolveSettings(localSettings, { file: null, environment: {}, flags: {} }, () => []);
  }
}

/** Of systemd-timesyncd alone a file says so; other programs are asked by people. */
async function checkClock(sysroot: string, isInPod: boolean): Promise<Check> {
  const next = 'timedatectl status';
  if (isInPod) return finding('clock', 'not looked at', 'no pod sees who sets the clock of its node', next);
  const isSet = await access(`${sysroot.replace(/\/$/, '')}/run/systemd/timesync/synchronized`).then(
    () => true,
    () => false,
  );
  return isSet
    ? okay('clock', 'systemd-timesyncd has set it')
    : finding('clock', 'not looked at', 'systemd-timesyncd has not set it; another program may have', next);
}

async function checkState({ stateDir }: AgentConfig): Promise<Check> {
  try {
    const found = await lstat(stateDir);
    const isPrivate = found.isDirectory() && (found.mode & 0o077) === 0;
    return isPrivate
      ? okay('state folder', stateDir)
      : finding(
          'state folder',
          'failed',
          `${stateDir} is not private, and the agent refuses it`,
          `chmod 700 ${shellWord(stateDir)}`,
        );
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    return isMissing
      ? finding(
          'state folder',
          'warning',
          `${stateDir} is missing: no agent has started here`,
          'systemctl start assay-agent',
        )
      : finding(
          'state folder',
          'not looked at',
          `this user may not read ${stateDir}`,
          'sudo assay-agent doctor',
        );
  }
}

async function checkHealth({ healthSocket }: AgentConfig): Promise<readonly Check[]> {
  if (healthSocket === null)
    return [finding('agent', 'not looked at', 'healthSocket is not set', 'systemctl status assay-agent')];
  const { isAlive, isReady, text } = await askHealth(healthSocket, 2_000);
  return [
    isAlive && isReady
      ? okay('agent', text)
      : finding('agent', isAlive ? 'warning' : 'failed', text, 'journalctl -u assay-agent -n 20'),
  ];
}
