#!/usr/bin/env node
// Starts the command line, in this process where its Node is new enough. The machine's own may be older, which strips
// no types: then the pinned Node takes over in a second process, found by its path.

// An import makes all of a module of Node, with what stands behind each name: of `node:fs` its streams.
const builtIn = async (name) => process.getBuiltinModule?.(name) ?? import(name);
const { existsSync, lstatSync, mkdirSync } = await builtIn('node:fs');
const { createRequire, enableCompileCache } = await builtIn('node:module');
const { dirname, isAbsolute, join } = await builtIn('node:path');
const { fileURLToPath } = await builtIn('node:url');

const here = dirname(fileURLToPath(import.meta.url));

const main = ['main.js', 'main.ts'].map((name) => join(here, name)).find((file) => existsSync(file));

if (main === undefined) {
  // In a clone npm runs no script, so a plain `npm pack` there has compiled nothing.
  process.stderr.write('assay: this package holds no program: make it in the clone with npm run pack\n');
  process.exitCode = 1;
} else if (Number(process.versions.node.split('.')[0]) >= 24) {
  keepCompiledCode();
  await import(main);
} else {
  const pinned = pinnedNode();
  if (pinned !== null) await handOver(pinned);
  else {
    process.stderr.write(
      `assay: this is Node ${process.versions.node}, and Node 24 or newer is needed: install it, or install assay with its optional packages\n`,
    );
    process.exitCode = 1;
  }
}

/** Keeps what Node compiles for the next start. Without a folder that only this user writes to, it is compiled anew. */
function keepCompiledCode() {
  const { XDG_CACHE_HOME: cache, HOME: home } = process.env;
  const parent = cache && isAbsolute(cache) ? cache : home && isAbsolute(home) ? join(home, '.cache') : null;
  if (parent === null) return;
  const folder = join(parent, 'assay');
  try {
    for (const path of [parent, folder]) if (!existsSync(path)) mkdirSync(path, { mode: 0o700 });
    const { uid, mode } = lstatSync(folder);
    // What lies there is run: whoever else could write to it would run as us.
    if (uid !== process.geteuid() || (mode & 0o170022) !== 0o040000) return;
  } catch {
    return;
  }
  enableCompileCache(folder);
}

function pinnedNode() {
  try {
    return createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/bin/node`);
  } catch {
    return null;
  }
}

/** Same streams, signals passed on, its exit code ours. It starts this file, which then finds its Node new enough. */
async function handOver(node) {
  const { spawn } = await import('node:child_process');
  const { constants } = await import('node:os');
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // A terminal sends Ctrl-C to the child as well.
  process.on('SIGINT', () => {
    if (!process.stdin.isTTY) child.kill('SIGINT');
  });
  child.once('error', (cause) => {
    process.stderr.write(`assay: ${node} could not be started: ${cause.message}\n`);
    process.exitCode = 1;
  });
  child.once('exit', (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal];
  });
}
