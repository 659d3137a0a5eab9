import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { ImaLists } from '../../../../attest-server/attest/supplements/ima-lists.ts';
import type {
  GivenSupplement,
  KeptSupplement,
  LackingAnswer,
} from '../../../../attest-server/attest/supplements/supplement.ts';
import type { ImaProblem, ProvenImaList } from '../../../../attest-server/verify/ima/proven-list.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { parseImaIndex } from '../../../../attest-server/wire/ima-pieces.ts';
import type { ArrivedSupplement, SupplementPlace } from '../../../../attest-server/wire/supplements.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const node = 'node-1';

/** A list whose bytes are all others. */
function madeList(bytes: number, seed = 'list'): Buffer {
  const blocks = Array.from({ length: Math.ceil(bytes / 64) }, (_, index) =>
    hash('sha512', `${seed} ${index}`, 'buffer'),
  );
  return Buffer.concat(blocks, bytes);
}

/** How the test's verifier proves a list, and up to where it was judged. */
interface ListWork {
  judgedTo(): string | null;
  prove(list: NonNullable<GivenSupplement['list']>): Promise<Proven>;
}

/** Takes the list of one answer and proves it, as the pipeline does. */
async function proveWith(
  lists: ImaLists,
  name: string,
  first: Proven,
  came: ArrivedSupplement | null,
  { judgedTo, prove }: ListWork,
): Promise<{ readonly proven: Proven; readonly kept: KeptSupplement | null } | 'again' | null> {
  const asked: SupplementPlace = { of: [], from: 0, bootId: null };
  const lacking = { node: { name, ekDigest: '' }, proven: first, judgedTo } as LackingAnswer;
  const taken = (await lists.take(lacking, { asked, came })) ?? { is: 'enough', given: null };
  if (taken.is === 'more') return 'again';
  const { given } = taken;
  if (given === null) return null;
  try {
    const proven = given.list === undefined ? first : await prove(given.list);
    return { proven, kept: (await given.kept?.(proven)) ?? null };
  } finally {
    given.done?.();
  }
}

/** A server of which the verifier is a comparison: a list is proven where it is that of the machine, up to its quote. */
function madeServer({ most = 64 * MiB, blobs = new Map<string, Buffer>() } = {}) {
  let now = 0;
  let proven: { readonly bytes: number; readonly head: string; readonly entries: number } | null = null;
  let judgedTo: string | null = null;
  const looked: { readonly from: number; readonly to: number }[] = [];
  let shown: readonly Buffer[] = [];
  const lists = new ImaLists({
    verifier: { imaProven: () => proven },
    readPiece: async (digest) => blobs.get(digest) ?? null,
    most,
    sealEvery: 3_600_000,
    monotonic: () => now,
  });
  const headOf = (list: Buffer) => `sha256:${hash('sha256', list)}`;
  return {
    lists,
    blobs,
    looked,
    /** The chunks that were last to be proven. */
    shown: () => shown,
    wait: (ms: number) => {
      now += ms;
    },
    /** Another policy comes in force. */
    judgeAnew: () => {
      judgedTo = null;
    },
    /** An answer whose quote covers so many bytes of the machine's list; `kept` is on the disk afterwards. */
    async answer(
      machine: Buffer,
      arrived: ArrivedSupplement | null,
      { quoted = machine.length, resetCount = 1, bootId = 'boot-1', isWritten = true } = {},
    ) {
      const first = { akName: 'ak', clock: { resetCount, restartCount: 0 }, facts: { bootId } } as Proven;
      const result = await proveWith(lists, node, first, arrived, {
        judgedTo: () => judgedTo,
        async prove(list) {
          if ('code' in list) return { ...first, ima: list } as Proven;
          const { from, chunks } = list;
          shown = chunks;
          looked.push({ from, to: from + chunks.reduce((sum, { length }) => sum + length, 0) });
          const covered = machine.subarray(0, quoted);
          const whole = Buffer.concat([machine.subarray(0, from), ...chunks]);
          if (from > 0) assert.equal(from, proven?.bytes);
          const holds = whole.length >= quoted && whole.subarray(0, quoted).equals(covered);
          const head = headOf(covered);
          proven = holds ? { bytes: quoted, head, entries: 0 } : null;
          judgedTo = holds ? head : null;
          const ima = holds ? ({ head, bytes: quoted } as ProvenImaList) : notReplayed;
          return { ...first, ima } as Proven;
        },
      });
      if (result === null || result === 'again') return result;
      if (isWritten && result.kept !== null) {
        const { part, blobs: pieces } = result.kept;
        for (const { digest, bytes } of pieces) blobs.set(digest, bytes);
        if (part.bytes !== null) blobs.set(part.digest, part.bytes);
        lists.written(node, pieces);
      }
      return { ima: result.proven.ima, kept: result.kept };
    },
    /** The list as it can be read from what is kept. */
    listOf({ part, tail }: KeptSupplement): Buffer {
      const pieces = parseImaIndex(blobs.get(part.digest) ?? Buffer.alloc(0));
      const bytes = pieces.map(({ digest }) => blobs.get(digest) ?? assert.fail());
      return Buffer.concat([...bytes, tail ?? assert.fail()]);
    },
  };
}

const notReplayed: ImaProblem = {
  code: 'ima_incomplete',
  text: 'it does not lead to PCR 10',
  entry: null,
  offset: null,
  field: null,
};

/** What an agent answers that has this list. */
function answerTo(
  server: ReturnType<typeof madeServer>,
  list: Buffer,
  { most = 8 * MiB, bootId = 'boot-1' } = {},
): ArrivedSupplement | null {
  const asked = server.lists.ask(node);
  if (asked === null) return null;
  const from = asked.bootId === bootId && asked.from <= list.length ? asked.from : 0;
  const sent = list.subarray(from, from + most);
  const pieces: Buffer[] = [];
  for (let at = 0; at < sent.length; at += MiB) pieces.push(sent.subarray(at, at + MiB));
  return { from, more: from + sent.length < list.length, pieces };
}

type Came = Awaited<ReturnType<ReturnType<typeof madeServer>['answer']>>;

function judged(came: Came): Exclude<Came, 'again' | null> {
  if (came === 'again' || came === null) assert.fail(`the list was not judged: ${came}`);
  return came;
}

const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0);
const keptOf = (came: Came): KeptSupplement => judged(came).kept ?? assert.fail('nothing is kept');
const codeOf = (came: Came) => {
  const { ima } = judged(came);
  return ima !== null && 'code' in ima ? ima.code : null;
};

describe("IMA's list of a node", () => {
  it('comes once, goes on from where it was proven, and is kept as it was at each quote', async () => {
    const server = madeServer();
    const list = madeList(300 * KiB);
    for (const length of [110, 5000, 40 * KiB, 40 * KiB, 73 * KiB, 299 * KiB, 300 * KiB]) {
      const now = list.subarray(0, length);
      const came = await server.answer(now, answerTo(server, now));
      const kept = keptOf(came);
      assert.equal(codeOf(came), null);
      assert.deepEqual(server.listOf(kept), now);
      const pieces = parseImaIndex(kept.part.bytes ?? assert.fail()).map(({ bytes }) => bytes);
      const long = pieces.filter((bytes) => bytes >= 32 * KiB && bytes <= MiB);
      // Short ones are behind those, and no longer than one together.
      assert.deepEqual(pieces.slice(0, long.length), long);
      assert.ok(length - sum(long) < 32 * KiB);
      assert.deepEqual(server.lists.ask(node), { of: [], from: length, bootId: 'boot-1' });
    }
    const seen = server.looked.map(({ from }) => from);
    assert.deepEqual(seen, [0, 110, 5000, 40 * KiB, 40 * KiB, 73 * KiB, 299 * KiB]);
  });

  it('is asked for again from where the quote ends, where it grew meanwhile', async () => {
    const server = madeServer();
    const list = madeList(70 * KiB);
    const kept = keptOf(await server.answer(list, answerTo(server, list), { quoted: 50 * KiB }));
    assert.deepEqual(server.listOf(kept), list.subarray(0, 50 * KiB));
    assert.equal(server.lists.ask(node)?.from, 50 * KiB);
  });

  it('waits for the rest of what one answer cannot bring', async () => {
    const server = madeServer();
    const list = madeList(19 * MiB + 5);
    const came: Came[] = [];
    for (let round = 0; round < 3; round += 1) came.push(await server.answer(list, answerTo(server, list)));
    assert.deepEqual(came.slice(0, 2), ['again', 'again']);
    assert.deepEqual(server.looked, [{ from: 0, to: list.length }]);
    assert.ok(server.listOf(keptOf(came[2] ?? null)).equals(list));
  });

  it('is put together where it comes in pieces of one byte: each holds far more memory than that', async () => {
    const server = madeServer();
    const list = madeList(256);
    for (let at = 0; at < list.length; at += 8) {
      // From the network a byte comes as a view of all that came with it.
      const pieces = [...list.subarray(at, at + 8)].map((byte) =>
        Buffer.alloc(16 * KiB, byte).subarray(0, 1),
      );
      const came = await server.answer(list, { from: at, more: at + 8 < list.length, pieces });
      assert.equal(came === 'again', at + 8 < list.length);
    }
    assert.deepEqual(
      server.shown().map(({ length }) => length),
      [0, list.length],
    );
  });

  it('lets others go on between its pieces, while these are cut and while they are read', async () => {
    const server = madeServer();
    const list = madeList(8 * MiB);
    let turns = 0;
    let others = setImmediate(function turn() {
      turns += 1;
      others = setImmediate(turn);
    });
    try {
      await server.answer(list, answerTo(server, list));
      assert.ok(turns >= 8);
      turns = 0;
      server.judgeAnew();
      await server.answer(list, answerTo(server, list));
      assert.ok(turns >= 8);
    } finally {
      clearImmediate(others);
    }
  });

  it('is shown to another policy from its begin', async () => {
    const server = madeServer();
    const list = madeList(200 * KiB);
    await server.answer(list, answerTo(server, list));
    server.judgeAnew();
    await server.answer(list, answerTo(server, list));
    assert.deepEqual(server.looked.at(-1), { from: 0, to: list.length });
  });

  it('goes on from its pieces where a server starts again', async () => {
    const before = madeServer();
    const list = madeList(110 * KiB);
    await before.answer(list.subarray(0, 50 * KiB), answerTo(before, list.subarray(0, 50 * KiB)));
    const kept = keptOf(
      await before.answer(list.subarray(0, 60 * KiB), answerTo(before, list.subarray(0, 60 * KiB))),
    );
    const after = madeServer({ blobs: before.blobs });
    const status = {
      name: node,
      resetCount: 1,
      restartCount: 0,
      bootId: 'boot-1',
      parts: { ima: kept.part.digest },
    };
    await after.lists.restore(status);
    assert.deepEqual(after.lists.ask(node), { of: [], from: 60 * KiB, bootId: 'boot-1' });
    const came = await after.answer(list, answerTo(after, list));
    assert.deepEqual(after.listOf(keptOf(came)), list);
    assert.deepEqual(after.looked, [{ from: 0, to: list.length }]);
    // What was kept before is not written again.
    assert.deepEqual(
      keptOf(came).blobs.map(({ bytes }) => bytes.length),
      [50 * KiB],
    );
  });

  it('begins anew where an earlier version kept the list itself, or what was kept is gone', async () => {
    const list = madeList(110);
    const digest = hash('sha256', list);
    for (const blobs of [new Map([[digest, list]]), new Map<string, Buffer>()]) {
      const server = madeServer({ blobs });
      await server.lists.restore({
        name: node,
        resetCount: 1,
        restartCount: 0,
        bootId: 'boot-1',
        parts: { ima: digest },
      });
      assert.deepEqual(server.lists.ask(node), { of: [], from: 0, bootId: null });
    }
  });

  it('is asked for from its begin where one of its pieces is gone', async () => {
    const server = madeServer();
    const list = madeList(90 * KiB);
    keptOf(await server.answer(list, answerTo(server, list)));
    server.blobs.clear();
    server.judgeAnew();
    assert.equal(await server.answer(list, answerTo(server, list)), 'again');
    assert.equal(server.lists.ask(node)?.from, 0);
    assert.ok(server.listOf(keptOf(await server.answer(list, answerTo(server, list)))).equals(list));
  });

  for (const [what, begins] of [
    ['is known', false],
    ['comes from its begin again', true],
  ] as const)
    it(`is kept whole, where pieces of an answer that came to nothing gave way while it ${what} (row 351)`, async () => {
      const server = madeServer();
      const list = madeList(3 * MiB);
      const first = judged(await server.answer(list, answerTo(server, list)));
      if (begins) await server.answer(list, { from: 0, more: true, pieces: [] });
      const gone = parseImaIndex(server.blobs.get(first.kept?.part.digest ?? '') ?? Buffer.alloc(0));
      for (const { digest } of gone) server.blobs.delete(digest);
      server.lists.gone(
        node,
        gone.map(({ digest }) => digest),
      );
      const more = Buffer.concat([list, madeList(KiB, 'more')]);
      const { kept } = judged(await server.answer(more, answerTo(server, more)));
      assert.deepEqual(server.listOf(kept ?? assert.fail()), more);
    });

  it('is another one after a reboot', async () => {
    const server = madeServer();
    const [before, after] = [madeList(90 * KiB), madeList(80 * KiB, 'next')];
    await server.answer(before, answerTo(server, before));
    const boot = { resetCount: 2, bootId: 'boot-2' };
    const came = await server.answer(after, answerTo(server, after, boot), boot);
    assert.deepEqual(server.listOf(keptOf(came)), after);
    assert.deepEqual(server.lists.ask(node), { of: [], from: 80 * KiB, bootId: 'boot-2' });
  });

  it('goes on in a machine that slept', async () => {
    const server = madeServer();
    const list = madeList(90 * KiB);
    await server.answer(list.subarray(0, 80 * KiB), answerTo(server, list.subarray(0, 80 * KiB)));
    const arrived = answerTo(server, list);
    assert.equal(arrived?.from, 80 * KiB);
    assert.ok(server.listOf(keptOf(await server.answer(list, arrived, { resetCount: 2 }))).equals(list));
  });

  it('is read from what is kept once, where the quote is of a younger boot of which the node says it is the same', async () => {
    const server = madeServer();
    const list = madeList(90 * KiB);
    await server.answer(list, answerTo(server, list));
    const young = list.subarray(0, 20 * KiB);
    const rest = { from: list.length, more: false, pieces: [] };
    const came = await server.answer(young, rest, { resetCount: 2 });
    assert.deepEqual(server.listOf(keptOf(came)), list);
    assert.deepEqual(server.lists.ask(node), { of: [], from: 0, bootId: 'boot-1' });
    const next = await server.answer(young, answerTo(server, young), { resetCount: 2 });
    assert.deepEqual(server.listOf(keptOf(next)), young);
    assert.deepEqual(server.looked.at(-1), { from: 0, to: young.length });
  });

  it('is taken from an agent that sends all of it each time, and no byte of it is kept twice', async () => {
    const server = madeServer();
    const list = madeList(120 * KiB);
    const sizes: number[] = [];
    for (const length of [100 * KiB, 101 * KiB, 120 * KiB]) {
      const now = list.subarray(0, length);
      const kept = keptOf(await server.answer(now, { from: 0, more: false, pieces: [now] }));
      assert.deepEqual(server.listOf(kept), now);
      sizes.push(...kept.blobs.map(({ bytes }) => bytes.length));
    }
    assert.deepEqual(sizes, [100 * KiB, KiB]);
    assert.deepEqual(
      server.looked.map(({ from }) => from),
      [0, 100 * KiB, 101 * KiB],
    );
  });

  it('is written with no answer while it stands still, and in one short piece an hour while it moves', async () => {
    const server = madeServer();
    const list = madeList(40 * KiB);
    const written: number[] = [];
    const apart: number[] = [];
    for (let minute = 0; minute < 240; minute += 1) {
      const now = list.subarray(0, Math.min(20 * KiB, 100 * (minute + 1)));
      const kept = keptOf(await server.answer(now, answerTo(server, now)));
      written.push(...kept.blobs.map(({ bytes }) => bytes.length));
      apart.push(kept.tail?.length ?? 0);
      server.wait(60_000);
    }
    assert.deepEqual(written, [100, 6000, 6000, 6000]);
    assert.equal(Math.max(...apart), 5900);
    assert.equal(sum(apart.slice(210)), 30 * (20 * KiB - 18_100));
    server.wait(3_600_000);
    const still = list.subarray(0, 20 * KiB);
    assert.deepEqual(keptOf(await server.answer(still, answerTo(server, still))).tail?.length, 0);
    const kept = keptOf(await server.answer(list, answerTo(server, list)));
    assert.deepEqual(
      parseImaIndex(kept.part.bytes ?? assert.fail()).map(({ bytes }) => bytes),
      [40 * KiB],
    );
    assert.ok(server.listOf(kept).equals(list));
  });

  it('is asked for again where it does not go on from where it is', async () => {
    const server = madeServer();
    const list = madeList(10 * KiB);
    await server.answer(list, answerTo(server, list));
    const elsewhere = { from: 9 * KiB, more: false, pieces: [list.subarray(9 * KiB)] };
    assert.equal(await server.answer(list, elsewhere), 'again');
    assert.equal(await server.answer(list, { ...elsewhere, from: 10 * KiB }, { bootId: 'kexec' }), 'again');
    assert.deepEqual(server.lists.ask(node), { of: [], from: 0, bootId: 'kexec' });
  });

  it('is written with a later answer where the one that brought it was not', async () => {
    const server = madeServer();
    const list = madeList(40 * KiB);
    await server.answer(list, answerTo(server, list), { isWritten: false });
    const kept = keptOf(await server.answer(list, answerTo(server, list)));
    assert.deepEqual(server.listOf(kept), list);
    assert.deepEqual(keptOf(await server.answer(list, answerTo(server, list))).blobs, []);
  });
});

describe('a list that cannot be proven', () => {
  const list = madeList(100 * KiB);
  const forged = madeList(100 * KiB, 'forged');

  it('is kept as it came, and asked for from its begin at once, then more and more seldom', async () => {
    const server = madeServer();
    const first = await server.answer(list, { from: 0, more: false, pieces: [forged] });
    assert.equal(codeOf(first), 'ima_incomplete');
    assert.ok(server.listOf(keptOf(first)).equals(forged));
    const asked: number[] = [];
    for (let minute = 0; minute < 24 * 60; minute += 1) {
      if (server.lists.ask(node) !== null) asked.push(minute);
      const came = await server.answer(list, { from: 0, more: false, pieces: [forged] });
      // Of what is alike nothing more is kept.
      assert.deepEqual(
        [codeOf(came), keptOf(came).part, keptOf(came).blobs.length],
        ['ima_incomplete', keptOf(first).part, 0],
      );
      server.wait(60_000);
    }
    assert.deepEqual(asked.slice(0, 7), [0, 2, 6, 14, 30, 62, 122]);
    assert.ok(asked.length < 32);
    assert.equal(server.looked.length, asked.length + 1);
  });

  it('is forgotten once it can be proven again', async () => {
    const server = madeServer();
    await server.answer(list, answerTo(server, list));
    const more = madeList(110 * KiB);
    const branch = { from: 100 * KiB, more: false, pieces: [forged.subarray(0, 10 * KiB)] };
    assert.equal(codeOf(await server.answer(more, branch)), 'ima_incomplete');
    assert.deepEqual(server.lists.ask(node), { of: [], from: 0, bootId: 'boot-1' });
    const came = await server.answer(more, answerTo(server, more));
    assert.equal(codeOf(came), null);
    assert.ok(server.listOf(keptOf(came)).equals(more));
    // The pieces that were proven before are still those.
    assert.ok(keptOf(came).blobs.every(({ bytes }) => bytes.length < 100 * KiB));
  });

  it('is asked for as seldom where it fails each second time', async () => {
    const server = madeServer();
    const seen: number[] = [];
    for (let minute = 0; minute < 240; minute += 1) {
      const asked = server.lists.ask(node);
      const pieces = minute % 2 === 0 ? [forged] : [list];
      if (asked !== null && codeOf(await server.answer(list, { from: 0, more: false, pieces })) !== null)
        seen.push(minute);
      server.wait(60_000);
    }
    assert.deepEqual(seen, [0, 2, 4, 8, 16, 32, 64, 124, 184]);
  });

  it('is asked for at once after a reboot', async () => {
    const server = madeServer();
    for (let round = 0; round < 3; round += 1)
      await server.answer(list, { from: 0, more: false, pieces: [forged] });
    assert.equal(server.lists.ask(node), null);
    assert.equal(await server.answer(list, null, { resetCount: 2, bootId: 'boot-2' }), 'again');
    assert.equal(server.lists.ask(node)?.from, 0);
  });
});

describe('the budget of a list', () => {
  it('ends it for this boot, and the next one has a budget of its own', async () => {
    const server = madeServer({ most: 100 * KiB });
    const list = madeList(120 * KiB);
    const short = list.subarray(0, 90 * KiB);
    assert.equal(codeOf(await server.answer(short, answerTo(server, short))), null);
    const over = await server.answer(list, answerTo(server, list));
    assert.deepEqual([codeOf(over), judged(over).kept], ['ima_incomplete', null]);
    assert.equal(server.lists.ask(node), null);
    server.wait(30 * 86_400_000);
    assert.equal(codeOf(await server.answer(list, null)), 'ima_incomplete');
    const boot = { resetCount: 2, bootId: 'boot-2' };
    assert.equal(await server.answer(short, null, boot), 'again');
    assert.equal(codeOf(await server.answer(short, answerTo(server, short, boot), boot)), null);
  });

  it('is spent by boots that follow each other closely, and comes back with time', async () => {
    const server = madeServer({ most: 100 * KiB });
    const codes: (string | null)[] = [];
    const start = async (resetCount: number) => {
      const boot = { resetCount, bootId: `boot-${resetCount}` };
      const list = madeList(90 * KiB, String(resetCount));
      const answer = () => server.answer(list, answerTo(server, list, boot), boot);
      const came = await answer();
      // After a boot that had spent it the list was not asked for.
      codes.push(codeOf(came === 'again' ? await answer() : came));
    };
    for (let resetCount = 1; resetCount <= 6; resetCount += 1) await start(resetCount);
    server.wait(3_600_000);
    await start(7);
    await start(8);
    const spent = 'ima_incomplete';
    assert.deepEqual(codes, [null, null, null, null, spent, spent, null, spent]);
  });

  it('holds whatever boot the node says that it is', async () => {
    const server = madeServer({ most: 100 * KiB });
    let taken = 0;
    for (let round = 0; round < 20; round += 1) {
      const list = madeList(30 * KiB, `list ${round}`);
      const bootId = `boot-${round}`;
      const came = await server.answer(madeList(1), { from: 0, more: false, pieces: [list] }, { bootId });
      taken += judged(came).kept?.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0) ?? 0;
    }
    assert.ok(taken <= 100 * KiB);
  });

  it('is for all nodes together, where lists wait for their rest: the one that got nothing for longest is asked for again', async () => {
    const server = madeServer({ most: 256 * MiB });
    const first = {
      akName: 'ak',
      clock: { resetCount: 1, restartCount: 0 },
      facts: { bootId: 'b' },
    } as Proven;
    const work = { judgedTo: () => null, prove: () => assert.fail('it waits') };
    const piece = Buffer.alloc(MiB);
    const bring = (name: string, count: number) => {
      const { from = 0 } = server.lists.ask(name) ?? {};
      const arrived = { from, more: true, pieces: Array.from({ length: count }, () => piece) };
      return proveWith(server.lists, name, first, arrived, work);
    };
    await bring('heavy', 200);
    await bring('light', 50);
    assert.equal(server.lists.ask('heavy')?.from, 200 * MiB);
    await bring('late', 20);
    assert.deepEqual(
      ['heavy', 'light', 'late'].map((name) => server.lists.ask(name)?.from),
      [0, 50 * MiB, 20 * MiB],
    );
  });
});

describe('a list in any pieces', () => {
  it('is kept as it is', async () => {
    const list = madeList(200 * KiB);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(90 * KiB), fc.nat(9), fc.boolean()), { minLength: 1, maxLength: 8 }),
        async (answers) => {
          const server = madeServer();
          let length = 0;
          for (const [grows, anew, isRead] of answers) {
            length = Math.min(list.length, length + grows);
            const now = list.subarray(0, length);
            if (isRead) server.judgeAnew();
            const whole = { from: 0, more: false, pieces: [now] };
            const came = await server.answer(now, anew === 0 ? whole : answerTo(server, now));
            assert.equal(codeOf(came), null);
            assert.ok(server.listOf(keptOf(came)).equals(now));
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
