import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { runStory, toldStory } from './told-story.ts';

describe('npm start -- --once --cluster', function () {
  this.timeout(150_000);

  it('tells what becomes of the Nodes of a cluster, one object a line, and exits 0', async () => {
    const { lines, counts, ok } = await toldStory('--cluster');
    assert.deepEqual([counts, ok], [{ nodes: 3, trusted: 3, untrusted: 0, unknown: 0 }, true]);
    for (const line of lines) assert.deepEqual(Object.keys(line), ['t', 'node', 'state', 'reasons']);
    const untrusted = lines.filter(({ state }) => state === 'untrusted');
    // One by its own kernel, then all of them by a wrong reference.
    assert.deepEqual(untrusted.map(({ node }) => node).sort(), ['node-1', 'node-2', 'node-2', 'node-3']);
    assert.equal(untrusted[0]?.node, 'node-2');
    for (const { reasons } of untrusted) assert.deepEqual(reasons, ['kernel_unknown']);
  });

  it('takes another change than that of a kernel for a mistake in the command', async () => {
    const { code, stdout, stderr } = await runStory('--once', '--cluster', '--tamper', 'disk');
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /--tamper/);
  });
});
