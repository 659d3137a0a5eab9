import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { differences } from './answer.ts';
import { readNamedDifferences } from './named-differences.ts';
import { isReplayed, type RecordedRequest, readRecording } from './recording.ts';
import { type Replayed, replay } from './replay.ts';

const recording = readRecording().filter(isReplayed);
const byCase = Map.groupBy(recording, (request) => request.case);
const listed = readNamedDifferences();

describe('the API server of the tests, held against a recording of kube-apiserver', () => {
  let replayed: readonly Replayed[] = [];
  before(async function () {
    // Its watches end after a second each.
    this.timeout(180_000);
    replayed = await replay(recording);
  });

  for (const [name, requests] of byCase) {
    it(`answers all requests of the case "${name}" alike, or names the difference`, () => {
      const its = replayed.filter(({ request }) => request.case === name);
      assert.equal(its.length, requests.length);
      const found = its.flatMap(({ request, real, ours }) => rowsOf(request, differences(real, ours)));
      const named = listed
        .filter((row) => row.case === name)
        .flatMap(({ steps, members }) => steps.flatMap((step) => rowsOf({ step }, members)));
      // A row whose answers became alike has to go, too.
      assert.deepEqual(found.sort(), named.sort());
    });
  }

  it('names no difference in a case that is not there', () => {
    assert.deepEqual(
      listed.filter((row) => !byCase.has(row.case)),
      [],
    );
  });
});

function rowsOf({ step }: Pick<RecordedRequest, 'step'>, members: readonly string[]): readonly string[] {
  return members.map((member) => `step ${step}: ${member}`);
}
