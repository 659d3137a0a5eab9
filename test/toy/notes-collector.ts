// Goes to agent/collectors/notes.ts, which is as deep as this folder: the imports hold in both places.
import { hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SupplementCollector } from '../../agent/collectors/collector.ts';

/** The notes of a machine, as far as a server asks for them. */
export const notes: SupplementCollector = {
  name: 'notes',
  part: null,
  supplement: 'initrds',
  async read(sysroot, _signal, { of }) {
    const folder = join(sysroot, 'etc/notes');
    const all = await Promise.all((await readdir(folder)).map((file) => readFile(join(folder, file))));
    return { from: 0, more: false, pieces: all.filter((each) => of.includes(hash('sha256', each, 'hex'))) };
  },
};
