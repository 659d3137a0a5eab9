import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { runStory, toldStory } from './told-story.ts';

describe('npm start -- --once --update', function () {
  this.timeout(150_000);

  it('brings a kernel to a fleet by typed commands, and alarms nobody before the revoked one is booted', async () => {
    const { lines, counts, ok } = await toldStory('--update');
    assert.deepEqual([counts, ok], [{ nodes: 4, trusted: 3, untrusted: 1, unknown: 0 }, true]);

    const commands = lines.flatMap(({ command }) => (typeof command === 'string' ? [command] : []));
    const verbs = commands.map((line) => /^assay (?:reference )?([\w-]+)/.exec(line)?.[1]);
    for (const verb of [
      'capture',
      'compute',
      'import',
      'expect',
      'why',
      'candidates',
      'approve',
      'retire',
      'revoke',
    ])
      assert(verbs.includes(verb), `nobody typed ${verb}: ${commands.join('; ')}`);

    const told = lines.filter((line) => !('command' in line));
    for (const line of told) assert.deepEqual(Object.keys(line), ['t', 'node', 'state', 'reasons']);
    const bad = told.filter(({ state }) => state !== 'trusted' && state !== 'pending');
    assert.deepEqual(
      bad.map(({ node, state, reasons }) => [node, state, String(reasons).split(',')[0]]),
      [['node-4', 'untrusted', 'revoked_reference']],
    );
    assert.equal(told.at(-1), bad[0]);
    // Half of the fleet ran the kernel while it was announced, the other half after its approval.
    const early = told.filter(
      ({ state, reasons }) => state === 'trusted' && String(reasons).includes('change_expected'),
    );
    assert.deepEqual(early.map(({ node }) => node).sort(), ['node-1', 'node-2']);
  });

  it('is a story of its own: other stories beside it are a mistake in the command', async () => {
    for (const others of [['--once', '--cluster'], ['--once', '--tamper', 'disk'], []]) {
      const { code, stdout, stderr } = await runStory('--update', ...others);
      assert.deepEqual([code, stdout], [2, ''], others.join(' '));
      assert.match(stderr, /--update/);
    }
  });
});
