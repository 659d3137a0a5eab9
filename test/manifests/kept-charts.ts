import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import { parseObjects } from './parse-objects.ts';

export const keptFolder = join(import.meta.dirname, '../../swtpm-fixtures/charts');

interface KeptChart {
  /** `0.3.0/everything`. */
  readonly name: string;
  readonly values: string;
  readonly objects: readonly JsonObject[];
}

/** What charts of released versions made of some values. */
export const keptCharts: readonly KeptChart[] = globSync('*/*.values.yaml', { cwd: keptFolder })
  .sort()
  .map((file) => {
    const name = file.replace(/\.values\.yaml$/, '');
    const objects = parseObjects(readFileSync(join(keptFolder, `${name}.yaml`), 'utf8'));
    return { name, values: join(keptFolder, file), objects };
  });
