import { open } from 'node:fs/promises';
import { limits } from '../attest-server/wire/limits.ts';
import { AgentError } from './agent-error.ts';

/**
 * The token of the agent's service account, as the kubelet last wrote it: it replaces it within the hour.
 * @throws AgentError `cluster_token` (retryable), without a word of the token
 */
export async function readClusterToken(path: string): Promise<string> {
  const fault = (why: string, cause?: unknown) =>
    new AgentError('cluster_token', `the token ${path} (clusterTokenFile) ${why}`, {
      retryable: true,
      cause,
    });
  let text: string;
  try {
    await using file = await open(path);
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(limits.enrolmentToken + 2) });
    text = buffer.toString('latin1', 0, bytesRead).trim();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
    throw fault(`cannot be read${code}: mount a projected token with the audience assay there`, cause);
  }
  if (text.length > limits.enrolmentToken) throw fault(`is longer than ${limits.enrolmentToken} bytes`);
  if (!/^[A-Za-z0-9._~+/=-]+$/.test(text))
    throw fault('holds no token: it is empty, or has other characters');
  return text;
}
