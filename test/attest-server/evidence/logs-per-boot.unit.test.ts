import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { LogsPerBoot } from '../../../attest-server/evidence/logs-per-boot.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { rejectionOf } from '../verify/rejection-of.ts';

const hour = 3_600_000;
const longest = limits.parts.boot;

describe('the boot logs that a node sends', () => {
  /** The code of the refusal; undefined where it is taken. */
  const sends = (logs: LogsPerBoot, resetCount: number, digest: string, bytes = 1_000, at = 0) =>
    rejectionOf(() => logs.count(resetCount, digest, bytes, at))?.code;

  it('are few for each boot: what nothing measures is free to invent', () => {
    const logs = new LogsPerBoot('node-1');
    for (let sent = 1; sent <= 9; sent += 1)
      assert.equal(sends(logs, 1, `log ${sent}`), sent <= 8 ? undefined : 'too_large');
    assert.equal(sends(logs, 1, 'log 1'), undefined);
    assert.equal(sends(logs, 2, 'another boot'), undefined);
  });

  it('have one budget for all of its boots, which fills again by the clock that nobody sets', () => {
    const logs = new LogsPerBoot('node-1');
    const boots = (boot: number, at = 0) => sends(logs, boot, `log ${boot}`, longest, at);
    for (let boot = 1; boot <= 16; boot += 1) assert.equal(boots(boot), undefined);
    assert.equal(boots(17), 'too_large');
    assert.equal(boots(17, hour / 2 - 1), 'too_large');
    assert.equal(boots(17, hour / 2), undefined);
    assert.equal(boots(18, hour / 2), 'too_large');
    // What was refused was not kept, and took nothing.
    assert.equal(boots(18, hour), undefined);
  });

  it('take nothing where it is the log of the boot before, as most machines write it', () => {
    const logs = new LogsPerBoot('node-1');
    for (let boot = 1; boot <= 100; boot += 1) assert.equal(sends(logs, boot, 'the log', longest), undefined);
  });
});
