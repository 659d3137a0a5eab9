#!/usr/bin/env node
// The set-up behind `npm start`, `npm test` and the other commands of package.json. It runs under the machine's own
// Node with nothing installed: built-ins only. It installs what is missing, then hands over to the pinned Node.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unpackContainerRuntimes } from './set-up/container-runtimes.mjs';
import { installDebianPackages } from './set-up/debian.mjs';
import { fetchedTools } from './set-up/fetched-tools.mjs';
import { installKubernetesTools } from './set-up/kubernetes-tools.mjs';
import { installNpmPackages, pinnedNode } from './set-up/npm.mjs';
import { unpackPrometheus } from './set-up/prometheus.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The program of each verb, and whether it needs a software TPM, Helm, and what else beside it. */
const verbs = {
  start: { program: ['swtpm-fixtures/cluster/main.ts'], debian: true },
  test: { program: ['test/main.ts', 'test'], debian: true, tests: true, helm: true },
  'test:vm': { program: ['test/main.ts', 'test', 'vm'], debian: true, machines: true },
  'test:debs': { program: ['test/main.ts', 'test', 'debs'], debian: true, machines: true, images: true },
  'test:keys': { program: ['test/main.ts', 'test', 'keys'], debian: true, machines: true },
  'test:cluster': { program: ['test/main.ts', 'test', 'cluster'], debian: true, helm: true },
  'test:long': { program: ['test/main.ts', 'test', 'long', '--compiled'], debian: true, tests: true },
  images: { program: ['manifests/images/main.ts'], debian: true, images: true },
  debs: { program: ['manifests/debian/main.ts'], debian: true, images: true },
  'test:images': { program: ['test/main.ts', 'test', 'images'], debian: true, tests: true, images: true },
  recorded: { program: ['test/recorded/main.ts'], debian: false },
  fuzz: { program: ['test/fuzz/main.ts'], debian: false },
  siege: { program: ['test/attacks/main.ts'], debian: true },
  bench: { program: ['test/bench/main.ts'], debian: true },
  check: { program: ['test/main.ts', 'check'], debian: false },
  fix: { program: ['test/main.ts', 'fix'], debian: false },
  generate: { program: ['test/generated/main.ts'], debian: true, tests: true, helm: true },
  pack: { program: ['manifests/npm/main.ts'], debian: false },
  build: { program: ['swtpm-fixtures/set-up/build.ts'], debian: false },
  'release:check': { program: ['test/release/main.ts'], debian: false },
};

try {
  const [verb = '', ...rest] = process.argv.slice(2);
  if (!Object.hasOwn(verbs, verb)) {
    process.stderr.write(
      `usage: node swtpm-fixtures/setup.mjs ${Object.keys(verbs).join('|')} [-- ARGUMENTS]\n`,
    );
    process.exit(2);
  }
  const { program, debian, tests = false, machines = false, images = false, helm = false } = verbs[verb];
  // npm passes what follows `--`; the first `--` is the one of package.json's own line.
  const args = rest[0] === '--' ? rest.slice(1) : rest;
  const fetched = fetchedTools(root, verb === 'test' ? args : []);
  if (debian) await installDebianPackages(tests, machines, images);
  await installNpmPackages(root);
  // npm makes the folder anew in which these lie.
  if (tests && fetched.prometheus) await unpackPrometheus(root);
  if (tests && images) await unpackContainerRuntimes(root);
  if (helm && fetched.kubernetes) await installKubernetesTools(root);
  process.exitCode = await handOver(pinnedNode(root), [...program, ...args]);
} catch (error) {
  process.stderr.write(`set-up: ${error.message}\n`);
  process.exitCode = 1;
}

/** Runs the program in our place: same streams, signals passed on, its exit code ours. */
function handOver(node, [file, ...args]) {
  const child = spawn(node, [join(root, file), ...args], { cwd: root, stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the child as well; a second one would read as impatience.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new Error(`${node} could not be started: ${cause.message}`, { cause })),
    );
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}
