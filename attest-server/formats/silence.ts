import type { LastWords } from '../wire/last-words.ts';

/** Causes of the end of a connection: `agent` and `server` closed it, `reset`: it broke off, `timeout`: a ping was not answered. */
export const connectionEnds = ['agent', 'server', 'reset', 'timeout'] as const;

/** The end of the latest connection on which a node's agent was proven. Moments are milliseconds since the epoch. */
export interface EndedConnection {
  readonly at: number;
  /** When anything last came on it. */
  readonly heardAt: number;
  readonly by: (typeof connectionEnds)[number];
  /** Of the close frame (RFC 6455, 7.4); null if there was none, or it had none. */
  readonly status: number | null;
  /** The last words of the agent, as far as they are known ones; or why this server closed it. */
  readonly reason: string | null;
}

/** Status of the condition Ready of a Node of the cluster, which its kubelet keeps; the cluster itself says `Unknown` for it. */
export const kubeletStatuses = ['True', 'False', 'Unknown'] as const;
export type KubeletStatus = (typeof kubeletStatuses)[number];

/** A connection that stands. */
interface StandingConnection {
  readonly since: number;
  readonly heardAt: number;
}

/** The text of `evidence_overdue`, of one sentence: in a cluster the first is shown. @param how as of `silenceText`; null: not known */
export function overdueText(how: string | null): string {
  return `The node has not proven itself lately${how === null ? '' : `: ${how}`}.`;
}

/** How it came that a node is silent, as a clause for a person. */
export function silenceText(connection: StandingConnection | EndedConnection): string {
  const heard = moment(connection.heardAt);
  if (!('by' in connection))
    // Stored, it is read when the connection is long gone.
    return `its agent connected at ${moment(connection.since)} and was last heard at ${heard}, but does not answer`;
  const { at, by, status, reason } = connection;
  if (by === 'reset') return `its connection broke off at ${moment(at)}, without a goodbye`;
  if (by === 'timeout') return `nothing has come from it since ${heard}`;
  const because = reason ?? (status === null ? null : `status ${status}`);
  if (by === 'server')
    return `this server closed its connection at ${moment(at)}${because === null ? '' : ` (${because})`}`;
  const said = reason === null ? undefined : sayings.get(reason);
  const why = said === undefined ? (because === null ? '' : ` (${because})`) : `, and said that ${said}`;
  return `its agent closed the connection at ${moment(at)}${why}`;
}

const words: Readonly<Record<LastWords, string>> = {
  stopped: 'it was told to stop',
  tpm_broker: 'its TPM broker does not answer',
  tpm: 'its TPM does not do what it is asked',
  protocol: 'it does not take what this server says',
  failed: 'it cannot go on',
};
const sayings: ReadonlyMap<string, string> = new Map(Object.entries(words));

function moment(at: number): string {
  return new Date(at).toISOString();
}
