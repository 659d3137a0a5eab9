import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { foldedReasons } from '../../../attest-server/formats/folded-reasons.ts';
import type { Reason } from '../../../attest-server/wire/verdict.ts';

const reason = (code: Reason['code'], more: Partial<Reason> = {}): Reason => ({
  code,
  class: 'drift',
  aspect: 'firewall',
  severity: 'fail',
  source: 'host',
  expected: null,
  actual: null,
  text: code,
  evidence: null,
  ...more,
});
const shape = (reasons: readonly Reason[]) =>
  foldedReasons(reasons).map(({ cause, follows }) => [cause.text, ...follows.map(({ text }) => text)]);

const unread = (expected: string, more: Partial<Reason> = {}) =>
  reason('facts_unavailable', {
    aspect: 'disk',
    expected,
    actual: 'inspect did not run',
    text: expected,
    ...more,
  });
const drift = reason('fw_drift', {
  reference: 'good',
  detail: ['@@ nft inet filter input @@', '+ tcp dport 4444 accept'],
});
const opens = reason('fw_policy_open', { reference: 'good' });
const forbidden = (through: string) =>
  reason('fw_policy_open', { text: through, detail: ['input IPv4', `  nft inet filter input: ${through}`] });
const broken = (text: string, digest: string) =>
  reason('log_replay_mismatch', { aspect: 'boot', text, evidence: { digest, position: 'PCR 5' } });

describe('reasons that follow from one cause', () => {
  for (const [what, reasons, folded] of [
    ['are those that one thing which was not read leaves open', [unread('a'), unread('b')], [['a', 'b']]],
    [
      'are not those that another thing leaves open',
      [
        unread('a'),
        unread('b', { actual: 'another' }),
        unread('c', { actual: null }),
        unread('d', { actual: null }),
      ],
      [['a'], ['b'], ['c'], ['d']],
    ],
    [
      'are those of one part for each aspect that reads it',
      [unread('host'), unread('host', { aspect: 'host', text: 'again' }), unread('x', { aspect: 'host' })],
      [['host', 'again', 'x']],
    ],
    [
      'are what a changed rule lets in, below the change',
      [opens, drift, forbidden('tcp dport 4444 accept')],
      [['fw_drift', 'fw_policy_open', 'tcp dport 4444 accept']],
    ],
    [
      'are not what the reference lets in too, nor what another reference keeps out',
      [forbidden('tcp dport 22 accept'), drift, { ...opens, reference: 'other' }],
      [['tcp dport 22 accept'], ['fw_drift'], ['fw_policy_open']],
    ],
    [
      'never stand below what weighs less',
      [opens, { ...drift, severity: 'info' }],
      [['fw_policy_open'], ['fw_drift']],
    ],
    [
      'are the PCRs that one log does not fit, and not those of another log',
      [broken('5', 'aa'), broken('8', 'aa'), broken('9', 'bb')],
      [['5', '8'], ['9']],
    ],
  ] as const)
    it(what, () => {
      assert.deepEqual(shape(reasons), folded);
    });

  it('are all there, whatever the order (row 406)', () => {
    const all = [
      opens,
      forbidden('tcp dport 4444 accept'),
      drift,
      unread('a'),
      unread('b'),
      broken('5', 'aa'),
    ];
    for (const order of [all, all.toReversed(), all.toSorted((a, b) => (a.text < b.text ? -1 : 1))])
      assert.deepEqual(shape(order).flat().sort(), all.map(({ text }) => text).sort());
  });
});
