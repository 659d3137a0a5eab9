import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { start } from 'node-tpm2/run';
import { storyArguments } from '../programs.ts';

const program = join(import.meta.dirname, '../../swtpm-fixtures/cluster/main.ts');

async function runOnce(...args: readonly string[]) {
  const child = start(process.execPath, [program, ...storyArguments, '--once', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { out: '', err: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said.out += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said.err += text;
  });
  const [exit] = await once(child, 'close');
  return { exit: Number(exit), ...said };
}

interface Line {
  readonly t: number;
  readonly node: string;
  readonly state: string;
  readonly reasons: readonly string[];
}

describe('npm start -- --once -o json', function () {
  this.timeout(90_000);

  for (const [change, code] of [
    ['kernel', 'kernel_unknown'],
    ['cmdline', 'cmdline_policy'],
    ['secureboot', 'secureboot_off'],
    ['firewall', 'fw_drift'],
    ['disk', 'mount_not_encrypted'],
    ['runtime', 'ima_unknown_file'],
  ] as const)
    it(`reports a changed ${change} in one object a line, and exits 0`, async () => {
      const { exit, out, err } = await runOnce('-o', 'json', '--tamper', change);
      assert.equal(exit, 0, err);
      assert.equal(err, '');
      const lines = out.trimEnd().split('\n');
      const last: unknown = JSON.parse(lines.pop() ?? '');
      assert(typeof last === 'object' && last !== null && 'summary' in last && 'ok' in last);
      assert.deepEqual(Object.keys(last), ['summary', 'ok']);
      assert.equal(last.ok, true);
      const { seconds, ...counts } = Object(last.summary) as Record<string, unknown>;
      // What ran is allowed by a command, once it was found.
      const isAllowed = change === 'runtime';
      assert.deepEqual(counts, {
        nodes: 3,
        trusted: isAllowed ? 2 : 1,
        untrusted: isAllowed ? 0 : 1,
        unknown: 1,
      });
      assert.equal(typeof seconds, 'number');
      const reported = lines.map((line) => JSON.parse(line) as Line);
      for (const each of reported) assert.deepEqual(Object.keys(each), ['t', 'node', 'state', 'reasons']);
      assert.deepEqual(
        reported.map(({ t }) => t),
        reported.map(({ t }) => t).sort((a, b) => a - b),
      );
      const of = (name: string) => reported.filter(({ node }) => node === name).map(({ state }) => state);
      assert.equal(of('node-1').at(-1), 'trusted');
      assert.equal(of('node-3').at(-1), 'unknown');
      assert.equal(of('node-2').at(-1), isAllowed ? 'trusted' : 'untrusted');
      const found = reported.findLast(({ node, state }) => node === 'node-2' && state === 'untrusted');
      assert(found?.reasons.includes(code) === true, found?.reasons.join() ?? 'never untrusted');
    });

  it('takes fewer than three nodes for a mistake in the command', async () => {
    const { exit, out, err } = await runOnce('--nodes', '2');
    assert.equal(exit, 2);
    assert.equal(out, '');
    assert.match(err, /at least 3/);
  });
});
