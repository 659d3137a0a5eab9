import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type StorageCause, StorageFault } from '../../../attest-server/formats/server-fault.ts';
import { groupCommit } from '../../../attest-server/store/group-commit.ts';
import { roomFor } from '../../../attest-server/store/sqlite/room.ts';

/** A write that fails so often for this cause, and what is done about it, in order. */
async function written(
  cause: StorageCause | null,
  failures: number,
  mayUseReserve: boolean,
  wasFull = false,
  own = 0,
) {
  const done: string[] = [];
  let left = failures;
  const room = roomFor(
    {
      failed: () => done.push('failed'),
      isFull: () => wasFull || done.includes('failed'),
      isLow: (own) => own < 0,
    },
    async () => {
      done.push('emptied');
    },
    () => own,
  );
  const write = async () => {
    done.push('write');
    if (left-- > 0) throw cause === null ? new Error('no') : new StorageFault(cause);
  };
  await room.write(write, mayUseReserve).catch(() => done.push('thrown'));
  return done.join(' ');
}

describe('a write that finds no room', () => {
  const cases: readonly (readonly [string, Parameters<typeof written>, string])[] = [
    ['is done once where there is room', ['disk_full', 0, false], 'write'],
    [
      'is done again with the log emptied, and nobody is told',
      ['disk_full', 1, false],
      'write emptied write',
    ],
    ['fails then, where it is a verdict', ['disk_full', 2, false], 'write emptied write failed thrown'],
    [
      'is done a third time in the room that is kept, where people wait for it',
      ['disk_full', 2, true],
      'write emptied write failed emptied write emptied',
    ],
    [
      'fails where that is used up, too',
      ['disk_full', 3, true],
      'write emptied write failed emptied write failed thrown',
    ],
    ['is not repeated for another cause', ['read_only', 1, true], 'write failed thrown'],
    [
      'is not tried where the disk is known as full, where no person waits for it',
      ['disk_full', 0, false, true],
      'thrown',
    ],
    ['is tried then, where people wait for it', ['disk_full', 0, true, true], 'write emptied'],
    ['tells nobody of a fault of the program', [null, 1, true], 'write thrown'],
  ];
  for (const [what, given, expected] of cases)
    it(what, async () => assert.equal(await written(...given), expected));

  it('refuses its neighbours with it, and tries none of them alone', async () => {
    let writes = 0;
    const commits = groupCommit<number>(() => {
      writes += 1;
      return Promise.reject(new StorageFault('disk_full'));
    });
    const outcomes = await Promise.allSettled([commits.add(1), commits.add(2), commits.add(3)]);
    assert.deepEqual([writes, outcomes.map(({ status }) => status)], [1, Array(3).fill('rejected')]);
  });
});
