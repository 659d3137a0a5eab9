import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readNow } from './read-now.ts';
import type { WatchedSource } from './watch.ts';

/** The mappings of the device mapper: which there are, what each is (its UUID), and what it lies on. */
export function mappings(sysroot: string): WatchedSource {
  const folder = join(sysroot, 'sys/block');
  return {
    what: 'mappings',
    everySeconds: 1,
    look() {
      const names = namesIn(folder).filter((name) => name.startsWith('dm-'));
      if (names.length > most) throw new RangeError(`more than ${most} mappings`);
      return names
        .map((name) => {
          const uuid = readNow(join(folder, name, 'dm/uuid'), 4096)?.toString('latin1') ?? '';
          return `${name} ${uuid.trimEnd()} ${namesIn(join(folder, name, 'slaves')).join(' ')}`;
        })
        .join('\n');
    },
  };
}

const most = 4096;

/** In an order that is always the same. */
function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    // A mapping that went while this was read: the next look does not find it.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
