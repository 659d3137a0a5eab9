import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { runStory, toldStory } from './told-story.ts';

describe('npm start -- --once --tamper forecast', function () {
  this.timeout(150_000);

  it('tells before the reboot of a kernel that nobody staged, gives it no key, and gives it one once it is approved (row 450)', async () => {
    const { lines, counts, ok } = await toldStory('--tamper', 'forecast');
    assert.deepEqual([counts, ok], [{ nodes: 1, trusted: 1, untrusted: 0, unknown: 0 }, true]);
    // The story itself checks what each of them says.
    const told = lines.flatMap(({ command, state }) =>
      typeof command === 'string' ? command.replace(/ (--?|node-1).*/, '') : (state ?? []),
    );
    assert.deepEqual(told.slice(told.lastIndexOf('systemctl start assay-inspect')), [
      'systemctl start assay-inspect',
      'assay disk list',
      'assay why',
      'pending',
      'untrusted',
      'assay-agent unlock',
      'assay reference compute',
      ...told.slice(-4),
    ]);
    assert.match(String(told.slice(-4)), /assay reference import .*,assay reference approve kernel-570/);
    assert.equal(told.filter((one) => one === 'assay-agent unlock').length, 2);
  });

  it('is a story of its own, with one node', async () => {
    const { code, stderr } = await runStory('--tamper', 'forecast');
    assert.equal(code, 2);
    assert.match(stderr, /--tamper forecast is a story of its own/);
  });
});
