import { run } from 'node-tpm2/run';

/** What a request or a certificate of its own makes its new key by. */
export const newEcKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const;

/** @throws ToolError */
export async function openssl(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  await run('openssl', args, { timeoutMs: 20_000, maxOutputBytes: 65_536, env });
}
