import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { Candidates } from '../../../attest-server/enrolment/candidates.ts';
import type { Candidate } from '../../../attest-server/enrolment/ports.ts';

const claim = (node: string, ek: string, address = '10.0.0.1') => ({
  node,
  ekDigest: ek,
  ekPublicArea: Buffer.from(ek),
  certificateSubject: null,
  manufacturer: null,
  address,
});

/** A store that counts what is written. */
function diskOf(kept: readonly Candidate[] = []) {
  const rows = new Map(kept.map((each) => [`${each.node} ${each.ekDigest}`, each]));
  let writes = 0;
  return {
    rows,
    get writes() {
      return writes;
    },
    candidates: async () => [...rows.values()],
    saveCandidates: async ({ changed, gone }: Parameters<CandidateStore['saveCandidates']>[0]) => {
      writes += changed.length;
      for (const { node, ekDigest } of gone) rows.delete(`${node} ${ekDigest}`);
      for (const each of changed) rows.set(`${each.node} ${each.ekDigest}`, each);
    },
  };
}
type CandidateStore = Parameters<typeof Candidates.open>[0];

describe('the list of candidates', () => {
  it('keeps who claims a name side by side, and counts how often each came', async () => {
    const candidates = await Candidates.open(diskOf());
    candidates.note(claim('node-1', 'a'), 1);
    candidates.note(claim('node-1', 'b'), 2);
    candidates.note(claim('node-1', 'a'), 3);
    assert.deepEqual(
      candidates
        .list()
        .map(({ ekDigest, firstSeen, lastSeen, attempts }) => [ekDigest, firstSeen, lastSeen, attempts]),
      [
        ['b', 2, 2, 1],
        ['a', 1, 3, 2],
      ],
    );
  });

  const shown = (candidates: Candidates, of: string) =>
    candidates.list().flatMap(({ node, ekDigest }) => (node === of ? [ekDigest] : []));

  it('holds four of a name and source, the first of them for good, and drops no other name or source', async () => {
    const candidates = await Candidates.open(diskOf());
    candidates.note(claim('node-2', 'other'), 0);
    candidates.note(claim('node-1', 'first'), 1);
    candidates.note(claim('node-1', 'true', '10.0.0.2'), 1);
    for (let each = 0; each < 100; each += 1) candidates.note(claim('node-1', `forged-${each}`), 2 + each);
    assert.deepEqual(shown(candidates, 'node-1'), ['first', 'true', 'forged-97', 'forged-98', 'forged-99']);
    assert.deepEqual(shown(candidates, 'node-2'), ['other']);
  });

  it('holds sixteen of a name: the source that has most gives way (row 126)', async () => {
    const candidates = await Candidates.open(diskOf());
    candidates.note(claim('node-1', 'true', '10.9.9.9'), 1);
    for (let each = 0; each < 400; each += 1)
      candidates.note(claim('node-1', `forged-${each}`, `10.0.${each % 8}.1`), 2 + each);
    assert.equal(shown(candidates, 'node-1').length, 16);
    assert.ok(shown(candidates, 'node-1').includes('true'));
    // Each from a network of its own: whoever was first stays, and whoever comes is listed.
    for (let each = 0; each < 400; each += 1)
      candidates.note(claim('node-1', `many-${each}`, `10.1.${each % 256}.${each >> 8}`), 500 + each);
    candidates.note(claim('node-1', 'late', '10.8.8.8'), 1_000);
    assert.equal(shown(candidates, 'node-1').length, 16);
    for (const kept of ['true', 'late']) assert.ok(shown(candidates, 'node-1').includes(kept), kept);
  });

  it('goes by where a TPM first came from: whoever repeats its keys from elsewhere does not drop it (row 126)', async () => {
    const candidates = await Candidates.open(diskOf());
    candidates.note(claim('node-1', 'false', '10.0.0.1'), 1);
    candidates.note(claim('node-1', 'true', '10.0.0.2'), 2);
    candidates.note(claim('node-1', 'true', '10.0.0.1'), 3);
    for (let each = 0; each < 20; each += 1) candidates.note(claim('node-1', `forged-${each}`), 4 + each);
    assert.ok(shown(candidates, 'node-1').includes('true'));
  });

  it('is filled with made-up names by one source, and keeps what came from elsewhere', async () => {
    const candidates = await Candidates.open(diskOf());
    candidates.note(claim('node-true', 'true', '10.0.0.2'), 0);
    for (let each = 0; each < 5_000; each += 1) candidates.note(claim(`node-${each}`, 'a'), 1 + each);
    assert.equal(candidates.list().length, 1024);
    assert.deepEqual(shown(candidates, 'node-true'), ['true']);
  });

  it('keeps the true TPM of a name that a flood of names claimed before it, where all of it comes from one source (row 126)', async () => {
    const candidates = await Candidates.open(diskOf());
    candidates.note(claim('node-true', 'false'), 0);
    for (let each = 0; each < 2_000; each += 1) {
      if (each === 1_000) candidates.note(claim('node-true', 'true', '10.0.0.2'), each);
      candidates.note(claim(`node-${each}`, 'a'), 1 + each);
    }
    assert.equal(candidates.list().length, 1024);
    assert.ok(shown(candidates, 'node-true').includes('true'));
  });

  it('holds 1024 in all, whatever names are made up', async () => {
    const disk = diskOf();
    const candidates = await Candidates.open(disk);
    for (let each = 0; each < 5_000; each += 1) candidates.note(claim(`node-${each}`, 'a'), each);
    assert.equal(candidates.list().length, 1024);
    assert.equal(candidates.list()[0]?.node, 'node-3976');
    await candidates.flush(5_000);
    assert.equal(disk.rows.size, 1024);
  });

  it('writes one candidate at most once in ten seconds, however often it comes, and nothing twice', async () => {
    const disk = diskOf();
    const candidates = await Candidates.open(disk);
    for (let at = 0; at < 30_000; at += 10) {
      candidates.note(claim('node-1', 'a'), at);
      await candidates.flush(at);
    }
    assert.equal(disk.writes, 3);
    await candidates.flush(30_000, true);
    await candidates.flush(60_000, true);
    assert.equal(disk.writes, 4);
    assert.equal(disk.rows.get('node-1 a')?.attempts, 3_000);
  });

  it('is what it was after a restart, without those that became nodes', async () => {
    const disk = diskOf();
    const candidates = await Candidates.open(disk);
    candidates.note(claim('node-1', 'a'), 1);
    candidates.note(claim('node-2', 'b'), 2);
    await candidates.flush(3);
    candidates.forget({ node: 'node-1', ekDigest: 'a' });
    await candidates.flush(4);
    assert.deepEqual((await Candidates.open(disk)).list(), candidates.list());
    assert.equal(disk.rows.size, 1);
  });

  it('tries again what the disk did not take: who became a node does not come back after a restart', async () => {
    const disk = diskOf();
    let isFull = false;
    const candidates = await Candidates.open({
      ...disk,
      async saveCandidates(changes) {
        if (isFull) throw new Error('the disk is full');
        await disk.saveCandidates(changes);
      },
    });
    candidates.note(claim('node-1', 'a'), 1);
    candidates.note(claim('node-2', 'b'), 2);
    await candidates.flush(3);
    isFull = true;
    candidates.forget({ node: 'node-1', ekDigest: 'a' });
    candidates.forget({ node: 'node-2', ekDigest: 'b' });
    await assert.rejects(candidates.flush(4));
    // Meanwhile this one waits again.
    candidates.note(claim('node-2', 'b'), 5);
    isFull = false;
    await candidates.flush(20_000);
    assert.deepEqual([...disk.rows.keys()], ['node-2 b']);
  });
});
