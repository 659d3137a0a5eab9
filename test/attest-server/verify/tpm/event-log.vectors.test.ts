import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';

const folder = new URL('../../../../swtpm-fixtures/recorded/', import.meta.url);
const recordings = readdirSync(folder).filter((name) =>
  existsSync(new URL(`${name}/binary_bios_measurements`, folder)),
);

describe('event logs of real machines', () => {
  for (const name of recordings)
    it(`${name} replays to the PCRs that others found`, () => {
      const log = parseEventLog(readFileSync(new URL(`${name}/binary_bios_measurements`, folder)));
      const expected: unknown = JSON.parse(readFileSync(new URL(`${name}/expected.json`, folder), 'utf8'));
      const { startupLocality, banks } = log;
      assert.deepEqual(JSON.parse(JSON.stringify({ startupLocality, banks })), expected);
    });

  it('there are recordings to test', () => assert.ok(recordings.length >= 10));
});
