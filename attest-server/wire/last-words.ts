/**
 * The last words of an agent: why it closes its connection, as the reason of the close frame (RFC 6455, 7.1.6), of
 * which servers of 0.3.0 take no notice. They are a claim of the node, and prove nothing.
 *
 * `stopped`: it was told to end. `tpm_broker`: its TPM broker does not answer. `tpm`: its TPM does not do what it is
 * asked. `protocol`: it does not take what the server says. `failed`: it could not go on; its log says why.
 */
export const lastWords = ['stopped', 'tpm_broker', 'tpm', 'protocol', 'failed'] as const;
export type LastWords = (typeof lastWords)[number];

/** The words of this list; null for all else. @param reason of a close frame */
export function knownLastWords(reason: string): LastWords | null {
  return lastWords.find((known) => known === reason) ?? null;
}
