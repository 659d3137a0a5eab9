import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { runToEnd } from './child.mjs';
import { asRoot, elevate } from './debian.mjs';

/**
 * Unpacks programs of Debian into a folder of node_modules/.cache, where they are not there yet. Installed, they would be
 * services of this machine from then on.
 * @param {string} root the clone
 * @param {{ name: string, why: string, programs: Record<string, readonly string[]>, finish?: (all: string, ready: string) => void }} wanted
 *   the folder, what they are for, paths by their package, and what is done beside
 */
export async function unpackPrograms(root, { name, why, programs, finish }) {
  const cache = join(root, 'node_modules', '.cache');
  const there = join(cache, name);
  const wanted = Object.values(programs).flat();
  if (wanted.every((program) => existsSync(join(there, basename(program))))) return;
  process.stderr.write(`set-up: unpacking ${Object.keys(programs).join(', ')}: ${why}\n`);
  mkdirSync(cache, { recursive: true });
  const part = mkdtempSync(`${there}-`);
  try {
    await download(Object.keys(programs), part);
    const [all, ready] = [join(part, 'all'), join(part, 'ready')];
    for (const file of readdirSync(part)) await runToEnd(['dpkg-deb', '-x', join(part, file), all]);
    mkdirSync(ready);
    for (const program of wanted) renameSync(join(all, program), join(ready, basename(program)));
    finish?.(all, ready);
    rmSync(there, { recursive: true, force: true });
    renameSync(ready, there);
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
}

/** Nobody's rights are needed, where the lists of packages are there and of today. */
async function download(packages, into) {
  const command = ['apt-get', '-qq', '-o', 'APT::Sandbox::User=', 'download', ...packages];
  const get = (quiet) => runToEnd(command, { cwd: into, quiet });
  try {
    await get(true);
  } catch {
    const elevation = await elevate();
    if (elevation !== null) await runToEnd([...elevation, 'apt-get', 'update', '-qq']);
    await get(false).catch((cause) => {
      throw new Error(
        `${packages.join(' and ')} could not be fetched from Debian's archive; run this once, then try again:
  ${asRoot('apt-get update')}`,
        { cause },
      );
    });
  }
}
