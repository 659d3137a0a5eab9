import { hash } from 'node:crypto';
import { parseImaIndex } from '../../wire/ima-pieces.ts';
import { addPieces, bytesBetween, emptyIndex, type NodeList, none, sizeOf, viewsFrom } from './ima-list.ts';

/** Bytes that wait for the rest of their list, of all nodes together. */
const mostWaiting = 256 * 1024 * 1024;

/** Pieces of lists that wait for the rest: bounded over all nodes. */
export class WaitingLists {
  /** Of which something waits; those that got more of it last are last. */
  readonly #ones = new Set<NodeList>();
  #bytes = 0;

  /** It comes from its begin: what is here of it is known by its digests. */
  beginAgain(list: NodeList): void {
    const { index, known } = list;
    const pieces = [...parseImaIndex(index), ...(known?.pieces ?? [])];
    const { tail, short } = known ?? list;
    list.known = { pieces, tail, short };
    list.index = emptyIndex;
    list.sealed = 0;
    list.tail = none;
    list.short = [];
    list.isAnew = true;
    this.set(list, []);
  }

  /** Behind its tail, and not proven. */
  set(list: NodeList, came: readonly Buffer[]): void {
    const size = sizeOf(came);
    this.#bytes += size - list.waiting;
    list.came = came;
    list.waiting = size;
    this.#ones.delete(list);
    if (size > 0) this.#ones.add(list);
  }

  /** Of a list that comes from its begin again: what is kept already is known by its digests, and does not wait. */
  meet(list: NodeList): void {
    for (let { known } = list; known !== null; known = list.known) {
      const [next, ...others] = known.pieces;
      const size = next?.bytes ?? known.tail.length;
      if (list.waiting < size) return;
      const met = bytesBetween(list.came, 0, size);
      const isSame = next === undefined ? met.equals(known.tail) : hash('sha256', met, 'hex') === next.digest;
      if (!isSame) {
        list.known = null;
        return;
      }
      this.set(list, viewsFrom(list.came, size));
      if (next === undefined) {
        list.tail = known.tail;
        list.short = known.short;
        list.known = null;
        list.isAnew = false;
      } else {
        addPieces(list, [next]);
        list.known = { ...known, pieces: others };
      }
    }
  }

  /**
   * The list of the node that sent nothing for longest gives way, and is asked for again. Attack: nodes that send half
   * a list, so that others find no room.
   */
  makeRoom(newest: NodeList): void {
    for (const list of this.#ones) {
      if (this.#bytes <= mostWaiting) return;
      if (list !== newest && !list.isJudged) this.set(list, []);
    }
  }
}
