import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type Reference, unseenFiles } from '../../../../attest-server/formats/reference.ts';
import { CaptureError } from '../../../../attest-server/policy/capture-error.ts';
import { filesOf, siblingFile, withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { dataOf, eventsWhere, remeasured } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, verdictOn, verdictsBy } from '../made-proof.ts';

const log = withMadeFiles(recordedLog('fedora41-locality-3'));
const files = [...filesOf(log).values()];
const at = Date.parse('2026-11-25T12:00:00Z');
const policy = policyOf('require: [identity, boot]');
const seen = madeProof({ log });
const unseen = madeProof({ log, files: [] });
const [entry] = eventsWhere(log, ({ pcr, describes }) => pcr === 9 && describes.endsWith('.conf'));
assert.ok(entry);
const withEntry = (content: Buffer) => remeasured(log, entry.index, dataOf(log, entry.index), content);

function judged(proven: typeof seen, name: string, ...references: readonly Reference[]) {
  const { state, reasons } = verdictOn(proven, policy, { name }, references, at);
  return [state, ...reasons.map(({ code }) => code)];
}

describe('a file that nobody has seen', () => {
  const blind = capturedFrom(unseen, { node: 'worker-1' });
  const good = capturedFrom(seen, { node: 'worker-1' });

  it('counts for the node of the reference alone (row 137)', () => {
    assert.deepEqual(judged(unseen, 'worker-1', blind), ['trusted']);
    assert.deepEqual(judged(unseen, 'worker-2', blind), ['untrusted', 'bootloader_unknown']);
  });

  it('is seen where another node sends it, or the reference was made of one that did', () => {
    assert.deepEqual(judged(seen, 'worker-2', blind), ['trusted']);
    assert.deepEqual(judged(unseen, 'worker-2', good), ['trusted']);
  });

  it('does not stand for another one, on no node (row 137)', () => {
    const other = withEntry(siblingFile('another entry'));
    for (const node of ['worker-1', 'worker-2'])
      assert.deepEqual(judged(madeProof({ log: other, files }), node, good), [
        'untrusted',
        'bootloader_unknown',
      ]);
    const sent = madeProof({ log: other, files: [...files, siblingFile('another entry')] });
    assert.deepEqual(judged(sent, 'worker-2', good), ['trusted']);
  });

  it('is named by its reference, until it is seen', () => {
    assert.equal(unseenFiles(blind).length, new Set(files.map(String)).size);
    assert.deepEqual(unseenFiles(good), []);
  });

  it('is judged anew for each node, and where files come or go', () => {
    const verdicts = verdictsBy(policy, [blind]);
    const states = [
      ['worker-1', unseen],
      ['worker-2', unseen],
      ['worker-2', seen],
      ['worker-2', unseen],
      ['worker-1', unseen],
    ] as const;
    assert.deepEqual(
      states.map(([name, proven]) => verdicts(proven, { name }, at).state),
      ['trusted', 'untrusted', 'trusted', 'untrusted', 'trusted'],
    );
  });
});

describe('a file of a loader that is something else', () => {
  const hidden: readonly (readonly [string, Buffer])[] = [
    ['an image', Buffer.from('MZ and what follows')],
    ['an archive', Buffer.from('070701 and what follows')],
    ['compressed data', Buffer.of(0x1f, 0x8b, 8, 0, 0, 0)],
  ];
  for (const [what, content] of hidden)
    it(`is no model, and never trusted: ${what} (row 137)`, () => {
      const proven = madeProof({ log: withEntry(content), files: [...files, content] });
      assert.throws(() => capturedFrom(proven), CaptureError);
      const blind = capturedFrom(madeProof({ log: withEntry(content), files }), { node: 'worker-1' });
      assert.deepEqual(judged(proven, 'worker-1', blind), ['untrusted', 'bootloader_unknown']);
    });

  it('is as if nobody had seen it, where it is data of no known kind', () => {
    const picture = Buffer.from('89504e470d0a1a0a00', 'hex');
    const proven = madeProof({ log: withEntry(picture), files: [...files, picture] });
    const own = capturedFrom(proven, { node: 'worker-1' });
    assert.deepEqual(unseenFiles(own), [entry.describes]);
    assert.deepEqual(judged(proven, 'worker-1', own), ['trusted']);
    assert.deepEqual(judged(proven, 'worker-2', own), ['untrusted', 'bootloader_unknown']);
  });
});
