import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runToEnd } from './child.mjs';

/** Runs `npm ci` where node_modules does not hold what package-lock.json names. */
export async function installNpmPackages(root) {
  const reason = whyStale(root);
  if (reason === null) return;
  process.stderr.write(`set-up: npm ci, since ${reason}\n`);
  await runToEnd(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root });
}

/** The Node that this project is tested with, by its path: the shell's `node` may be another. */
export function pinnedNode(root) {
  const pinned = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  if (existsSync(pinned)) return pinned;
  const major = Number(process.versions.node.split('.')[0]);
  const wanted = Number(readFileSync(join(root, '.node-version'), 'utf8'));
  if (major >= wanted) return process.execPath;
  throw new Error(
    `no pinned Node for ${process.platform} ${process.arch}, and this is Node ${process.versions.node}: install Node ${wanted}`,
  );
}

/** npm writes node_modules/.package-lock.json as the last thing it does: it lists what is really there. */
function whyStale(root) {
  const stamp = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(stamp)) return 'node_modules is missing or half made';
  const there = JSON.parse(readFileSync(stamp, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  for (const [path, entry] of Object.entries(wanted)) {
    const found = there[path];
    if (path === '' || (found === undefined && entry.optional)) continue;
    if (found?.version !== entry.version || found?.integrity !== entry.integrity) {
      return `${path} differs from package-lock.json`;
    }
  }
  return null;
}
