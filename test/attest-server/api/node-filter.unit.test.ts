import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { nodeFilter, selects } from '../../../attest-server/api/node-filter.ts';

const messageOf = (given: object) => nodeFilter.safeParse(given).error?.issues[0]?.message ?? null;

describe('the filter of nodes', () => {
  it('takes words with commas', () => {
    assert.deepEqual(
      nodeFilter.parse({ state: 'untrusted, unknown', reason: 'kernel_unknown', group: 'a,b' }),
      {
        state: ['untrusted', 'unknown'],
        reason: ['kernel_unknown'],
        group: ['a', 'b'],
      },
    );
  });

  for (const [given, says] of [
    [{ state: 'trustd' }, /did you mean trusted/],
    [{ state: 'green' }, /there are pending, trusted/],
    [{ reason: 'kernel_unkown' }, /did you mean kernel_unknown/],
    [{ state: 'trusted,' }, /empty/],
    [{ group: '' }, /empty/],
    [{ selector: 'zone in (a, b)' }, /is not a label/],
    [{ selector: '!zone=a' }, /is not a label/],
    [{ selector: 'zone=a b' }, /is not a label/],
    [{ selector: '' }, /is not a label/],
    [{ selector: 'zone=a,' }, /is not a label/],
  ] as const)
    it(`refuses ${JSON.stringify(given)} and says what is meant`, () => {
      assert.match(String(messageOf(given)), says);
    });

  const labels = { zone: 'a', 'node-role.kubernetes.io/control-plane': '' };
  for (const [selector, is] of [
    ['zone=a', true],
    ['zone==a', true],
    ['zone=b', false],
    ['zone!=b', true],
    ['zone!=a', false],
    ['rack!=1', true],
    ['zone', true],
    ['rack', false],
    ['!rack', true],
    ['!zone', false],
    ['node-role.kubernetes.io/control-plane=', true],
    ['zone=a,!rack', true],
    ['zone=a,rack', false],
    ['constructor', false],
  ] as const)
    it(`${is ? 'selects' : 'leaves out'} a node by ${selector}, as kubectl does`, () => {
      assert.equal(selects(nodeFilter.parse({ selector }).selector ?? [], labels), is);
    });

  it('takes at most 100 words, and looks for what was meant by the first wrong one alone', () => {
    const many = Array.from({ length: 8000 }, (_, at) => `kernel_unknow${at}`).join(',');
    for (const name of ['state', 'reason', 'group', 'selector'])
      assert.match(String(messageOf({ [name]: many })), /more than 100/);
    assert.equal(nodeFilter.safeParse({ reason: 'kernel_unkown,kernel_unkow' }).error?.issues.length, 1);
  });

  it('gives a filter or says why not, of any text', () => {
    fc.assert(
      fc.property(fc.record({ state: fc.string(), selector: fc.string(), group: fc.string() }), (given) => {
        const { success, error } = nodeFilter.safeParse(given);
        assert.ok(success || error.issues.every(({ message }) => message.length < 200));
      }),
    );
  });
});
