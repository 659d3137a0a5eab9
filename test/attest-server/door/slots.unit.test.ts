import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { inAll } from '../../../attest-server/door/bounds.ts';
import { Slots } from '../../../attest-server/door/slots.ts';

const kib = 1024;
const mib = 1024 * kib;

/** Slots of so few that a test can fill them, and who was evicted from them by which bound. */
function room(of: { connections?: number; unprovenBytes?: number } = {}) {
  const slots = new Slots({ connections: 2, perSecond: 1, unprovenBytes: 32 * mib, ...of });
  const gone: string[] = [];
  /** The first letter of a name is its source. */
  const take = (name: string) => slots.take(name[0] ?? '', (bound) => gone.push(`${name} ${bound}`));
  return { slots, gone, take };
}

describe('slots of connections that have proven nothing', () => {
  it('go from the oldest of a source to its newest, and never from another source', () => {
    const { slots, gone, take } = room();
    for (const name of ['a1', 'a2', 'b1', 'a3', 'a4']) take(name);
    assert.deepEqual(gone, ['a1 places', 'a2 places']);
    assert.equal(slots.strangers, 3);
  });

  it('go from whoever was silent for longest', () => {
    const { gone, take } = room();
    const first = take('a1');
    take('a2');
    first.touch();
    take('a3');
    assert.deepEqual(gone, ['a2 places']);
  });

  it('are taken from the source that holds most once the room is full', () => {
    const { slots, gone, take } = room({ connections: inAll.connections });
    for (let index = 0; index < inAll.connections - 1; index++) take(`a${index}`);
    take('b0');
    take('c0');
    take('d0');
    assert.deepEqual(gone, ['a0 places_in_all', 'a1 places_in_all']);
    assert.equal(slots.strangers, inAll.connections);
  });

  it('of those who claim a node with its keys are others than those of strangers (row 122)', () => {
    const { slots, gone, take } = room();
    const node = take('a-node');
    node.claim('agent node-1');
    for (let index = 0; index < 10; index++) take(`a${index}`);
    assert.equal(gone.length, 8);
    assert(!gone.some((each) => each.startsWith('a-node')));
    assert.deepEqual([slots.strangers, slots.claimants], [2, 1]);
  });

  it('of one node are taken from it where its source claims too many, the oldest first (row 122)', () => {
    const { slots, gone, take } = room();
    take('a-other').claim('agent node-2');
    for (let index = 0; index < inAll.claimants.perSource; index++) take(`a${index}`).claim('agent node-1');
    assert.deepEqual(gone, ['a0 places']);
    take('a-last').claim('agent node-3');
    assert.deepEqual(gone, ['a0 places', 'a1 places']);
    assert.equal(slots.claimants, inAll.claimants.perSource);
  });

  it('are free from the moment of a refusal, and given back once, however often somebody says so', () => {
    const { slots, gone, take } = room({ connections: 1 });
    const first = take('a1');
    first.grow(kib);
    first.free();
    first.free();
    const each = inAll.connectionBytes;
    assert.deepEqual([slots.strangers, slots.bytes], [0, each + kib + inAll.pieceBytes]);
    take('a2');
    assert.deepEqual(gone, []);
    first.leave();
    first.leave();
    assert.deepEqual([slots.strangers, slots.bytes], [1, each]);
  });
});

describe('bytes that nobody has judged', () => {
  it('of one source are bounded: the stranger that sent most gives way, and a node whose log comes stays', () => {
    const { slots, gone, take } = room({ connections: 100, unprovenBytes: 8 * mib });
    const node = take('a-node');
    node.claim('agent node-1');
    node.grow(2 * mib);
    for (let index = 0; index < 30; index++) take(`a${index}`).grow((200 + index) * kib);
    assert(slots.bytes <= 8 * mib + 31 * inAll.connectionBytes);
    assert.equal(gone[0], 'a28 bytes');
    assert(!gone.some((each) => each.startsWith('a-node')));
    take('b1').grow(7 * mib);
    assert(!gone.some((each) => each.startsWith('b')));
  });

  for (const claimed of ['agent node-1', 'agent node-2'])
    it(`of who claims ${claimed} go first where they are most, the oldest of them, and not the node whose log comes (row 122)`, () => {
      const { gone, take } = room({ connections: 100, unprovenBytes: 8 * mib });
      for (let index = 0; index < 20; index++) {
        const copy = take(`a${index}`);
        copy.claim(claimed);
        copy.grow(mib / 2);
      }
      const node = take('a-node');
      node.claim('agent node-1');
      node.grow(mib);
      assert.deepEqual(gone.slice(0, 2), ['a0 bytes', 'a1 bytes']);
      assert(!gone.includes('a-node bytes'));
    });

  it('are bounded in all, and the heaviest source gives way first (row 125)', () => {
    const { slots, gone, take } = room();
    const source = (index: number) => String.fromCharCode(0x1000 + index);
    for (let index = 0; index < 9; index++) take(`${source(index)}-heavy`).grow(720 * kib);
    for (let index = 9; index < 117; index++) take(source(index)).grow(100 * kib);
    assert(slots.bytes <= inAll.unprovenBytes);
    assert.deepEqual(gone, [`${source(0)}-heavy bytes_in_all`, `${source(1)}-heavy bytes_in_all`]);
    const late = take(`${source(300)}-heavy`);
    late.grow(31 * mib);
    assert.equal(gone.at(-1), `${source(300)}-heavy bytes_in_all`);
    // What still comes of a connection that gave way counts nothing.
    late.grow(31 * mib);
    assert(slots.bytes <= inAll.unprovenBytes);
  });

  it('are bounded in all by no less than one source may send', () => {
    const { slots, gone, take } = room({ unprovenBytes: 2 * inAll.unprovenBytes });
    take('a-heavy').grow(2 * inAll.unprovenBytes - mib);
    assert.deepEqual(gone, []);
    take('b-heavy').grow(mib);
    assert.deepEqual(gone, ['a-heavy bytes_in_all']);
    assert(slots.bytes <= 2 * inAll.unprovenBytes);
  });
});
