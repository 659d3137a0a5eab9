import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { run, start } from 'node-tpm2/run';

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

  it('ends with what the settings of a program that stays are ended with, and says it once', async () => {
    const { exitCode, text } = await endOf(['netfilter', '--log-level', 'loud']);
    assert.equal(exitCode, 2);
    assert.equal(text.split('logLevel (ASSAY_NETFILTER_LOG_LEVEL, --log-level): not one of').length, 2, text);
    assert.equal(await exitOf(['tpm-broker', '--help']), 0);
    assert.equal(await exitOf(['tpm-broker', '--sockets', 'x']), 2);
    // A word of an option is no program.
    assert.equal(await exitOf(['health', '--socket', 'run']), 1);
  });

  it('has the settings of a program that stays read by a process that ends', async () => {
    const args = [main, 'tpm-broker', '--socket', join(folder, 'tpm.sock')];
    const env = { ASSAY_TPM_BROKER_TCTI: 'device:/dev/no-such-tpm' };
    const broker = start(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
    try {
      let said = '';
      for await (const text of broker.stderr?.setEncoding('utf8') ?? []) {
        said += text;
        if (said.includes('"listening"')) break;
      }
      assert.match(
        said,
        /"listening","socket":"[^"]+tpm\.sock","own":false,"tcti":"device:\/dev\/no-such-tpm"/,
      );
      assert.equal(await readFile(`/proc/${broker.pid}/task/${broker.pid}/children`, 'utf8'), '');
    } finally {
      broker.kill('SIGTERM');
      await once(broker, 'exit');
    }
  });
});
