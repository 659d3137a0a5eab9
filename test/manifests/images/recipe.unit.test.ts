import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'mocha';
import { checkSize } from '../../../manifests/images/build.ts';
import { type Recipe, recipes } from '../../../manifests/images/recipe.ts';
import { parseReadelf, withFlags } from '../../../manifests/images/root-file-system.ts';
import { agentFlags } from '../../../swtpm-fixtures/set-up/agent-flags.ts';
import { readPod } from './rendered-pods.ts';

const root = join(import.meta.dirname, '../../..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const containerfileOf = (name: string) => read(`manifests/images/${name}.Containerfile`);
/** Names of the programs of Debian that an image has. */
const programsOf = ({ debian }: Recipe) =>
  debian.flatMap(({ files }) =>
    files.filter((file) => /^usr\/s?bin\//.test(file)).map((file) => file.replace(/^.*\//, '')),
  );

describe('the recipes of the images', () => {
  it('have each verb of tpm2-tools that node-tpm2 calls, and no other', () => {
    const called = globSync('agent/node-tpm2/*.ts', { cwd: root }).flatMap((file) =>
      [...read(file).matchAll(/'(tpm2_[a-z0-9]+)'/g)].map(([, verb = '']) => verb),
    );
    const held = programsOf(recipes.agent).filter((name) => name.startsWith('tpm2_'));
    assert.deepEqual(held.sort(), [...new Set(called)].sort());
  });

  it('have the other programs that the agent, netfilter and the server start', () => {
    const held = { agent: programsOf(recipes.agent), server: programsOf(recipes.server) };
    const netfilter = globSync('agent/netfilter/*.ts', { cwd: root }).flatMap((file) =>
      [...read(file).matchAll(/'(nft|setpriv|ip6?tables-[a-z-]+)'/g)].map(([, name = '']) => name),
    );
    assert.ok(netfilter.length >= 7, 'the sources are read');
    for (const name of [...netfilter, 'flock', 'env']) assert.ok(held.agent.includes(name), name);
    for (const name of ['openssl', 'flock', 'env']) assert.ok(held.server.includes(name), name);
  });

  it('have no shell and no package manager', () => {
    for (const recipe of Object.values(recipes))
      for (const name of programsOf(recipe))
        assert.doesNotMatch(name, /^(ba|da|a|k|z|c)?sh$|busybox|^apt|dpkg|perl|python/);
  });

  it('have a software TPM in an image of its own, which holds nothing else', () => {
    for (const recipe of [recipes.agent, recipes.server])
      for (const { package: name } of recipe.debian) assert.doesNotMatch(name, /^(swtpm|libtpms)/);
    assert.deepEqual(programsOf(recipes['tpm-trial']), ['swtpm', 'swtpm_ioctl']);
    assert.deepEqual(recipes['tpm-trial'].commands, {});
  });

  it('have a software TPM that listens where tpm2-tools look for both of its sockets, and writes into its folders alone', () => {
    const text = containerfileOf('tpm-trial');
    const [, state] = /dir=([^,"]+)/.exec(text) ?? [];
    const [socket, control] = [...text.matchAll(/path=([^,"]+)/g)].map(([, path]) => path);
    // libtss2-tcti-swtpm makes the second name of the first.
    assert.equal(control, `${socket}.ctrl`);
    assert.deepEqual(
      [dirname(socket ?? ''), state].map((path) => path?.slice(1)),
      Object.keys(recipes['tpm-trial'].folders),
    );
    assert.match(text, new RegExp(`^USER ${recipes['tpm-trial'].user.id}:0$`, 'm'));
  });

  it('have the commands that the chart starts, and the user that it starts them as', () => {
    for (const name of ['agent', 'server'] as const) {
      const { containers } = readPod(name);
      for (const { argv, health } of Object.values(containers))
        for (const program of [argv[0], health?.[0]])
          assert.ok(
            program === undefined || Object.hasOwn(recipes[name].commands, program),
            `${name}: ${program}`,
          );
      const main = containers[name];
      assert.match(containerfileOf(name), new RegExp(`^USER ${main?.user}:${main?.group}$`, 'm'));
    }
  });

  it('have the memory settings of the server’s unit', () => {
    const unit = read('manifests/host/assay-server.service');
    const set = Array.from(
      unit.matchAll(/^Environment="([^=]+)=(.*)"$/gm),
      ([, name, value]) => `${name}="${value}"`,
    );
    assert.equal(set.length, 4);
    for (const variable of set) assert.ok(containerfileOf('server').includes(` ${variable}`), variable);
  });
});

describe('the first line of a program in an image', () => {
  it('gives Node each flag of the agent, within what Linux reads of it', () => {
    const text = withFlags("#!/usr/bin/env node\nawait import('./x.js');\n", agentFlags, 'x.js');
    const [first = '', second] = text.split('\n');
    assert.equal(first, `#!/usr/bin/env -S /usr/bin/node ${agentFlags.join(' ')}`);
    assert.ok(first.length <= 255);
    assert.equal(second, "await import('./x.js');");
  });

  it('starts Node itself where there are no flags', () => {
    assert.match(withFlags('#!/usr/bin/env node\n', [], 'x.js'), /^#!\/usr\/bin\/node\n/);
  });

  for (const [what, text, flags] of [
    ['a file that is no program', "import './x.js';\n", []],
    [
      'a line that Linux cuts off',
      '#!/usr/bin/env node\n',
      Array.from({ length: 20 }, () => '--a-long-flag'),
    ],
  ] as const)
    it(`is refused for ${what}`, () => {
      assert.throws(() => withFlags(text, flags, 'x.js'), /x\.js/);
    });
});

describe('the size of an image', () => {
  it('is refused above the bound, with what fills it', () => {
    const sizes = { 'Node.js': 116_000_000, libssl3t64: 7_000_000, 'npm packages': 60_000_000 };
    assert.throws(
      () => checkSize({ name: 'agent', maxBytes: 175_000_000 }, 'amd64', { sizes }),
      /183\.0 MB, and 175\.0 MB are allowed: Node\.js 116\.0 MB, npm packages 60\.0 MB/,
    );
    checkSize({ name: 'agent', maxBytes: 183_000_000 }, 'amd64', { sizes });
  });

  it('has the bounds that were promised', () => {
    assert.deepEqual(
      Object.values(recipes).map(({ maxBytes }) => maxBytes),
      [175_000_000, 165_000_000, 15_000_000],
    );
  });
});

describe('what readelf prints', () => {
  it('is read file by file: the machine, and the libraries that are needed', () => {
    const text = `
File: /r/usr/bin/flock
  Machine:                           AArch64
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]

File: /r/usr/bin/node
  Machine:                           Advanced Micro Devices X86-64
 0x0000000000000001 (NEEDED)             Shared library: [libdl.so.2]
 0x0000000000000001 (NEEDED)             Shared library: [libstdc++.so.6]
 0x000000000000000e (SONAME)             Library soname: [node]
`;
    assert.deepEqual(parseReadelf(text), [
      { file: '/r/usr/bin/flock', machine: 'AArch64', needed: ['libc.so.6'] },
      {
        file: '/r/usr/bin/node',
        machine: 'Advanced Micro Devices X86-64',
        needed: ['libdl.so.2', 'libstdc++.so.6'],
      },
    ]);
  });
});
