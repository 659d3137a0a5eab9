import { readFile } from 'node:fs/promises';
import { AgentError } from './agent-error.ts';

/** A one-time word from the server's operator: who may join, and by which authority the server is known. */
export interface JoinToken {
  /** `<id>.<secret>`, what the server wants to see. Never logged. */
  readonly presented: string;
  /** SHA-256 of the SubjectPublicKeyInfo of the server's authority, hex. */
  readonly authorityDigest: string;
}

/**
 * `assay-join.v1.<id>.<secret, 32 bytes base64url>.<SHA-256 of the authority's SPKI, hex>`
 * @throws AgentError `join_token`, without a word of the token
 */
export function parseJoinToken(text: string): JoinToken {
  const found =
    /^assay-join\.v1\.(?<presented>[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{43})\.(?<digest>[0-9a-f]{64})$/.exec(
      text.trim(),
    );
  const { presented, digest } = found?.groups ?? {};
  if (presented === undefined || digest === undefined)
    throw new AgentError('join_token', 'the join token is not whole: make one with assay join-token create');
  return { presented, authorityDigest: digest };
}

/** Null if the file is not there: once enrolled, the token is of no use and may be removed. */
export async function readJoinToken(path: string): Promise<JoinToken | null> {
  try {
    const bytes = await readFile(path);
    return parseJoinToken(bytes.subarray(0, 1024).toString('latin1'));
  } catch (cause) {
    if (cause instanceof AgentError) throw cause;
    const code = cause instanceof Error && 'code' in cause ? cause.code : null;
    if (code === 'ENOENT') return null;
    // The agent's unit may read what is root's alone, and its drop-in takes that right away.
    const next = code === 'EACCES' ? `: give it to the user of the agent (chown assay-agent ${path})` : '';
    throw new AgentError('join_token', `the join token ${path} cannot be read${next}`, { cause });
  }
}
