import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import type { RefusedBoot } from '../../../attest-server/keys/ports.ts';
import { RefusedBoots } from '../../../attest-server/keys/refused-boots.ts';
import { madeEvent } from '../store/made-records.ts';

describe('why nodes got no key', () => {
  let stored: RefusedBoot[];
  let entries: number;
  let refusals: RefusedBoots;
  const store = {
    refuse: async (refused: RefusedBoot, entry: object | null) => {
      stored.push(refused);
      if (entry !== null) entries += 1;
    },
    refusals: async () => stored.slice(-1),
  };
  beforeEach(async () => {
    [stored, entries] = [[], 0];
    refusals = await RefusedBoots.open(store);
  });

  const refused: RefusedBoot = {
    ekDigest: 'ab'.repeat(32),
    volume: '11111111-2222-4333-8444-555555555555',
    resetCount: 7,
    code: 'key_withheld',
    text: 'boot not affirmed',
    at: 1000,
  };
  async function refuse(change: Partial<RefusedBoot> = {}): Promise<boolean> {
    const one = { ...refused, ...change };
    const isNews = refusals.isNews(one);
    await refusals.keep(one, isNews ? madeEvent('key.refuse', 'node-1') : null);
    return isNews;
  }

  it('is news once in a boot, and again in the next one and after a release', async () => {
    assert.deepEqual([await refuse(), await refuse({ at: 2000 })], [true, false]);
    assert.deepEqual([await refuse({ resetCount: 8 }), await refuse({ resetCount: 8 })], [true, false]);
    refusals.released(refused.ekDigest);
    assert.equal(await refuse({ resetCount: 8 }), true);
    assert.deepEqual([stored.length, entries], [3, 3]);
  });

  it('is the same after the server started anew', async () => {
    await refuse();
    refusals = await RefusedBoots.open(store);
    assert.deepEqual([await refuse(), await refuse({ code: 'root_unmeasured' })], [false, true]);
  });

  it('is news eight times to a boot that asks for a thousand volumes, by turns or each once (row 403)', async () => {
    for (let asked = 0; asked < 1000; asked++) {
      await refuse({ volume: `volume ${asked}` });
      await refuse({ text: `boot log ${asked % 2}` });
    }
    assert.equal(entries, 8);
    assert.equal(stored.at(-1)?.text, 'boot log 1', 'the latest is shown');
    assert.equal(await refuse({ ekDigest: 'cd'.repeat(32) }), true, 'another node');
  });
});
