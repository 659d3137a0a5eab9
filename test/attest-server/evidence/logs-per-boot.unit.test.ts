import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { LogsPerBoot } from '../../../attest-server/evidence/logs-per-boot.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

describe('the boot logs that a node sends', () => {
  it('are few for each boot: what nothing measures is free to invent', () => {
    const logs = new LogsPerBoot();
    const refusal = (node: string, resetCount: number, digest: string) =>
      rejectionOf(() => logs.count(node, resetCount, digest))?.code;
    for (let sent = 1; sent <= 9; sent += 1)
      assert.equal(refusal('node-1', 1, `log ${sent}`), sent <= 8 ? undefined : 'too_large');
    assert.equal(refusal('node-1', 1, 'log 1'), undefined);
    assert.equal(refusal('node-1', 2, 'another boot'), undefined);
    assert.equal(refusal('node-2', 1, 'another node'), undefined);
  });

  it('are counted anew once the node is forgotten', () => {
    const logs = new LogsPerBoot();
    for (let sent = 1; sent <= 8; sent += 1) logs.count('node-1', 1, `log ${sent}`);
    logs.forget('node-1');
    assert.equal(
      rejectionOf(() => logs.count('node-1', 1, 'log 9')),
      null,
    );
  });
});
