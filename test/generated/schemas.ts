import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import { jsonText } from './json-text.ts';
import type { GeneratedFiles } from './list.ts';

/** Each file, and the command that prints what is in it. */
const printed: readonly (readonly [file: string, argv: readonly string[]])[] = [
  ['attest-server/policy/file/policy.schema.json', ['attest-server/cli/main.ts', 'policy', 'schema']],
  ['attest-server/config.schema.json', ['attest-server/main.ts', 'schema']],
  ['agent/config.schema.json', ['agent/main.ts', 'schema']],
  ['agent/gate/config.schema.json', ['agent/main.ts', 'schema', 'gate']],
  ['agent/unlock/config.schema.json', ['agent/main.ts', 'schema', 'unlock']],
];

/** The schemas by which editors and the chart know what the programs take. */
export async function schemaFiles(): Promise<GeneratedFiles> {
  const made = new Map<string, string>();
  for (const [file, [program = '', ...args]] of printed) {
    const { stdout } = await run(process.execPath, [join(import.meta.dirname, '../..', program), ...args], {
      timeoutMs: 60_000,
      maxOutputBytes: 16 * 1024 * 1024,
    });
    made.set(file, await jsonText(file, JSON.parse(stdout.toString())));
  }
  return made;
}
