import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import {
  type AbsenceState,
  awayAfter,
  doubtOf,
  here,
  type NodeObservation,
} from '../../../attest-server/presence/absence.ts';

const goneAfter = 600;

describe('who is away', () => {
  const sight: fc.Arbitrary<NodeObservation> = fc.record({
    hasNode: fc.boolean(),
    isProven: fc.boolean(),
    isJudged: fc.boolean(),
    mayConclude: fc.boolean(),
  });
  const looks = fc.array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.boolean(), sight), { maxLength: 40 });

  it('is gone only after the whole time in which every look found neither Node nor TPM', () => {
    fc.assert(
      fc.property(looks, (all) => {
        let away: AbsenceState = here;
        let at = 0;
        let absentSince: number | null = null;
        for (const [passes, isQuiet, seen] of all) {
          at += passes;
          const look = isQuiet
            ? { hasNode: false, isProven: false, isJudged: false, mayConclude: true }
            : seen;
          const isAbsent = !look.hasNode && !look.isProven;
          if (!isAbsent) absentSince = null;
          else if (!away.isGone) absentSince = look.mayConclude ? (absentSince ?? at) : null;
          const before = away;
          away = awayAfter(before, look, at, goneAfter);
          if (!isAbsent) assert.equal(away, here);
          else if (before.isGone) assert.equal(away, before);
          else
            assert.equal(
              away.isGone,
              absentSince !== null && !look.isJudged && at - absentSince >= goneAfter,
            );
        }
      }),
    );
  });

  it('stays gone while nobody knows what the cluster has, and comes back by either of the two', () => {
    const gone: AbsenceState = { missingAt: null, isGone: true };
    const nothing = { hasNode: false, isProven: false, isJudged: false, mayConclude: false };
    assert.equal(awayAfter(gone, nothing, 0, goneAfter), gone);
    assert.equal(awayAfter(gone, { ...nothing, hasNode: true }, 0, goneAfter), here);
    assert.equal(awayAfter(gone, { ...nothing, isProven: true }, 0, goneAfter), here);
  });

  const fleet = { inCluster: 100, hasOwn: null, connected: 90, denied: 0 };
  const cases = [
    ['nothing is wrong', fleet, null],
    ['it has no Node at all', { ...fleet, inCluster: 0 }, 'empty'],
    ['it lacks the Node of the server', { ...fleet, hasOwn: false }, 'own_node'],
    ['it has the Node of the server', { ...fleet, hasOwn: true }, null],
    ['it denies most agents that are connected', { ...fleet, denied: 46 }, 'contradicted'],
    ['some agents live on for a moment', { ...fleet, denied: 45 }, null],
    ['two agents live on, and nobody else is there', { ...fleet, connected: 2, denied: 2 }, null],
    [
      'three agents are denied, and nobody else is there',
      { ...fleet, connected: 3, denied: 3 },
      'contradicted',
    ],
  ] as const;
  for (const [what, given, doubt] of cases)
    it(`${doubt === null ? 'believes' : 'does not believe'} the cluster where ${what}`, () => {
      assert.equal(doubtOf(given), doubt);
    });
});
