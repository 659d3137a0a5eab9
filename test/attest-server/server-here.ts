import assert from 'node:assert/strict';
import { pino } from 'pino';
import { configOf, type ServerConfig, serverConfig, serverValues } from '../../attest-server/config.ts';
import { startServer } from '../../attest-server/server.ts';
import { type StartFault, startFault } from '../../attest-server/start-fault.ts';

/** On free ports of the loopback. */
const local = {
  ASSAY_HOST: '127.0.0.1',
  ASSAY_AGENT_PORT: '0',
  ASSAY_API_PORT: '0',
  ASSAY_METRICS_PORT: '0',
};

/** Of a server on this state folder. */
export function localConfig(stateDir: string): ServerConfig {
  return serverConfig(null, local, { stateDir });
}

/**
 * What the program says of a server that does not start, of one in this process: loading all of it takes long. Fails where it
 * starts.
 * @param environment over free ports of the loopback
 */
export async function faultOfStart(
  environment: Readonly<Record<string, string>>,
  flags: Readonly<Record<string, string>> = {},
): Promise<StartFault> {
  const values = serverValues({ file: null, environment: { ...local, ...environment }, flags });
  try {
    await using _server = await startServer(configOf(values), { logger: pino({ level: 'silent' }) });
  } catch (error) {
    return startFault(error, values);
  }
  return assert.fail('it starts');
}
