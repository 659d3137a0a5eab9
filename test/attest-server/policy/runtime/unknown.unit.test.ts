import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { appraise, noPast } from '../../../../attest-server/policy/appraise.ts';
import { unknownIn } from '../../../../attest-server/policy/kept-unknown.ts';
import { at, file, knowing, RunningNode, runtimePolicy } from './running-node.ts';

const known = knowing({ '/usr/bin/a': 'a', '/usr/bin/b': 'b' });
const good = () => new RunningNode().run(file('/usr/bin/a', 'a'), file('/usr/bin/b', 'b'));
const tool = file('/usr/local/bin/tool', 'tool');
const other = file('/usr/local/bin/other', 'other');

function unknownOf(node: RunningNode, references: readonly Reference[] = [known]) {
  const { next } = appraise(node.answer(), runtimePolicy(), { name: 'one', past: noPast }, references, at);
  return unknownIn(next.memory).runtime ?? null;
}

describe('files that a node ran and no reference in force has', () => {
  it('are the same on two nodes that ran them in another order, and none where all are known', () => {
    const one = unknownOf(good().run(tool, other)) ?? assert.fail();
    assert.equal(unknownOf(good().run(other, tool))?.set, one.set);
    assert.notEqual(unknownOf(good().run(tool))?.set, one.set);
    assert.equal(unknownOf(good()), null);
  });

  it('are captured alone where they are few, and with all else where they are many', () => {
    const few = unknownOf(good().run(tool));
    assert.deepEqual([few?.only, few?.lacks], [['/usr/local/bin/tool'], null]);
    const many = Array.from({ length: 40 }, (_, index) => file(`/opt/${index}`, `${index}`));
    const all = unknownOf(good().run(...many)) ?? assert.fail();
    assert.equal(all.only, undefined);
    assert.ok(all.things.length <= 16);
  });

  it('are those of a staged reference that has all of them', () => {
    const staged = knowing({ '/usr/local/bin/tool': 'tool' }, { name: 'tools', state: 'staged' });
    assert.equal(unknownOf(good().run(tool), [known, staged])?.knownBy, 'tools');
    assert.equal(unknownOf(good().run(tool, other), [known, staged])?.knownBy, null);
  });
});
