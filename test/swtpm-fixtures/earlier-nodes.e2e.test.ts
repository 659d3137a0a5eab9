import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { run, start } from 'node-tpm2/run';
import { z } from 'zod';
import { auditLine } from '../../attest-server/protocol/audit-pages.ts';
import { programs, storyArguments } from '../programs.ts';

const program = join(import.meta.dirname, '../../swtpm-fixtures/cluster/main.ts');
const connection = z.object({ server: z.string(), tokenFile: z.string(), caFile: z.string() });

describe('npm start in a folder of before', function () {
  this.timeout(300_000);

  it('revokes the nodes that an earlier run had and this one has not, says so, and lets them come back', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-earlier-'));
    try {
      await using first = await runningStory(dir, 4);
      assert.deepEqual(await nodesOf(dir), ['node-1', 'node-2', 'node-3', 'node-4']);
      await first.interrupt();

      await using second = await runningStory(dir, 3);
      assert.match(second.said(), /revokes the enrolment of node-4: /);
      assert.deepEqual(await nodesOf(dir), ['node-1', 'node-2', 'node-3']);
      const log = join(dir, 'audit.jsonl');
      await assay(dir, 'audit', 'export', log);
      const lines = (await readFile(log, 'utf8')).trimEnd().split('\n');
      const revoked = lines
        .map((line) => auditLine.parse(JSON.parse(line)))
        .flatMap((line) => ('entry' in line && line.entry.action === 'enrol.revoke' ? [line.entry] : []));
      assert.deepEqual(
        revoked.map(({ actor, subject, detail }) => [actor, subject, detail.reason]),
        [['token:admin', 'node-4', 'npm start runs with 3 nodes now']],
      );
      await second.interrupt();

      await using third = await runningStory(dir, 4);
      assert.doesNotMatch(third.said(), /revokes the enrolment/);
      assert.match(third.said(), /node-4 is TRUSTED/);
      await third.interrupt();
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });
});

/** Resolves once the story is told. */
async function runningStory(dir: string, nodes: number) {
  const child = start(
    process.execPath,
    [program, ...storyArguments, '--state-dir', dir, '--nodes', String(nodes)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const ended = once(child, 'exit');
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (text: Buffer) => {
      said += String(text);
      if (said.includes('Ctrl-C ends it')) resolve();
    });
    child.once('exit', () => reject(new Error(said)));
  });
  assert.match(said, /Everything came out as it should/);
  return {
    said: () => said,
    async interrupt(): Promise<void> {
      child.kill('SIGINT');
      assert.deepEqual(await ended, [0, null], said);
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

async function nodesOf(dir: string): Promise<readonly string[]> {
  return (await assay(dir, 'get', 'nodes', '-o', 'name')).trim().split('\n');
}

async function assay(dir: string, ...args: readonly string[]): Promise<string> {
  const { server, tokenFile, caFile } = connection.parse(
    JSON.parse(await readFile(join(dir, 'cli.json'), 'utf8')),
  );
  const flags = ['--server', server, '--token-file', tokenFile, '--ca-file', caFile];
  const { stdout } = await run(process.execPath, [programs.assay, ...args, ...flags], {
    timeoutMs: 30_000,
    maxOutputBytes: 16 * 1024 * 1024,
  });
  return stdout.toString('utf8');
}
