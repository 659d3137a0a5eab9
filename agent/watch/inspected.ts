import { hash } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { readBounded } from '../collectors/read-bounded.ts';
import { inspectedDiskBytes, inspectedDiskFile, inspectFolder } from '../inspect/inspected-file.ts';
import type { WatchedSource } from './watch.ts';

/** The disks by `assay-agent inspect`: it writes at least hourly, and only another content counts. */
export function inspected(sysroot: string): WatchedSource {
  const path = join(sysroot, inspectFolder, inspectedDiskFile);
  let stamp = '';
  let digest = '';
  return {
    what: 'inspected',
    everySeconds: 1,
    async look() {
      const found = statSync(path, { throwIfNoEntry: false, bigint: true });
      if (found === undefined) return 'none';
      const now = `${found.ino} ${found.size} ${found.mtimeNs}`;
      if (now === stamp) return digest;
      const bytes = await readBounded(path, inspectedDiskBytes);
      if (bytes === null) return 'none';
      // Its time is another one at each writing.
      const content = bytes.toString('latin1').replace(/"at":\s*"[^"]{0,64}"/, '');
      digest = hash('sha256', content, 'hex');
      stamp = now;
      return digest;
    },
  };
}
