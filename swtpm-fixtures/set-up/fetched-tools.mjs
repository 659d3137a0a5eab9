import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** What starts the programs that the set-up fetches, and nothing else does. */
const starters = {
  prometheus: 'test/manifests/prometheus-programs.ts',
  kubernetes: 'test/manifests/kubernetes-tools.ts',
};

/**
 * Which fetched programs the named tests start: both, unless `args` names files and folders and nothing that could mean others.
 * @param {string} root the clone
 * @param {readonly string[]} args what follows `npm test --`
 * @returns {{ prometheus: boolean, kubernetes: boolean }}
 */
export function fetchedTools(root, args) {
  const files = args.filter((arg) => arg.includes('/')).flatMap((arg) => testsBelow(resolve(root, arg)));
  if (files.length === 0 || files.includes(null)) return { prometheus: true, kubernetes: true };
  const imported = allImported(files);
  const isImported = (starter) => imported.has(join(root, starter));
  return { prometheus: isImported(starters.prometheus), kubernetes: isImported(starters.kubernetes) };
}

/** The files of tests that a path names; null stands for a pattern, which the machine's Node.js may not expand. */
function testsBelow(path) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return [null];
  if (!stats.isDirectory()) return [path];
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith('.test.ts')).map((name) => join(path, name));
}

/** These files and all that they import of this clone, by their text. */
function allImported(files) {
  const found = new Set();
  const queue = [...files];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (found.has(file)) continue;
    found.add(file);
    const folder = dirname(file);
    for (const [, path] of readFileSync(file, 'utf8').matchAll(/(?:from|import\(?)\s*'(\.[^']*\.ts)'/g))
      if (statSync(resolve(folder, path), { throwIfNoEntry: false })) queue.push(resolve(folder, path));
  }
  return found;
}
