import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { storyArguments } from '../../programs.ts';
import { endOf } from '../end-of.ts';

const program = join(import.meta.dirname, '../../../swtpm-fixtures/cluster/main.ts');

describe('npm start -- --once --cluster', function () {
  this.timeout(150_000);

  it('tells what becomes of the Nodes of a cluster, one object a line, and exits 0', async () => {
    const { code, stdout, stderr } = await endOf(
      [program, ...storyArguments, '--once', '--cluster', '-o', 'json'],
      {},
    );
    assert.equal(stderr, '');
    assert.equal(code, 0, stdout);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => Object(JSON.parse(line)) as Record<string, unknown>);
    const last = lines.pop() ?? assert.fail('nothing was said');
    const { seconds, ...counts } = Object(last.summary) as Record<string, unknown>;
    assert.equal(typeof seconds, 'number');
    assert.deepEqual([counts, last.ok], [{ nodes: 3, trusted: 3, untrusted: 0, unknown: 0 }, true]);
    for (const line of lines) assert.deepEqual(Object.keys(line), ['t', 'node', 'state', 'reasons']);
    const untrusted = lines.filter(({ state }) => state === 'untrusted');
    // One by its own kernel, then all of them by a wrong reference.
    assert.deepEqual(untrusted.map(({ node }) => node).sort(), ['node-1', 'node-2', 'node-2', 'node-3']);
    assert.equal(untrusted[0]?.node, 'node-2');
    for (const { reasons } of untrusted) assert.deepEqual(reasons, ['kernel_unknown']);
  });

  it('takes another change than that of a kernel for a mistake in the command', async () => {
    const { code, stdout, stderr } = await endOf(
      [program, ...storyArguments, '--once', '--cluster', '--tamper', 'disk'],
      {},
    );
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /--tamper/);
  });
});
