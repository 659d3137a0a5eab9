import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2';
import { launchTpm } from '../../../swtpm-fixtures/tpm.ts';

const root = join(import.meta.dirname, '../../..');

describe('the packed package', function () {
  this.timeout(120_000);
  let folder = '';
  let installed = '';
  const inFolder = (name: string) => join(folder, name);

  /** npm, run by this very Node, without a network, and with nothing of the user's. */
  const npm = (cwd: string, ...args: string[]) =>
    run('npm', [...args, '--offline', '--no-audit', '--no-fund', '--prefix', cwd], {
      timeoutMs: 90_000,
      maxOutputBytes: 1_000_000,
      env: {
        PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`,
        HOME: folder,
        npm_config_cache: inFolder('cache'),
      },
    });

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'node-tpm2-pack-'));
    const source = inFolder('source/agent/node-tpm2');
    await cp(join(root, 'agent/node-tpm2'), source, { recursive: true });
    await cp(join(root, 'tsconfig.json'), inFolder('source/tsconfig.json'));
    await symlink(join(root, 'node_modules'), inFolder('source/node_modules'));
    const before = await readFile(join(source, 'package.json'));
    await npm(source, 'pack', source, '--pack-destination', folder);
    assert.deepEqual(await readFile(join(source, 'package.json')), before);
    assert.deepEqual((await readdir(source)).sort(), (await readdir(join(root, 'agent/node-tpm2'))).sort());

    const tarball = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
    assert.ok(tarball);
    installed = inFolder('installed');
    await mkdir(installed);
    await npm(installed, 'install', inFolder(tarball));
  });
  after(() => rm(folder, { recursive: true }));

  it('carries JavaScript, types, the readme and the licence, and no dependency', async () => {
    const modules = join(installed, 'node_modules');
    const names = (await readdir(modules)).filter((name) => !name.startsWith('.'));
    assert.deepEqual(names, ['node-tpm2']);
    const top = await readdir(join(modules, 'node-tpm2'));
    assert.deepEqual(top.sort(), ['LICENSE', 'README.md', 'dist', 'package.json']);
    const files = await readdir(join(modules, 'node-tpm2', 'dist'));
    assert.ok(files.includes('index.js') && files.includes('index.d.ts') && files.includes('run.js'));
    assert.deepEqual(
      files.filter((name) => !name.endsWith('.js') && !name.endsWith('.d.ts')),
      [],
    );
  });

  it('runs the example of its readme against a TPM', async () => {
    await using software = await launchTpm();
    const readme = await readFile(join(installed, 'node_modules/node-tpm2/README.md'), 'utf8');
    const example = /```js\n([\s\S]*?)```/.exec(readme)?.[1];
    assert.ok(example);
    await writeFile(join(installed, 'example.mjs'), example);
    const bounds = { timeoutMs: 30_000, maxOutputBytes: 65_536 };
    const { stdout } = await run(process.execPath, [join(installed, 'example.mjs'), software.tcti], bounds);
    assert.match(stdout.toString(), /^IBM, banks sha1 sha256 sha384, rsa endorsement key$/m);
    assert.match(stdout.toString(), /^attestation key 000b[0-9a-f]{64}$/m);
    assert.match(stdout.toString(), /over 8 PCRs$/m);
  });

  it('has types that a strict program compiles against', async () => {
    const program = [
      "import { openTpm, type Quote, type ToolErrorCode } from 'node-tpm2';",
      "import { run } from 'node-tpm2/run';",
      "const tpm = await openTpm({ tcti: 'device:/dev/tpmrm0' });",
      'const quote: Quote = await tpm.quote({ qualifyingData: Buffer.alloc(32), selection: { sha256: [7] } });',
      "const code: ToolErrorCode = 'pcrs_moved';",
      'export const values: readonly unknown[] = [run, quote.attest, code];',
      '// @ts-expect-error: a bank that does not exist',
      'await tpm.readPcrs({ md5: [0] });',
    ];
    await writeFile(join(installed, 'program.mts'), program.join('\n'));
    const flags = [
      '--ignoreConfig',
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'esnext',
      '--types',
      'node',
    ];
    const types = ['--typeRoots', join(root, 'node_modules/@types')];
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    await run(process.execPath, [tsc, ...flags, ...types, join(installed, 'program.mts')], {
      timeoutMs: 60_000,
      maxOutputBytes: 65_536,
    });
  });
});
