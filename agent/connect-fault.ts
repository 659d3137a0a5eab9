import { plainNames } from '../attest-server/wire/certificates.ts';

/** The message where a server does not open the WebSocket in time. */
export const openedLate = 'it took too long to open the connection';

/** Why the agent did not reach a server, for whoever reads its log: what is wrong, and what to do. */
export function connectFault(error: Error): string {
  const code = textOf(error, 'code');
  if (code === 'ECONNREFUSED')
    return `nothing listens there (ECONNREFUSED): see whether the server runs on that machine, and whether the port is right. ${whereAgentsConnect}`;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `no address is known for that name (${code}): see whether servers of this agent's configuration has it right, and whether the name server of this machine knows it`;
  if (unreachable.has(code) || error.message === openedLate)
    return `no answer from there (${code || 'timeout'}): see whether the machine runs, and whether a firewall lets that port through`;
  if (code === 'EPROTO' && /wrong version number|packet length too long/i.test(error.message))
    return `what listens there does not speak TLS: is it the port of the metrics? ${whereAgentsConnect}`;
  const [, status = ''] = /^Unexpected server response: (\d+)$/.exec(error.message) ?? [];
  if (otherPorts.has(status))
    return `what listens there takes no agents (status ${status}): is it the port of the API? ${whereAgentsConnect}`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return notForHost(textOf(error, 'host'), namesOf(fieldOf(error, 'cert')));
  if (/SELF_SIGNED|UNABLE_TO_|CERT_SIGNATURE/.test(code))
    return `no authority that this agent trusts signed the certificate of the server (${code}): give tls/ca.crt of the server's state folder as caFile; if its authority was replaced while this node was away, the new one, or a new join token (assay join-token create --node NODE)`;
  return error.message.trim();
}

/** @param names as certificates write them: `DNS:localhost, IP Address:127.0.0.1` */
export function notForHost(host: string, names: string | undefined): string {
  const shown = plainNames(names ?? '') || 'no name';
  return `its certificate is for ${shown}, and not for ${host}: name one of these in servers of this agent's configuration, or add ${host} to names (ASSAY_NAMES) of the server and restart it`;
}

const whereAgentsConnect =
  'Agents connect to the port agentPort of the server, 8443 where nothing else is set';

const unreachable: ReadonlySet<string> = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']);

/** As an API answers on a path that it does not have, or without a token. */
const otherPorts: ReadonlySet<string> = new Set(['401', '404', '405', '426']);

function namesOf(certificate: unknown): string | undefined {
  const names = fieldOf(certificate, 'subjectaltname');
  return typeof names === 'string' ? names : undefined;
}

function textOf(error: Error, field: string): string {
  return String(fieldOf(error, field) ?? '');
}

function fieldOf(value: unknown, field: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, field) : undefined;
}
