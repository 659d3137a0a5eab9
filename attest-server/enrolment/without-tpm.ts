/** A machine that said it has no TPM, of a kind of which policy says so too. */
export interface UnsupportedNode {
  readonly name: string;
  readonly group: string;
  readonly mode: 'observe' | 'label' | 'enforce';
  /** `name@revision` of the policy that says so. */
  readonly policy: string;
}

export interface UnsupportedPorts {
  /** The word of the policy in force; null where it says nothing of the sort about this name. */
  absentBy(node: string): Omit<UnsupportedNode, 'name'> | null;
  /** Milliseconds since the epoch. */
  now(): number;
}

const most = 1024;
/** Agents come back within a minute; who stays away for a day is not there any more. */
const fadesAfterMs = 24 * 60 * 60 * 1000;

/**
 * Which machines without a TPM were seen. It is their own word, unproven, so that it changes nothing but this list,
 * which a flood cannot make larger; that they are `unsupported` and no alarm is the word of the policy.
 */
export class MachinesWithoutTpm {
  readonly #ports: UnsupportedPorts;
  /** In the order in which they were last seen. */
  readonly #seen = new Map<string, number>();

  constructor(ports: UnsupportedPorts) {
    this.#ports = ports;
  }

  /** Notes a machine that says it has no TPM; false where policy does not expect that of it. */
  note(node: string): boolean {
    if (this.#ports.absentBy(node) === null) return false;
    this.#seen.delete(node);
    const [oldest] = this.#seen.keys();
    if (this.#seen.size >= most && oldest !== undefined) this.#seen.delete(oldest);
    this.#seen.set(node, this.#ports.now());
    return true;
  }

  /** By the policy that is in force now. */
  list(): readonly UnsupportedNode[] {
    const since = this.#ports.now() - fadesAfterMs;
    return [...this.#seen].flatMap(([name, at]) => {
      const by = at < since ? null : this.#ports.absentBy(name);
      return by === null ? [] : [{ name, ...by }];
    });
  }
}
