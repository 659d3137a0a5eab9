import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { bundlePrograms } from '../../swtpm-fixtures/set-up/bundle.ts';

const others = [
  'agent/collectors/inventory-program.ts',
  ...['attest-server/main.ts', 'attest-server/cli/main.ts'],
  ...['manifests/cloud/aws/main.ts', 'manifests/cloud/gce/main.ts'],
];

describe('the bundle of a program', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'assay-bundle-'));
    for (const entry of others) write(entry, '');
    write('node_modules/one/package.json', '{"name":"one","version":"1.2.3","license":"MIT"}');
    write('node_modules/one/index.js', 'module.exports.one = 1;\n');
  });
  afterEach(() => rmSync(root, { recursive: true }));

  function write(name: string, text: string): void {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  function bundle(program: string, { dev = false } = {}) {
    write('agent/main.ts', program);
    write('package-lock.json', JSON.stringify({ packages: { 'node_modules/one': { dev } } }));
    return bundlePrograms(root, join(root, 'dist'));
  }
  const imports = "import { one } from 'one';\nconsole.log(one);\n";

  it('has the packages that the program imports, and names them', async () => {
    const { 'agent/main.js': packages, ...rest } = await bundle(imports);
    const one = { path: 'node_modules/one', name: 'one', version: '1.2.3', licence: 'MIT' };
    assert.deepEqual(packages, [one]);
    assert.deepEqual(Object.values(rest).flat(), []);
    assert.match(readFileSync(join(root, 'dist/agent/main.js'), 'utf8'), /module\.exports\.one = 1/);
  });

  it('is refused with a package that is for tests alone', async () => {
    await assert.rejects(bundle(imports, { dev: true }), /node_modules\/one is no package that runs/);
  });

  it('is refused if a package is loaded late, since it would lack its names', async () => {
    await assert.rejects(
      bundle("const { one } = await import('one');\nconsole.log(one);\n"),
      /import one in a module of its own/,
    );
  });

  it('does not start the client of WebSockets that Node.js has, where it speaks HTTP', async () => {
    await bundle(
      "import { METHODS } from 'node:http';\nconsole.log(METHODS.length > 9, process.moduleLoadList.join());\n",
    );
    const { stdout } = await run(process.execPath, [join(root, 'dist/agent/main.js')], {
      timeoutMs: 30_000,
      maxOutputBytes: 100_000,
    });
    assert.match(stdout.toString(), /^true /);
    assert.doesNotMatch(stdout.toString(), /undici/);
  });

  it('finds what lies beside a source', async () => {
    write('agent/deep/data.ts', 'export const folder = import.meta.dirname;\n');
    await bundle("import { folder } from './deep/data.ts';\nconsole.log(folder);\n");
    assert.match(readFileSync(join(root, 'dist/agent/main.js'), 'utf8'), /import\.meta\.dirname \+ "\/deep"/);
  });
});
