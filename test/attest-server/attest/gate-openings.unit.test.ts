import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { GateOpenings } from '../../../attest-server/attest/gate-openings.ts';

describe('openings of gates in the audit log', () => {
  it('are there once each, also where one of an earlier boot is told beside that of now', () => {
    const openings = new GateOpenings();
    const seen = ['affirmed 8', 'affirmed 8', 'operator 7', 'operator 7', 'affirmed 9'];
    assert.deepEqual(
      seen.map((opening) => openings.isNew('node-1', opening, 0)),
      [true, false, true, false, true],
    );
    assert.ok(openings.isNew('node-2', 'affirmed 8', 0));
  });

  it('are few of a node that invents them', () => {
    const openings = new GateOpenings();
    let count = 0;
    // A day of ten a second.
    for (let at = 0; at < 86_400_000; at += 100) if (openings.isNew('node-1', `operator ${at}`, at)) count++;
    assert.ok(count <= 1440 + 16, `${count} entries`);
  });
});
