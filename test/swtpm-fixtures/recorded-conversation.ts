import { readFileSync } from 'node:fs';

/** One thing that happened on a recorded connection. */
export type Recorded =
  /** The TLS exporter value, hex. */
  | { readonly channel: string }
  /** A text frame of the agent, one of its binary frames (base64), one of the server. */
  | { readonly agent: string }
  | { readonly agentBinary: string }
  | { readonly server: string }
  /** The secret in the credential that the server made, hex. */
  | { readonly activation: string };

/** What agent and server of a version said to each other, by connection. */
export function recordedConversation(version: '0.1.0'): readonly (readonly Recorded[])[] {
  const url = new URL(
    `../../swtpm-fixtures/recorded/conversation-${version}/conversation.jsonl`,
    import.meta.url,
  );
  const connections: Recorded[][] = [];
  for (const line of readFileSync(url, 'utf8').trim().split('\n')) {
    // The file is ours, and part of the repository.
    const step: Recorded = JSON.parse(line);
    if ('channel' in step) connections.push([]);
    connections.at(-1)?.push(step);
  }
  return connections;
}
