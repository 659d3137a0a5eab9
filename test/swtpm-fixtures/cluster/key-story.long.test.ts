import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { runStory, toldStory } from './told-story.ts';

describe('npm start -- --once --tamper key', function () {
  this.timeout(150_000);

  it('gives a disk its key at a boot, none after the cap nor to a changed kernel, and recovers it without a server', async () => {
    const { lines, counts, ok } = await toldStory('--tamper', 'key');
    assert.deepEqual([counts, ok], [{ nodes: 1, trusted: 0, untrusted: 1, unknown: 0 }, true]);
    const commands = lines.flatMap(({ command }) => (typeof command === 'string' ? [command] : []));
    assert.deepEqual(
      commands.map((line) => line.replace(/ (--?|node-1).*/, '')),
      [
        'assay reference capture',
        'assay disk init',
        'assay-agent format',
        'assay disk list',
        'assay disk escrow',
        'assay-agent unlock',
        'assay-agent unlock',
        'assay-agent unlock',
        'assay why',
        'assay audit list',
      ],
    );
    const last = lines.findLast((line) => 'state' in line);
    assert.deepEqual([last?.node, last?.state], ['node-1', 'untrusted']);
    assert(String(last?.reasons).includes('kernel_unknown'), String(last?.reasons));
  });

  it('is a story of its own, with one node: anything else is a mistake in the command', async () => {
    for (const others of [[], ['--once', '--nodes', '3'], ['--once', '--cluster'], ['--once', '--update']]) {
      const { code, stdout, stderr } = await runStory('--tamper', 'key', ...others);
      assert.deepEqual([code, stdout], [2, ''], others.join(' '));
      assert.match(stderr, /--tamper/);
    }
  });
});
