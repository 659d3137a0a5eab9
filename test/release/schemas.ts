import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from 'node-tpm2/run';
import type { Fault } from './fault.ts';

/** What is generated from the code and kept beside it, and how it is made. */
const generated: readonly { readonly file: string; readonly argv: readonly string[] }[] = [
  {
    file: 'attest-server/policy/file/policy.schema.json',
    argv: ['attest-server/cli/main.ts', 'policy', 'schema'],
  },
  { file: 'attest-server/config.schema.json', argv: ['attest-server/main.ts', 'schema'] },
  { file: 'agent/config.schema.json', argv: ['agent/main.ts', 'schema'] },
  { file: 'agent/gate/config.schema.json', argv: ['agent/main.ts', 'schema', 'gate'] },
];

/** That what editors and others read is what this version takes. */
export async function checkSchemas(tree: string): Promise<readonly Fault[]> {
  const faults: Fault[] = [];
  for (const { file, argv } of generated) {
    const [program = '', ...args] = argv;
    const { stdout } = await run(process.execPath, [join(tree, program), ...args], {
      timeoutMs: 60_000,
      maxOutputBytes: 16 * 1024 * 1024,
    });
    const now: unknown = JSON.parse(stdout.toString('utf8'));
    const kept: unknown = JSON.parse(readFileSync(join(tree, file), 'utf8'));
    if (JSON.stringify(now) !== JSON.stringify(kept))
      faults.push({
        what: `${file} is not what this version takes`,
        next: `Make it anew: node_modules/.bin/node ${argv.join(' ')} > ${file}, then npm run fix`,
      });
  }
  return faults;
}
