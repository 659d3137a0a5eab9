/** Why the agent cannot go on, or not now. */
export type AgentErrorCode =
  | 'state_dir'
  | 'out_folder'
  | 'ca_file'
  | 'join_token'
  | 'cluster_token'
  | 'tpm_broker'
  | 'netfilter'
  | 'health'
  | 'server_identity'
  | 'connect_failed'
  | 'channel_closed'
  | 'facts_unavailable'
  | 'malformed'
  | 'key_memory'
  | 'key_socket'
  | 'luks_header'
  | 'cap'
  | 'format'
  | 'rotate';

/** A fault outside of the TPM. It never carries a secret. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly code: AgentErrorCode;
  /** Whether the same may succeed later without anybody doing something. */
  readonly retryable: boolean;

  constructor(
    code: AgentErrorCode,
    message: string,
    { retryable = false, cause }: { readonly retryable?: boolean; readonly cause?: unknown } = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.retryable = retryable;
  }
}
