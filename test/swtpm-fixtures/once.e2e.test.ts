import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'mocha';
import type { LeftOut } from '../../swtpm-fixtures/cluster/narrator.ts';
import { withEmpty } from '../own-namespaces.ts';
import { storyArguments } from '../programs.ts';
import { endOf } from './end-of.ts';

const program = join(import.meta.dirname, '../../swtpm-fixtures/cluster/main.ts');

async function runOnce(...args: readonly string[]) {
  return await runOnceAfter([], ...args);
}

async function runOnceAfter(before: readonly string[], ...args: readonly string[]) {
  const argv = [program, ...storyArguments, '--once', ...args];
  const { code, stdout, stderr } = await endOf(argv, {}, before);
  return { exit: code, out: stdout, err: stderr };
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
      assert.deepEqual(Object.assign({}, last, { summary: {} }), { summary: {}, ok: true, leftOut: [] });
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

  describe('where there is no nft', () => {
    before(function () {
      // It is in /usr/sbin. Who is not root can hide that only where it is root, and then has no need of user namespaces.
      if (process.getuid?.() !== 0) this.skip();
    });

    it('says in its summary that the firewall was left out, and why', async () => {
      const { exit, out, err } = await runOnceAfter(withEmpty('/usr/sbin'), '-o', 'json');
      assert.equal(exit, 0, err);
      const last = JSON.parse(out.trimEnd().split('\n').at(-1) ?? '') as { ok: unknown; leftOut: LeftOut[] };
      assert.equal(last.ok, true);
      assert.deepEqual(
        last.leftOut.map(({ aspect }) => aspect),
        ['firewall'],
      );
      assert.match(last.leftOut[0]?.why ?? '', /\bnft\b/);
    });

    it('refuses to change a firewall before anything is started', async () => {
      const { exit, out, err } = await runOnceAfter(withEmpty('/usr/sbin'), '--tamper', 'firewall');
      assert.deepEqual([exit, out], [1, '']);
      assert.match(err, /\bnft\b/);
    });
  });

  it('takes fewer than three nodes for a mistake in the command', async () => {
    const { exit, out, err } = await runOnce('--nodes', '2');
    assert.equal(exit, 2);
    assert.equal(out, '');
    assert.match(err, /at least 3/);
  });
});
