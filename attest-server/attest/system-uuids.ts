import { Rejection } from '../protocol/rejection.ts';

/**
 * Which enrolled node shows which system UUID (SMBIOS 3.7, section 7.2.1). It is the node's own word, so it proves
 * nothing; but a node that shows another's is not the machine that it says.
 */
export class SystemUuids {
  readonly #holders = new Map<string, string>();
  readonly #shown = new Map<string, string>();

  /**
   * Notes what a proven answer says.
   * @returns the node's UUID: the latest that it said, null where it never did
   * @throws Rejection `identity_claim_mismatch` where it is that of another enrolled node
   */
  claim(name: string, claimed: string | undefined): string | null {
    if (claimed === undefined || isPlaceholder(claimed)) return this.#shown.get(name) ?? null;
    const holder = this.#holders.get(claimed);
    if (holder !== undefined && holder !== name)
      throw new Rejection(
        'identity_claim_mismatch',
        `${name} says that its system UUID is ${claimed}, but ${holder} already has that one. Revoke the enrolment of the node that is not this machine, or give both machines a UUID of their own`,
      );
    this.remember(name, claimed);
    return claimed;
  }

  /** What a store holds. A second node of one UUID has none here: a start must not fail for it. */
  remember(name: string, uuid: string | null): void {
    if (uuid === null || (this.#holders.get(uuid) ?? name) !== name) return;
    this.forget(name);
    this.#holders.set(uuid, name);
    this.#shown.set(name, uuid);
  }

  /** Takes back what a node said last: it shows again what it showed before. */
  restore(name: string, uuid: string | null): void {
    if (this.#shown.get(name) === uuid) return;
    this.forget(name);
    this.remember(name, uuid);
  }

  /** The node is none any more. */
  forget(name: string): void {
    const shown = this.#shown.get(name);
    if (shown !== undefined) this.#holders.delete(shown);
    this.#shown.delete(name);
  }
}

/** What makers leave in many machines: no name of one. All digits equal, and the values of unset firmware. */
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
