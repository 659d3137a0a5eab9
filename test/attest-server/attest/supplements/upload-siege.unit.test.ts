import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type UploadSiege, waitOf } from './upload-siege.ts';

const [kib, mib, minute] = [1024, 1024 * 1024, 60_000];
/** As much as a turn asks for, and no byte more. */
const least = (turns: number) => (525 * kib) / 2 ** Math.min(5, Math.max(0, turns - 1));
const drip = () => 1;
const siege: UploadSiege = { attackers: 0, imagesOfEach: 4, attack: drip, fleet: [], rate: 4 * mib };
const slow = 100 * kib;
const fleet = Array.from({ length: 300 }, () => ({ rate: 4 * mib }));

describe('an image of 60 MiB behind nodes that only hold the places', () => {
  const worst: readonly [string, Partial<UploadSiege>, minutes: number][] = [
    ['of two that send a byte at a time, each with four images', { attackers: 2 }, 1],
    ['of two that send as much as a turn asks for', { attackers: 2, attack: least }, 2.5],
    ['of sixteen that send a byte at a time', { attackers: 16 }, 7],
    ['of sixteen that send as much as a turn asks for', { attackers: 16, attack: least }, 32],
    ['of sixteen that did so for an hour', { attackers: 16, attack: least, comesAfter: 60 * minute }, 1],
  ];
  for (const [who, change, minutes] of worst)
    it(`is there within ${minutes} minutes behind those ${who} (row 368)`, () => {
      const took = waitOf({ ...siege, ...change }, minutes * minute);
      assert.ok(took !== null);
    });

  const slowOnes: readonly [string, Partial<UploadSiege>, minutes: number][] = [
    ['where nobody else waits', {}, 11],
    ['behind 300 others', { fleet }, 40],
    ['behind two that hold the places', { attackers: 2, attack: least }, 45],
    ['behind sixteen that hold the places', { attackers: 16, attack: least }, 240],
    ['behind sixteen and 300 others', { attackers: 16, attack: least, fleet }, 270],
  ];
  for (const [where, change, minutes] of slowOnes)
    it(`comes over a line of 100 KiB a second, too, ${where} (row 368)`, () => {
      assert.ok(waitOf({ ...siege, rate: slow, ...change }, minutes * minute) !== null);
    });
});
