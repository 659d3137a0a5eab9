import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { builtinRoots } from '../../../swtpm-fixtures/api-server/builtin-fields.ts';
import { readClientFields } from './read-client-fields.ts';

const file = join(import.meta.dirname, '../../../swtpm-fixtures/api-server/builtin-fields.json');
const fields = await readClientFields([...builtinRoots.values()]);
await writeFile(file, `${JSON.stringify(fields, null, 2)}\n`);
