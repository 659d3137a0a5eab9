import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { observe } from '../../../../attest-server/policy/draft/observation.ts';
import { postureObserver } from '../../../../attest-server/policy/draft/posture.ts';
import { suggestPolicy } from '../../../../attest-server/policy/draft/suggest.ts';
import { checkPolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { at, file, knowing, RunningNode, runtimePolicy } from './running-node.ts';

const [group = assert.fail()] = runtimePolicy().groups;
const known = knowing({ '/usr/bin/a': 'a' });

describe('a draft of rules for what nodes run', () => {
  it('names the reference that knows all of it, and what the kernel measures', () => {
    const text = drafted(new RunningNode().run(file('/usr/bin/a', 'a')), [known]);
    const rules = checkPolicy(text, 'draft.yaml').policy.groups[0] ?? assert.fail();
    assert.ok(rules.require.includes('runtime'), text);
    assert.deepEqual(rules.rules.runtime.references, ['known']);
    assert.deepEqual(rules.rules.runtime.covers, ['exec', 'mmap', 'modules', 'policy', 'rootReads']);
  });

  it('says how to make a reference where none knows it, and requires nothing then', () => {
    const text = drafted(new RunningNode().run(file('/usr/bin/b', 'b')), [known]);
    assert.equal(checkPolicy(text, 'draft.yaml').policy.groups[0]?.require.includes('runtime'), false);
    assert.match(text, /assay reference capture one --kind runtime --name NAME/);
  });

  it('says nothing of a kernel that measures no file', () =>
    assert.doesNotMatch(drafted(new RunningNode(), [known]), /runtime/));
});

function drafted(node: RunningNode, references: readonly Reference[]): string {
  const proven = node.answer();
  const posture = atOnce(postureObserver(references, at)(proven, 'one', group));
  const about = { name: 'one', tpmClass: 'unknown', manufacturer: null } as const;
  const observations = [observe(proven, about, undefined, posture)];
  return suggestPolicy({ observations, withoutTpm: [], unseen: [] });
}
