import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { run } from 'node-tpm2/run';

const main = join(import.meta.dirname, '../../agent/main.ts');

async function exitOf(args: readonly string[], env: Record<string, string> = {}): Promise<number | null> {
  return (await endOf(args, env)).exitCode;
}

async function endOf(args: readonly string[], env: Record<string, string> = {}) {
  try {
    await run(process.execPath, [main, ...args], { timeoutMs: 20_000, maxOutputBytes: 65_536, env });
    return { exitCode: 0, text: '' };
  } catch (error) {
    assert(error instanceof ToolError && error.code === 'failed');
    return { exitCode: error.exitCode, text: error.message };
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

  it('reports faults of file and environment together, with the line', async () => {
    const env = {
      ASSAY_AGENT_SERVERS: '127.0.0.1',
      ASSAY_AGENT_NODE: 'node-1',
      ASSAY_AGENT_CA_FILE: 'ca.pem',
    };
    const args = ['--log-level', 'loud', 'run', '--config', join(folder, 'unknown.yaml')];
    const { exitCode, text } = await endOf(args, env);
    assert.equal(exitCode, 2);
    for (const part of [
      'unknown.yaml:1: nodes',
      'servers (ASSAY_AGENT_SERVERS)',
      'logLevel (ASSAY_AGENT_LOG_LEVEL, --log-level)',
    ])
      assert.ok(text.includes(part), text);
  });

  it("ends with 1 where the authority's file is missing", async () => {
    const env = { ASSAY_AGENT_STATE_DIR: join(folder, 'state'), ASSAY_AGENT_TCTI: 'device:/dev/no-such-tpm' };
    assert.equal(await exitOf(['run', '--config', join(folder, 'good.yaml')], env), 1);
  });
});
