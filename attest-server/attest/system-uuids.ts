import type { AmongNodes } from './among-nodes.ts';

/** UUID that a node claims for its machine, and the other nodes that claim the same. */
export interface ShownUuid {
  /** The latest that it said; null if it never did. */
  readonly uuid: string | null;
  /** Other nodes that show it, some of them where they are many. */
  readonly others: readonly string[];
}

/**
 * Which enrolled node shows which system UUID (SMBIOS 3.7, section 7.2.1). It is the nodes' own word, and firmware gives
 * some machines one UUID: what is found locks nobody out.
 */
export class SystemUuids implements AmongNodes<string | undefined, string | null, ShownUuid> {
  readonly #holders = new Map<string, Set<string>>();
  readonly #shown = new Map<string, string>();

  /** Notes what a proven answer says. */
  claim(name: string, claimed: string | undefined): ShownUuid {
    if (claimed !== undefined && !isPlaceholder(claimed)) this.restore(name, claimed);
    const uuid = this.#shown.get(name) ?? null;
    const all = uuid === null ? undefined : this.#holders.get(uuid);
    if (all === undefined || all.size < 2) return { uuid, others: nobody };
    const others: string[] = [];
    for (const other of all) {
      if (other !== name) others.push(other);
      if (others.length === mostOthers) break;
    }
    return { uuid, others: others.sort() };
  }

  restore(name: string, uuid: string | null): void {
    if ((this.#shown.get(name) ?? null) === uuid) return;
    this.release(name);
    if (uuid === null) return;
    const holders = this.#holders.get(uuid);
    if (holders === undefined) this.#holders.set(uuid, new Set([name]));
    else holders.add(name);
    this.#shown.set(name, uuid);
  }

  release(name: string): void {
    const shown = this.#shown.get(name);
    if (shown === undefined) return;
    const holders = this.#holders.get(shown);
    holders?.delete(name);
    if (holders?.size === 0) this.#holders.delete(shown);
    this.#shown.delete(name);
  }
}

const nobody: readonly string[] = [];
/** A batch of a thousand machines may have one UUID, and each answer looks for the others. */
const mostOthers = 5;

/** Values that makers leave in many machines, so that they identify none. All digits equal, and the values of unset firmware. */
function isPlaceholder(uuid: string): boolean {
  const digits = uuid.replaceAll('-', '');
  return new Set(digits).size === 1 || placeholders.has(digits);
}

const placeholders: ReadonlySet<string> = new Set([
  '03000200040005000006000700080009',
  '00020003000400050006000700080009',
  '0123456789abcdef0123456789abcdef',
  '12345678123456781234567812345678',
  '12345678123412341234123456789abc',
  '00112233445566778899aabbccddeeff',
  'fefefefefefefefefefefefefefefefe',
]);
