import { join } from 'node:path';
import { run } from 'node-tpm2/run';

const root = join(import.meta.dirname, '../..');

/** JSON as the formatter wants this file of the tree. */
export async function jsonText(file: string, value: unknown): Promise<string> {
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
  const args = [biome, 'format', `--config-path=${root}`, `--stdin-file-path=${join(root, file)}`];
  const { stdout } = await run(process.execPath, args, {
    input: Buffer.from(JSON.stringify(value, null, 2)),
    timeoutMs: 60_000,
    maxOutputBytes: 16 * 1024 * 1024,
  });
  return stdout.toString();
}
