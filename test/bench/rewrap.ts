import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile, readFile, rm, writeFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { type LeasedVolume, leaseVolume, openMadeVolumes } from '../attest-server/keys/made-volumes.ts';
import { madeNode } from '../attest-server/store/made-records.ts';
import { rounded } from './attestation.ts';
import { p99 } from './cpu-time.ts';
import { sized } from './sized.ts';

/** The keys of all volumes are wrapped by a new wrapping key, while the key of one after the other is read as for a release. */
export interface RewrapFigures {
  readonly volumes: number;
  readonly ms: number;
  /** Keys that were read meanwhile, each of which was the right one. Otherwise the bench fails. */
  readonly reads: number;
  readonly read_p99_ms: number;
  readonly longest_read_ms: number;
}

const count = sized(5_000, 300);

export async function benchRewrap(): Promise<RewrapFigures> {
  await using made = await openMadeVolumes(Date.now);
  const { store, wrapping, wrappingKeyFile: file, volumes } = made;
  assert(wrapping !== null);
  const leased: (LeasedVolume & Record<'node' | 'ekDigest', string>)[] = [];
  for (let index = 0; index < count; index++) {
    const enrolled = madeNode(`node-${index}`);
    await made.enrol(enrolled);
    const { name: node, ekDigest } = enrolled;
    leased.push({ node, ekDigest, ...(await leaseVolume(store, wrapping, { node, ekDigest })) });
  }
  const earlier = await readFile(file, 'utf8');
  await rm(file);
  await writeFile(file, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
  await appendFile(file, earlier);
  const started = performance.now();
  let isDone = false;
  const rewrapping = volumes.rewrap().finally(() => {
    isDone = true;
  });
  const reads: number[] = [];
  while (!isDone) {
    const wanted = (reads.length * 7919) % count;
    const { uuid, node, ekDigest, key } = leased[wanted] ?? assert.fail();
    const began = performance.now();
    const stored = (await store.leases.volume(uuid)) ?? assert.fail();
    assert(wrapping.unwrap(stored.key, { purpose: 'volume', node, ekDigest, volume: uuid }).equals(key));
    reads.push(performance.now() - began);
    await setImmediate();
  }
  assert.equal(await rewrapping, count);
  const ms = performance.now() - started;
  assert(reads.length > 1, 'nobody reads while it runs');
  assert.deepEqual([...(await store.leases.wrappedBy())], [[wrapping.current, count]]);
  return {
    volumes: count,
    ms: Math.round(ms),
    reads: reads.length,
    read_p99_ms: rounded(p99(reads)),
    longest_read_ms: rounded(Math.max(...reads)),
  };
}
