import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '../../attest-server/wire/limits.ts';
import { readBootId } from './boot-id.ts';
import type { FoundSupplement, SupplementCollector } from './collector.ts';
import { unlessHidden } from './host-view.ts';
import { imaLogPath } from './ima-log.ts';
import { openIfThere } from './read-bounded.ts';

/**
 * IMA's list from where the server has it, opened again for each answer. To find the offset, the kernel makes all entries before it
 * once more: some 0.5 ms for 1,000. A file that stays open spares that only where nothing was added since the last answer.
 * @param patienceMs after which the rest is left for the next answer
 */
export function imaList(patienceMs = 5_000): SupplementCollector {
  return {
    name: 'ima',
    part: null,
    supplement: 'ima',
    after: 'quote',
    within: 15_000,
    async read(sysroot, signal, { from, bootId, most }) {
      const path = join(sysroot, imaLogPath);
      const file = await openIfThere(path);
      if (file === null) return unlessHidden(sysroot, `/${imaLogPath}`, signal);
      try {
        const reading = new ListReader(file, most, signal, performance.now() + patienceMs);
        const isOfThisBoot = from > 0 && bootId === (await readBootId(sysroot));
        // One that is shorter than what the server has is another one.
        const start = isOfThisBoot && (await reading.has(from - 1)) ? from : 0;
        const found = await reading.on(start);
        return found.from === 0 && found.pieces.length === 0 ? null : found;
      } finally {
        await file.close();
      }
    },
  };
}

class ListReader {
  readonly #file: FileHandle;
  readonly #most: number;
  readonly #signal: AbortSignal;
  readonly #until: number;
  #isAtEnd = false;

  constructor(file: FileHandle, most: number, signal: AbortSignal, until: number) {
    this.#file = file;
    this.#most = most;
    this.#signal = signal;
    this.#until = until;
  }

  async has(offset: number): Promise<boolean> {
    const { bytesRead } = await this.#file.read(Buffer.alloc(1), 0, 1, offset);
    return bytesRead === 1;
  }

  async on(from: number): Promise<FoundSupplement> {
    const pieces: Buffer[] = [];
    let size = 0;
    do {
      const piece = await this.#piece(from + size, Math.min(limits.ima.piece, this.#most - size));
      if (piece.length > 0) pieces.push(piece);
      size += piece.length;
    } while (size < this.#most && !this.#isAtEnd && !this.#isLate);
    // What was added since the end was seen is for the next quote.
    return { from, more: !this.#isAtEnd && (await this.has(from + size)), pieces };
  }

  get #isLate(): boolean {
    return performance.now() >= this.#until;
  }

  /** The kernel gives 4 KiB a call, and finds its place by walking from the list's start: on long lists it takes long. */
  async #piece(from: number, most: number): Promise<Buffer> {
    let buffer = Buffer.allocUnsafeSlow(Math.min(firstBytes, most));
    let size = 0;
    do {
      this.#signal.throwIfAborted();
      if (size === buffer.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(2 * size, most));
        buffer.copy(larger);
        buffer = larger;
      }
      const { bytesRead } = await this.#file.read(buffer, size, buffer.length - size, from + size);
      size += bytesRead;
      this.#isAtEnd = bytesRead === 0;
    } while (size < most && !this.#isAtEnd && !this.#isLate);
    return buffer.subarray(0, size);
  }
}

/** Room for what a node adds within a minute, as a rule. */
const firstBytes = 16 * 1024;
