import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { KeptBlob } from '../../../attest-server/attest/ports.ts';
import { HeldByNode } from '../../../attest-server/evidence/held-by-node.ts';
import { namedDigests, namingBlobs } from '../../../attest-server/evidence/named-digests.ts';
import { eraseOldEvidence } from '../../../attest-server/evidence/retention.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { imaIndex } from '../../../attest-server/wire/ima-pieces.ts';
import { initrdListHead } from '../../../attest-server/wire/initrd-list.ts';
import { fileList } from '../../../attest-server/wire/loader-files.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import { madeBlob, madeEvent, madeNode, madeRecord, madeRepeat, madeVerdict } from './made-records.ts';
import { openMadeStore } from './made-store.ts';

const day = 86_400_000;
const [one, two] = [madeNode('node-1'), madeNode('node-2')];
const long = (name: string, bytes = 100_000) => madeBlob(`${name} ${'x'.repeat(bytes)}`);

describe('what is kept of one node', () => {
  let dir = '';
  let store: Store;
  let at = 1_000 * day;
  const open = () => openMadeStore(join(dir, 'assay.db'));
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'assay-held-'));
    store = await open();
    for (const node of [one, two]) await store.enrolment.enrol(node, madeEvent('enrol', node.name));
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });

  /** An answer of a node that names these; gives the digest of its evidence. */
  async function record(
    state: NodeState,
    sent: readonly KeptBlob[],
    { node = one, names = sent, transition = false }: Partial<RecordHow> = {},
  ): Promise<string> {
    at += 60_000;
    const named = Object.fromEntries(names.map(({ digest }, index) => [`n${index}`, digest]));
    const text = JSON.stringify({ named, parts: {}, context: { at: new Date(at).toISOString() } });
    const made = madeRecord(node, at, madeVerdict(state, 'kernel_unknown'), Buffer.from(text));
    await store.verdicts.recordChange({
      ...made,
      status: { ...made.status, parts: {}, recordedEvidence: made.status.evidenceDigest },
      evidence: [...made.evidence, ...sent],
      history: made.history.map((row) => ({ ...row, transition })),
    });
    return made.status.evidenceDigest ?? assert.fail();
  }
  interface RecordHow {
    node: typeof one;
    names: readonly KeptBlob[];
    transition: boolean;
  }

  const held = (node = one) => store.evidence.held(node.ekDigest);
  const isKept = async ({ digest }: { digest: string }, node = one) =>
    (await store.evidence.read(digest, node.name)) !== null;
  const requestOf = (node = one) => ({
    node: node.name,
    ekDigest: node.ekDigest,
    named: namedDigests,
    lists: namingBlobs,
    event: (digests: readonly string[]) => ({
      ...madeEvent('evidence_erased', node.name),
      detail: { digests: digests.join(' ') },
    }),
  });
  const giveWay = (free: number, least = 0, naming: readonly string[] = []) =>
    store.evidence.giveWay({ ...requestOf(), free, least, naming });
  const eraseOld = () =>
    eraseOldEvidence(
      {
        store: store.evidence,
        now: () => at,
        evidenceFor: 30 * day,
        transitionEvidenceFor: 400 * day,
        fault: (error) => assert.fail(String(error)),
      },
      new AbortController().signal,
    );
  const erased = async () =>
    (await store.audit.entries({ limit: 10_000 }))
      .filter(({ action }) => action === 'evidence_erased')
      .flatMap(({ detail }) => String(detail.digests).split(' '));

  it('is counted as it is written, whoever names it, and is known to a server that starts again', async () => {
    assert.equal(await held(), 0);
    const shared = long('a log');
    await record('trusted', [shared]);
    const first = await held();
    assert(first > 100_000 && first < 112_000, `${first}`);
    // The same log again counts once, and each row a little more.
    await record('trusted', [shared]);
    const second = await held();
    assert(second > first && second < first + 8_000, `${second}`);
    await record('trusted', [shared], { node: two });
    assert.equal(await held(), second);
    const other = await held(two);
    assert(other > 100_000 && other < 112_000, `${other}`);
    await store.verdicts.recordRepeat(madeRepeat(one, at + 1));
    const withLatest = await held();
    assert(withLatest > second && withLatest < second + 200, `${withLatest}`);
    await store[Symbol.asyncDispose]();
    store = await open();
    assert.deepEqual([await held(), await held(two)], [withLatest, other]);
  });

  it('has nothing in it of a policy or of references: these are the server’s own', async () => {
    await record('trusted', [{ ...long('a policy'), isOfServer: true }]);
    assert((await held()) < 8_000);
  });

  it('gives way from the latest back, and keeps what the verdict of now rests on', async () => {
    const blobs = ['a', 'b', 'c', 'd'].map((name) => long(name));
    const answers: string[] = [];
    for (const blob of blobs) answers.push(await record('trusted', [blob]));
    const before = await held();
    const gone = await giveWay(150_000);
    assert.deepEqual(gone, [blobs[2]?.digest, blobs[1]?.digest]);
    assert.equal(before - (await held()) > 200_000, true);
    const kept = await Promise.all(blobs.map((blob) => isKept(blob)));
    assert.deepEqual(kept, [true, false, false, true]);
    assert.deepEqual((await erased()).toSorted(), [answers[2], answers[1], ...gone].toSorted());
    // Its history says what is gone.
    assert.equal((await store.verdicts.history(one.name, { limit: 10 })).length, 4);
  });

  it('gives way in the order in which it came, also where the clock was set back', async () => {
    const blobs = ['a', 'b', 'c'].map((name) => long(name));
    for (const blob of blobs) {
      await record('trusted', [blob]);
      at -= 10 * day;
    }
    await record('trusted', [long('last')]);
    assert.deepEqual(await giveWay(150_000), [blobs[2]?.digest, blobs[1]?.digest]);
  });

  it('never loses that by which it became untrusted, however much comes after it', async () => {
    const [start, caught, ...others] = ['start', 'caught', 'b', 'c', 'd'].map((name) => long(name));
    assert(start !== undefined && caught !== undefined);
    await record('trusted', [start]);
    const answer = await record('untrusted', [caught], { transition: true });
    await record('trusted', [long('clean')], { transition: true });
    for (const blob of others) await record('trusted', [blob]);
    await giveWay(Number.POSITIVE_INFINITY);
    assert.deepEqual(await Promise.all([start, caught, ...others].map((blob) => isKept(blob))), [
      false,
      true,
      false,
      false,
      true,
    ]);
    assert.equal(await isKept({ digest: answer }), true);
  });

  it('never loses that under a name of before, either', async () => {
    const caught = long('caught');
    await record('untrusted', [caught], { transition: true });
    await store.enrolment.revoke(
      { name: one.name, ekDigest: one.ekDigest, at, reason: 'owned' },
      madeEvent('enrol.revoke', one.name),
    );
    const renamed = { ...one, name: 'node-9', enrolledAt: at + 1 };
    await store.enrolment.enrol(renamed, madeEvent('enrol', renamed.name));
    await record('trusted', [long('clean')], { node: renamed, transition: true });
    await record('trusted', [long('last')], { node: renamed });
    const request = { ...requestOf(renamed), free: Number.POSITIVE_INFINITY, least: 0, naming: [] };
    assert.equal((await store.evidence.giveWay(request)).length, 1);
    assert.equal(await isKept(caught), true);
    await store.evidence.eraseHeld(requestOf(renamed));
    assert.equal(await isKept(caught), false);
  });

  it('loses nothing where that would not be enough', async () => {
    for (const name of ['a', 'b', 'c']) await record('trusted', [long(name)]);
    assert.deepEqual(await giveWay(1_000_000, 500_000), []);
    assert.deepEqual(await erased(), []);
  });

  it('keeps what a list names as long as the list is named, and what an answer names that is not kept yet', async () => {
    const [font, menu, manifest, piece, early] = ['font', 'menu', 'manifest', 'piece', 'early'].map((name) =>
      long(name),
    );
    assert(font && menu && manifest && piece && early);
    const list = asBlob(fileList([font.digest, menu.digest]));
    const pieces = asBlob(imaIndex([{ digest: piece.digest, bytes: piece.bytes.length }]));
    await record('trusted', [font, list, piece, pieces], { names: [list, pieces] });
    await record('trusted', [long('last'), manifest]);
    await store.verdicts.keepShared(early, one.ekDigest, at);
    await giveWay(1, 0, [early.digest]);
    const all = [font, list, piece, pieces, early];
    assert.deepEqual(await Promise.all(all.map((blob) => isKept(blob))), [false, false, false, false, true]);
  });

  it('counts files of a list also for a node that only names the list: two cannot hide what both hold (row 352)', async () => {
    const font = long('font');
    const list = asBlob(fileList([font.digest]));
    await record('trusted', [list, font], { names: [list] });
    assert((await held()) > 100_000);
    await record('trusted', [list], { node: two });
    assert((await held(two)) > 100_000);
    await store.evidence.eraseHeld(requestOf());
    assert.deepEqual([await isKept(font, two), await isKept(list, two)], [true, true]);
    await store.evidence.eraseHeld(requestOf(two));
    assert.deepEqual([await isKept(font, two), await isKept(list, two)], [false, false]);
  });

  it('is written again where it comes again after it was erased', async () => {
    const log = long('a log');
    await record('trusted', [log]);
    await store.evidence.eraseHeld(requestOf());
    assert.equal(await isKept(log), false);
    // Its rows stay, and a TPM that is enrolled again has its whole share.
    assert.equal((await store.verdicts.history(one.name, { limit: 9 })).length, 1);
    assert.equal(await held(), 0);
    await record('trusted', [log]);
    assert.equal(await isKept(log), true);
    assert((await held()) > 100_000);
  });

  it('takes no policy with it that the node sent as a part of its own (row 354)', async () => {
    for (const isFirst of [true, false]) {
      const policy = long(`a policy ${isFirst}`);
      const server = () => record('trusted', [{ ...policy, isOfServer: true }], { node: two });
      if (isFirst) await record('trusted', [policy]);
      await server();
      if (!isFirst) await record('trusted', [policy]);
      await store.evidence.eraseHeld(requestOf());
      assert.equal(await isKept(policy, two), true, `${isFirst}`);
    }
  });

  it('may hold a file that begins like a list and is none: all else is erased as ever (row 354)', async () => {
    const forged = asBlob(Buffer.from(`${initrdListHead}and no digests`));
    await record('trusted', [forged, long('a')]);
    for (const name of ['b', 'c']) await record('trusted', [long(name)]);
    assert.equal((await giveWay(Number.POSITIVE_INFINITY)).length, 3);
    const other = asBlob(Buffer.from(`${initrdListHead}or these`));
    await record('trusted', [other]);
    await store.verdicts.keepShared(long('unused'), two.ekDigest, at - 500 * day);
    await eraseOld();
    assert.equal(await isKept(long('unused'), two), false);
    // What is erased for its age is given back, too.
    assert((await held(two)) < 4_000);
  });

  it('is enough for an honest machine that boots each day with another long log and list, for two months', async () => {
    // By a sixty-fourth: a share of 256 MiB, lists of 64, a log of 2 and a manifest of 650 KB a boot.
    const [mebibyte, perAnswer] = [16_384, 128 * 1024];
    const share = new HeldByNode({
      store: store.evidence,
      share: 256 * mebibyte + perAnswer,
      now: () => at,
      monotonic: () => at,
    });
    const owner = { name: one.name, ekDigest: one.ekDigest };
    const answer = async (boot: number, blobs: readonly KeptBlob[], bytes: number, isUntrusted: boolean) => {
      assert.equal(await share.hasRoom(owner, bytes, () => []), true, `boot ${boot}`);
      await record(isUntrusted ? 'untrusted' : 'trusted', blobs, { transition: isUntrusted });
      const now = await held();
      assert(now <= 256 * mebibyte + perAnswer, `boot ${boot}: ${now}`);
    };
    for (let boot = 0; boot < 60; boot += 1) {
      const log = long(`log ${boot}`, 2 * mebibyte);
      const manifest = long(`manifest ${boot}`, 10_156);
      const [begin, rest] = [
        long(`begin ${boot}`, 2 * mebibyte),
        long(`rest ${boot}`, 62 * mebibyte),
      ] as const;
      // Each tenth time the kernel is one that nobody has captured yet; twice a file ran that nobody knows.
      await answer(boot, [log, manifest, begin], 5 * mebibyte, boot % 10 === 0);
      await answer(boot, [log, manifest, begin, rest], 62 * mebibyte, boot === 13 || boot === 44);
      at += day;
      if (boot % 30 === 0) await eraseOld();
    }
  });

  it('is looked through again for less than what was refused, and not for a byte less each time (row 350)', async () => {
    let looked = 0;
    const share = new HeldByNode({
      store: {
        ...store.evidence,
        giveWay: (request) => {
          looked += 1;
          return store.evidence.giveWay(request);
        },
      },
      share: 1_000_000,
      now: () => at,
      monotonic: () => 0,
    });
    const hasRoom = (bytes: number) =>
      share.hasRoom({ name: one.name, ekDigest: one.ekDigest }, bytes, () => []);
    for (let index = 0; index < 8; index += 1) await record('trusted', [long(`log ${index}`)]);
    assert.equal(await hasRoom(2_000_000), false);
    // What is smaller has room, since some of that gives way.
    assert.equal(await hasRoom(100_000), true);
    assert.equal(looked, 2);
    for (let index = 0; index < 9 && (await hasRoom(100_000)); index += 1)
      await record('untrusted', [long(`bad ${index}`)], { transition: true });
    looked = 0;
    for (let bytes = 900_000; bytes > 899_000; bytes -= 10) assert.equal(await hasRoom(bytes), false);
    assert(looked < 3, `${looked}`);
  });

  it('is refused beyond its share, once nothing more can give way, and is not looked through each time', async () => {
    let now = 0;
    let looked = 0;
    const share = new HeldByNode({
      store: {
        ...store.evidence,
        giveWay: (request) => {
          looked += 1;
          return store.evidence.giveWay(request);
        },
      },
      share: 1_000_000,
      now: () => at,
      monotonic: () => now,
    });
    const hasRoom = () => share.hasRoom({ name: one.name, ekDigest: one.ekDigest }, 100_000, () => []);
    for (let index = 0; index < 20; index += 1) {
      assert.equal(await hasRoom(), true, `${index}`);
      await record('trusted', [long(`log ${index}`)]);
      assert((await held()) <= 1_000_000);
    }
    assert(looked < 8, `${looked}`);
    for (let index = 0; index < 9 && (await hasRoom()); index += 1)
      await record('untrusted', [long(`bad ${index}`)], { transition: true });
    assert.equal(await hasRoom(), false);
    assert((await held()) <= 1_000_000);
    const before = looked;
    assert.deepEqual([await hasRoom(), looked], [false, before]);
    now += 600_000;
    assert.deepEqual([await hasRoom(), looked], [false, before + 1]);
    assert.equal(share.full(one.name).code, 'too_large');
    const freed = await share.erase(one, 'token:admin');
    assert(freed > 700_000, `${freed}`);
    assert.equal(await hasRoom(), true);
  });

  it('is asked of the store by few answers where there is room, and by each where there may be none', async () => {
    let asked = 0;
    const share = new HeldByNode({
      store: {
        ...store.evidence,
        held(ekDigest) {
          asked += 1;
          return store.evidence.held(ekDigest);
        },
      },
      share: 100 * 128 * 1024,
      now: () => at,
      monotonic: () => 0,
    });
    const owner = { name: one.name, ekDigest: one.ekDigest };
    const hasRoom = (bytes: number) => share.hasRoom(owner, bytes, () => []);
    for (let index = 0; index < 64; index += 1) assert.equal(await hasRoom(0), true);
    assert.equal(asked, 4);
    // What is on its way counts, also between two looks.
    assert.equal(await hasRoom(90 * 128 * 1024), true);
    asked = 0;
    for (let index = 0; index < 4; index += 1) assert.equal(await hasRoom(5 * 128 * 1024), true);
    assert(asked >= 2, `${asked}`);
    // Of a node that came back nothing is known.
    share.forget(one.ekDigest);
    asked = 0;
    assert.deepEqual([await hasRoom(0), asked], [true, 1]);
  });
});

function asBlob(bytes: Buffer): KeptBlob {
  const { digest } = madeBlob(bytes.toString('latin1'));
  return { digest, bytes };
}
