import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { NodeState, Verdict } from '../../../attest-server/wire/verdict.ts';
import { createAlarms } from '../../../swtpm-fixtures/cluster/alarms.ts';

const verdict = (state: NodeState, ...codes: readonly ReasonCode[]) =>
  ({ state, reasons: codes.map((code) => ({ code })) }) as unknown as Verdict;

describe('the alarms of a story', () => {
  it('are raised by what wakes somebody at once, and by silence', () => {
    for (const [state, code] of [
      ['untrusted', 'kernel_unknown'],
      ['untrusted', 'revoked_reference'],
      ['untrusted', 'secureboot_off'],
      ['pending', 'log_replay_mismatch'],
      ['unknown', 'evidence_overdue'],
    ] as const) {
      const alarms = createAlarms();
      alarms.see('node-1', verdict(state, code, 'rebooted'));
      assert.deepEqual(alarms.raised, [`node-1 is ${state} (${code})`]);
    }
  });

  it('are not raised by a reboot, an announced change, or a node that is trusted', () => {
    const alarms = createAlarms();
    alarms.see('node-1', verdict('pending', 'rebooted'));
    alarms.see('node-1', verdict('pending', 'change_expected'));
    alarms.see('node-1', verdict('trusted', 'change_expected'));
    alarms.see('node-2', verdict('trusted'));
    assert.deepEqual(alarms.raised, []);
    assert.deepEqual(
      ['node-1', 'node-2', 'node-3'].map((node) => alarms.verdictsOn(node)),
      [3, 1, 0],
    );
  });

  it('are kept where the next verdict is good again, and said once where they go on', () => {
    const alarms = createAlarms();
    for (const state of ['untrusted', 'untrusted', 'trusted', 'untrusted'] as const)
      alarms.see('node-1', verdict(state, 'kernel_unknown'));
    assert.deepEqual(alarms.raised, ['node-1 is untrusted (kernel_unknown)']);
  });
});
