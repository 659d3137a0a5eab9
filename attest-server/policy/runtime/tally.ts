import { Examples } from './examples.ts';

/**
 * The summary of one node's list so far: some examples of each kind, and nothing for each line. It is the same however the
 * list was cut.
 */
export class FileTally {
  /** No reference has the file. */
  unknown = new Examples();
  /** The policy denies it. */
  denied = new Examples();
  /** Only a revoked reference has it. */
  revoked = new Examples();
  /** A reference has what it holds, and not at its path. */
  moved = new Examples();
  violations = new Examples();
  /** Measurements of the kernel itself that no reference has. */
  measured = new Examples();
  /** Below a path of containers, and none of their references has it. */
  inContainers = new Examples();
  /** By the name of the reference that knows them longest; examples where that reference expires. */
  known = new Map<string, Examples | null>();
  /** Files that are IMA policies of references, by digest in hex. */
  policies = new Set<string>();
  /** A symbol that changes whenever something new was seen that counts. Attack: a list of another boot with as many things in it. */
  state = Symbol();

  changed(): void {
    this.state = Symbol();
  }

  /** As it is now, to go on from. */
  copy(): FileTally {
    const copy = new FileTally();
    for (const kind of kinds) copy[kind] = this[kind].copy();
    copy.known = new Map([...this.known].map(([name, examples]) => [name, examples?.copy() ?? null]));
    copy.policies = new Set(this.policies);
    copy.state = this.state;
    return copy;
  }
}

const kinds = ['unknown', 'denied', 'revoked', 'moved', 'violations', 'measured', 'inContainers'] as const;
