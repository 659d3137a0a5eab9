import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { generators } from './list.ts';

// `npm run generate`: writes anew what follows from declarations and from the chart.
const root = join(import.meta.dirname, '../..');
for (const { make } of generators)
  for (const [file, text] of await make()) {
    const path = join(root, file);
    if (text === null) await rm(path);
    else {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
    }
  }
