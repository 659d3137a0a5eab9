import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { describe, it } from 'mocha';
import { openEvidence } from '../../../attest-server/evidence/open.ts';
import { keptContext, Packer } from '../../../attest-server/evidence/pack.ts';

const none = async () => [];

/** The room over blobs in memory; `reads` is what was asked of the store. */
const config = { evidenceFor: 1, transitionEvidenceFor: 1, challengeEvery: 60_000, nodeShare: 1 };

function openOver(blobs: ReadonlyMap<string, Buffer>) {
  const reads: string[] = [];
  const reader = (what: string) => async (digest: string) => {
    reads.push(`${what} ${digest}`);
    return blobs.get(digest) ?? null;
  };
  const room = openEvidence(config, {
    store: {
      read: reader('any'),
      readShared: reader('shared'),
      owners: none,
      named: none,
      erase: async () => false,
      eraseUnused: async () => 0,
      held: async () => 0,
      settledOf: async () => undefined,
      giveWay: none,
      eraseHeld: none,
    },
    now: () => 0,
    monotonic: () => 0,
    fault: (error) => assert.fail(String(error)),
  });
  return { room, reads };
}

const blobsOf = (count: number, bytes: number) =>
  new Map(
    Array.from({ length: count }, () => {
      const content = randomBytes(bytes);
      return [hash('sha256', content, 'hex'), content] as const;
    }),
  );

describe('the parts of kept evidence', () => {
  it('are read once from the store, and those that are not there are asked for again', async () => {
    const blobs = blobsOf(1, 1_000);
    const [digest = ''] = blobs.keys();
    const { room, reads } = openOver(blobs);
    await using _room = room;
    for (const node of ['node-1', 'node-2'])
      assert.deepEqual(await room.readPart(digest, node), blobs.get(digest));
    for (const _ of [1, 2]) assert.equal(await room.readPart('gone', 'node-1'), null);
    // A search through all that the node ever answered is not for a digest that anybody may name.
    assert.deepEqual(reads, [`shared ${digest}`, 'shared gone', 'shared gone']);
  });

  it('take no more than 64 MiB of memory, whatever nodes send', async () => {
    const blobs = blobsOf(40, 2 * 1024 * 1024);
    const { room, reads } = openOver(blobs);
    await using _room = room;
    for (const digest of blobs.keys()) await room.readPart(digest, 'node-1');
    const before = reads.length;
    // The latest are held, the first ones are not any more.
    const digests = [...blobs.keys()];
    for (const digest of digests.slice(-31)) await room.readPart(digest, 'node-1');
    assert.equal(reads.length, before);
    await room.readPart(digests[0] ?? '', 'node-1');
    assert.equal(reads.length, before + 1);
  });

  it('are of the node that is asked for, or there is no bundle', async () => {
    const blobs = new Map<string, Buffer>();
    const { own, shared } = new Packer().pack(
      {
        name: 'node-1',
        ekDigest: '',
        ekPublicArea: Buffer.alloc(0),
        ekCertificate: null,
        ak: { name: '', publicArea: Buffer.alloc(0) },
      },
      {
        nonce: Buffer.alloc(32),
        channel: Buffer.alloc(32),
        quotes: [],
        facts: '',
        parts: {},
        supplements: [],
      },
      { banks: [], clock: { resetCount: 0, restartCount: 0, clock: 0n, safe: true } },
      { at: 0, sentParts: [], memory: {}, labels: {}, previous: undefined, by: 'agent' },
      keptContext('policy', []),
    );
    for (const { digest, bytes } of [own, ...shared]) blobs.set(digest, bytes);
    await using room = openOver(blobs).room;
    assert.equal((await room.bundle('node-1', own.digest))?.context?.node, 'node-1');
    assert.equal(await room.bundle('node-2', own.digest), null);
  });
});
