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

/** What this version takes, by the file in which it is kept: what the programs of this folder print. */
export async function makeSchemas(folder: string): Promise<ReadonlyMap<string, unknown>> {
  const made = new Map<string, unknown>();
  for (const { file, argv } of generated) {
    const [program = '', ...args] = argv;
    const { stdout } = await run(process.execPath, [join(folder, program), ...args], {
      timeoutMs: 60_000,
      maxOutputBytes: 16 * 1024 * 1024,
    });
    made.set(file, JSON.parse(stdout.toString('utf8')));
  }
  return made;
}

/** That what editors and others read is what this version takes. */
export function checkSchemas(tree: string, made: ReadonlyMap<string, unknown>): readonly Fault[] {
  return generated.flatMap(({ file, argv }) => {
    const kept: unknown = JSON.parse(readFileSync(join(tree, file), 'utf8'));
    if (JSON.stringify(made.get(file)) === JSON.stringify(kept)) return [];
    return [
      {
        what: `${file} is not what this version takes`,
        next: `Make it anew: node_modules/.bin/node ${argv.join(' ')} > ${file}, then npm run fix`,
      },
    ];
  });
}
