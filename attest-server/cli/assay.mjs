#!/usr/bin/env node
// Starts the command line. It may first run under the machine's own, older Node, which strips no types: then
// the pinned Node takes over, found by its path.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const main = join(here, 'main.ts');

if (Number(process.versions.node.split('.')[0]) >= 24) await import(main);
else {
  const pinned = join(here, '..', '..', 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  if (existsSync(pinned)) handOver(pinned);
  else {
    process.stderr.write(
      `assay: this is Node ${process.versions.node}, and Node 24 or newer is needed: run npm ci in the clone, or install it\n`,
    );
    process.exitCode = 1;
  }
}

/** Same streams, signals passed on, its exit code ours. */
function handOver(node) {
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
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
