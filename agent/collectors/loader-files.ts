import { hash } from 'node:crypto';
import { limits } from '../../attest-server/wire/limits.ts';
import { readBootCopies } from '../inspect/boot-copies.ts';
import type { SupplementCollector } from './collector.ts';
import { hashes, isEnvironment, isReadByGrub, loaderTree, readLoaderFile } from './loader-tree.ts';

/**
 * The files that GRUB measured, as far as a server asks for them: whoever asks for a digest knows it from a boot log, so
 * that nothing else leaves the node. GRUB's environment is written after it was measured, and is sent as it is. What
 * is root's alone comes from the copies of `assay-agent inspect`.
 */
export const loaderFiles: SupplementCollector = {
  name: 'loaderFiles',
  part: null,
  supplement: 'loaderFiles',
  faultStays: true,
  within: 10_000,
  async read(sysroot, signal, { of, most }) {
    const sent = new AnswerBudget(of, most);
    const found = (unread: string | null) => ({ from: 0, more: false, pieces: sent.files(), unread });
    const faults: string[] = [];
    for await (const path of loaderTree(sysroot, isReadByGrub, signal, faults)) {
      if (sent.isFull) break;
      const content = await readLoaderFile(path, signal).catch((error: unknown) => {
        signal.throwIfAborted();
        faults.push(error instanceof Error ? error.message : String(error));
        return null;
      });
      if (content !== null) sent.offer(content, isEnvironment(path, content));
    }
    const [fault] = faults;
    if (sent.isFull || fault === undefined) return found(null);
    const copies = await readBootCopies(sysroot, signal);
    if (typeof copies === 'string') return found(`${fault}; ${copies}`);
    const unread = [...copies.unread];
    for (const { digests: its, environment, read } of copies.files) {
      if (sent.isFull) break;
      if (!environment && !its.some((digest) => sent.wants(digest))) continue;
      const content = await read().catch((error: unknown) => {
        signal.throwIfAborted();
        unread.push(error instanceof Error ? error.message : String(error));
        return null;
      });
      if (content !== null) sent.offer(content, environment);
    }
    return found(sent.isFull ? null : (unread[0] ?? null));
  },
};

/** The files and bytes that fit into one answer. */
class AnswerBudget {
  readonly #wanted: Set<string>;
  readonly #files: Buffer[] = [];
  readonly #blocks: Buffer[] = [];
  readonly #most: number;
  #bytes = 0;

  /** @param most bytes of all */
  constructor(digests: readonly string[], most: number) {
    this.#wanted = new Set(digests);
    this.#most = most;
  }

  get isFull(): boolean {
    return this.#wanted.size === 0 || this.#files.length >= limits.filesInAnswer.count;
  }

  wants(digest: string): boolean {
    return this.#wanted.has(digest);
  }

  offer(content: Buffer, isBlock: boolean): void {
    const found = digestsIn(content, this.#wanted);
    if (found.length > 0 && this.#bytes + content.length <= this.#most) {
      this.#bytes += content.length;
      this.#files.push(content);
      for (const digest of found) this.#wanted.delete(digest);
    } else if (
      isBlock &&
      this.#blocks.length < limits.filesInAnswer.blocks &&
      !this.#blocks.some((one) => one.equals(content))
    )
      this.#blocks.push(content);
  }

  /** Blocks help only where something is not found, and come only where there is room. */
  files(): readonly Buffer[] {
    if (this.#wanted.size === 0) return this.#files;
    const all = [...this.#files];
    let bytes = this.#bytes;
    for (const block of this.#blocks) {
      bytes += block.length;
      if (bytes <= this.#most) all.push(block);
    }
    return all;
  }
}

function digestsIn(content: Buffer, wanted: ReadonlySet<string>): readonly string[] {
  return [...hashes]
    .filter(([length]) => [...wanted].some((digest) => digest.length === length))
    .map(([, name]) => hash(name, content, 'hex'))
    .filter((digest) => wanted.has(digest));
}
