import { join } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { parseJson } from '../../attest-server/wire/parse-json.ts';
import { inspectedFor, inspectFolder } from '../inspect/inspected-file.ts';
import { installedFile, writtenInstalled } from '../inspect/installed.ts';
import type { PartCollector } from './collector.ts';
import { readBounded } from './read-bounded.ts';

/** The part on the next boot, as `assay-agent inspect` wrote it, without its time: unchanged, it is not sent again. */
export const installed: PartCollector = {
  name: 'installed',
  part: 'installed',
  async read(sysroot, signal) {
    const path = join(sysroot, inspectFolder, installedFile);
    const bytes = await readBounded(path, limits.parts.installed, signal);
    if (bytes === null) return nothing('assay-agent inspect wrote nothing of the next boot');
    const { at, installed: its } = parseJson(bytes.toString('utf8'), writtenInstalled, installedFile);
    if (Math.abs(Date.now() - Date.parse(at)) > inspectedFor)
      return nothing('what assay-agent inspect wrote is more than two hours old');
    return Buffer.from(JSON.stringify(its));
  },
};

function nothing(why: string): Buffer {
  const unread = [`${why}: systemctl start assay-inspect`];
  return Buffer.from(JSON.stringify({ version: 1, files: [], unread }));
}
