import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Fault } from './fault.ts';

const manifest = z.object({ version: z.string() });

/** That later versions will be tried against what this one says and leaves behind. */
export function checkRecordings(tree: string): readonly Fault[] {
  const { version } = manifest.parse(JSON.parse(readFileSync(join(tree, 'package.json'), 'utf8')));
  return ['conversations', 'databases', 'charts']
    .map((kind) => `swtpm-fixtures/${kind}/${version}`)
    .filter((folder) => !existsSync(join(tree, folder)))
    .map((folder) => ({
      what: `${folder} is missing`,
      next: 'Record it, as CONTRIBUTING.md says (Record a release; Change the chart).',
    }));
}
