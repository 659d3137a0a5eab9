import type { SharedVolume } from '../policy/aspect.ts';
import { diskMemoryIn, shownVolumes } from '../policy/disk/memory.ts';
import type { Proven } from '../verify/proven.ts';
import type { AmongNodes } from './among-nodes.ts';
import type { NodeStatus } from './ports.ts';

type VolumeMarks = readonly string[];

/**
 * Which enrolled node shows which LUKS volumes, by their marks (policy/disk/memory.ts): what two nodes show was copied.
 * It is the nodes' own word. A node has at most as many marks as its part may hold headers.
 */
export class SharedVolumes implements AmongNodes<VolumeMarks, VolumeMarks, readonly SharedVolume[]> {
  readonly #byMark = new Map<string, Set<string>>();
  readonly #byNode = new Map<string, VolumeMarks>();

  claim(name: string, marks: VolumeMarks): readonly SharedVolume[] {
    this.restore(name, marks);
    return this.sharedBy(name);
  }

  /** By what an answer shows; what it does not show the node still has. */
  claimShown(name: string, proven: Proven): readonly SharedVolume[] {
    return this.claim(name, shownVolumes(proven, this.marksOf(name)));
  }

  /** These, and no others. */
  restore(name: string, marks: VolumeMarks): void {
    const before = this.#byNode.get(name);
    if (before?.length === marks.length && before.every((mark, index) => mark === marks[index])) return;
    this.release(name);
    if (marks.length === 0) return;
    this.#byNode.set(name, marks);
    for (const mark of marks) {
      const holders = this.#byMark.get(mark);
      if (holders === undefined) this.#byMark.set(mark, new Set([name]));
      else holders.add(name);
    }
  }

  /** Volumes that this node shows and others show, too, with their names in order. */
  sharedBy(name: string): readonly SharedVolume[] {
    const shared: SharedVolume[] = [];
    for (const mark of this.#byNode.get(name) ?? none) {
      const holders = this.#byMark.get(mark);
      if (holders === undefined || holders.size < 2) continue;
      const others = [...holders].filter((holder) => holder !== name);
      shared.push({ mark, nodes: others.sort().slice(0, mostNamed) });
    }
    return shared;
  }

  marksOf(name: string): VolumeMarks {
    return this.#byNode.get(name) ?? none;
  }

  release(name: string): void {
    for (const mark of this.#byNode.get(name) ?? none) {
      const holders = this.#byMark.get(mark);
      holders?.delete(name);
      if (holders?.size === 0) this.#byMark.delete(mark);
    }
    this.#byNode.delete(name);
  }
}

/** Marks that its status remembers. */
export function storedMarks(status: NodeStatus | null): VolumeMarks {
  return diskMemoryIn(status?.memory ?? {}).volumes;
}

const none: VolumeMarks = [];
/** Of a fleet that was cloned, some are enough to be named. */
const mostNamed = 8;
