import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { pino } from 'pino';
import { inForceReport } from '../../../attest-server/in-force/telemetry.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import { madeTelemetry } from '../telemetry/made-telemetry.ts';

describe('the report of another policy', () => {
  it('says in one line whom it changes, the worst first, and warns where one turns untrusted', () => {
    const lines: string[] = [];
    const logger = pino({ level: 'info' }, { write: (line) => void lines.push(line) });
    const { policyCompared } = inForceReport(madeTelemetry({ logger }).reporting);
    const side = (state: NodeState) => ({ state });
    const trusted = { node: 'node-1', before: side('pending'), after: side('trusted'), changed: true };
    const untrusted = { node: 'node-2', before: side('trusted'), after: side('untrusted'), changed: true };
    const same = { node: 'node-3', before: side('trusted'), after: side('trusted'), changed: false };
    const unjudged = { node: 'node-4', before: null, after: null, changed: false };
    policyCompared(observePolicy, [trusted, untrusted, same, unjudged]);
    policyCompared(observePolicy, [same]);
    const told = lines.map((line) => JSON.parse(line));
    assert.deepEqual(
      told.map(({ level, nodes, changed, untrusted, unjudged, named }) =>
        [level, nodes, changed, untrusted, unjudged, named].join(),
      ),
      ['40,4,2,1,1,node-2,node-1', '30,1,0,0,0,'],
    );
  });
});
