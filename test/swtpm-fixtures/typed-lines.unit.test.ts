import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { isForeground } from '../../swtpm-fixtures/cluster/typed-lines.ts';

describe('whether a process may read its terminal', () => {
  it('is told by its process group and that of the foreground, whatever the program is called', () => {
    const stat = (name: string, foreground: number) =>
      `42 (${name}) S 41 40 39 34816 ${foreground} 4194304 1 0`;
    for (const name of ['node', 'a b', 'x) S 1 2 3', '(']) {
      assert.equal(isForeground(stat(name, 40)), true);
      assert.equal(isForeground(stat(name, 39)), false);
      // Without a terminal.
      assert.equal(isForeground(stat(name, -1)), false);
    }
    assert.equal(isForeground(''), false);
  });
});
