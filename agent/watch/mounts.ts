import { hash } from 'node:crypto';
import { join } from 'node:path';
import { readNow } from './read-now.ts';
import type { Watched } from './watch.ts';

/** The mounts of the host, those aside that come and go with containers. */
export function mounts(sysroot: string): Watched {
  const path = join(sysroot, 'proc/1/mountinfo');
  let before = Buffer.alloc(0);
  let digest = '';
  return {
    what: 'mounts',
    everySeconds: 1,
    look() {
      const bytes = readNow(path, most);
      if (bytes === null) return 'none';
      // Nearly always: then nothing is parsed.
      if (digest !== '' && bytes.equals(before)) return digest;
      before = Buffer.from(bytes);
      digest = hash('sha256', before, 'hex');
      return digest;
    },
  };
}

/** As `parseMountTable` takes. */
const most = 16 * 1024 * 1024;
