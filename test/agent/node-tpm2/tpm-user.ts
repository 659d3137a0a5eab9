import { openTpm, ToolError } from 'node-tpm2';

/** Takes random bytes from a TPM, and says how it went. Arguments: TCTI, milliseconds, PATH. */
const [tcti = '', timeoutMs = '', path = ''] = process.argv.slice(2);
try {
  await using tpm = await openTpm({ tcti, timeoutMs: Number(timeoutMs), env: { PATH: path } });
  await tpm.random(8);
  process.stdout.write('done\n');
} catch (error) {
  if (!(error instanceof ToolError)) throw error;
  process.stdout.write(`${error.code} ${error.retryable}\n`);
}
