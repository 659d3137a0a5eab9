import { once } from 'node:events';
import { request } from 'node:https';
import { type Check, finding, okay } from '../../attest-server/wire/checks.ts';
import { openChannel } from '../channel.ts';
import type { AgentConfig, ServerAddress } from '../config.ts';
import { describeFault } from '../describe-fault.ts';
import { type JoinToken, readJoinToken } from '../join-token.ts';
import { readTrust } from '../server-identity.ts';
import { type StateDir, stateReader } from '../state-dir.ts';

const within = 15_000;
/** Seconds between two clocks by which a certificate that is new or at its end is misjudged. */
const mostApart = 60;

/** Whether each server answers, vouched for by an authority that the agent trusts, and how far its clock is from ours. */
export async function checkServers(config: AgentConfig, signal: AbortSignal): Promise<readonly Check[]> {
  const state: StateDir = {
    wasOpened: null,
    ...stateReader(config.stateDir),
    write: async () => {},
    remove: async () => {},
  };
  const checks = await Promise.all(
    config.servers.map((server) =>
      checkServer(server, config, state, AbortSignal.any([signal, AbortSignal.timeout(within)])),
    ),
  );
  return checks.flat();
}

async function checkServer(
  server: ServerAddress,
  { caFile, joinTokenFile }: AgentConfig,
  state: StateDir,
  signal: AbortSignal,
): Promise<readonly Check[]> {
  const name = `server ${server.host}:${server.port}`;
  try {
    const joinToken: JoinToken | null = joinTokenFile === null ? null : await readJoinToken(joinTokenFile);
    const { pem, digests } = await readTrust({ caFile, joinToken, state }, server, signal);
    const channel = await openChannel({ server, authority: pem, takes: new Map(), signal });
    const { validTo, issuer } = channel.peer;
    channel.close();
    const authority = `${issuer.replaceAll('\n', ', ')} (one of ${digests.map((each) => each.slice(0, 12)).join(', ')})`;
    return [
      okay(name, `vouched for by ${authority}, until ${new Date(validTo).toISOString()}`),
      await compareClocks(server, pem, signal),
    ];
  } catch (error) {
    const next = `openssl s_client -tls1_3 -connect ${server.host}:${server.port}`;
    return [finding(name, 'failed', describeFault(error).text, next)];
  }
}

async function compareClocks({ host, port }: ServerAddress, ca: string, signal: AbortSignal): Promise<Check> {
  const name = `clock of ${host}:${port}`;
  const next = 'timedatectl status';
  try {
    const asked = request({ host, port, path: '/', ca, minVersion: 'TLSv1.3', agent: false, signal });
    asked.end();
    const [answer] = await once(asked, 'response');
    const theirs = Date.parse(String(answer.headers.date));
    answer.destroy();
    if (!Number.isFinite(theirs)) return finding(name, 'not looked at', 'the server does not tell it', next);
    const seconds = Math.round((Date.now() - theirs) / 1000);
    return Math.abs(seconds) <= mostApart
      ? okay(name, `${seconds} s apart`)
      : finding(name, 'failed', `it is ${seconds} s apart from this one`, next);
  } catch (error) {
    return finding(name, 'not looked at', describeFault(error).text, next);
  }
}
