import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { run } from 'node-tpm2/run';

const main = join(import.meta.dirname, '../../agent/main.ts');

async function exitOf(args: readonly string[], env: Record<string, string> = {}): Promise<number | null> {
  try {
    await run(process.execPath, [main, ...args], { timeoutMs: 20_000, maxOutputBytes: 65_536, env });
    return 0;
  } catch (error) {
    assert(error instanceof ToolError && error.code === 'failed');
    return error.exitCode;
  }
}

describe('assay-agent', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-agent-main-'));
    await writeFile(join(folder, 'unknown.yaml'), 'nodes: x\n');
    await writeFile(join(folder, 'broken.yaml'), 'node: [\n');
    await writeFile(
      join(folder, 'good.yaml'),
      `node: node-1\nservers: ["127.0.0.1:1"]\ncaFile: ${folder}/none\n`,
    );
  });
  after(() => rm(folder, { recursive: true }));

  for (const args of [['--help'], ['--version'], ['run', '--help']])
    it(`${args.join(' ')} ends with 0`, async () => {
      assert.equal(await exitOf(args), 0);
    });

  for (const args of [[], ['walk'], ['run'], ['--log-level', 'loud', 'run']])
    it(`"${args.join(' ')}" is a usage error and ends with 2`, async () => {
      assert.equal(await exitOf(args), 2);
    });

  for (const name of ['unknown', 'broken', 'absent'])
    it(`an ${name} file or key is a fault of the configuration and ends with 2`, async () => {
      assert.equal(await exitOf(['run', '--config', join(folder, `${name}.yaml`)]), 2);
    });

  it("ends with 1 where the authority's file is missing", async () => {
    const env = { ASSAY_STATE_DIR: join(folder, 'state'), ASSAY_TCTI: 'device:/dev/no-such-tpm' };
    assert.equal(await exitOf(['run', '--config', join(folder, 'good.yaml')], env), 1);
  });
});
