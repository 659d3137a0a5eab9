import { run } from 'node-tpm2/run';

/** Arguments with which a request, or a self-signed certificate, makes its new key. */
export const newEcKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'] as const;

/** @throws ToolError */
export async function openssl(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  await run('openssl', args, { timeoutMs: 20_000, maxOutputBytes: 65_536, env });
}
