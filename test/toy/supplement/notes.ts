// Goes to attest-server/attest/supplements/notes.ts, which is as deep as this folder: the imports hold in both places.
import { hash } from 'node:crypto';
import type {
  GivenSupplement,
  LackingAnswer,
  Supplement,
  TakenSupplement,
} from '../../../attest-server/attest/supplements/supplement.ts';
import { digestLines, parseDigestLines } from '../../../attest-server/wire/digest-lines.ts';
import {
  type AnsweredSupplement,
  type SupplementPlace,
  supplementForms,
} from '../../../attest-server/wire/supplements.ts';

const name = 'initrds';
const form = { head: supplementForms[name].head, part: name, count: 8 } as const;

/** Notes that the node's part `inventory` names by digest, one a line: each is asked for once, and kept. */
export class Notes implements Supplement {
  readonly name = name;
  readonly #read: (digest: string, node: string) => Promise<Buffer | null>;
  readonly #wanted = new Map<string, readonly string[]>();

  constructor(read: (digest: string, node: string) => Promise<Buffer | null>) {
    this.#read = read;
  }

  ask(node: string): SupplementPlace | null {
    const of = this.#wanted.get(node) ?? [];
    return of.length === 0 ? null : { of, from: 0, bootId: null };
  }

  async held(node: string, digest: string | undefined): Promise<GivenSupplement | null> {
    const bytes = digest === undefined ? null : await this.#read(digest, node);
    if (digest === undefined || bytes === null) return null;
    const files = new Map<string, Buffer>();
    for (const each of parseDigestLines(form, bytes)) {
      const note = await this.#read(each, node);
      if (note !== null) files.set(each, note);
    }
    return { name, part: { digest, bytes }, files };
  }

  async take(
    { node, proven }: LackingAnswer,
    answered: AnsweredSupplement | undefined,
    held: GivenSupplement | null,
  ): Promise<TakenSupplement> {
    const inventory = proven.parts.inventory?.bytes?.toString('latin1') ?? '';
    const named: readonly string[] = inventory.match(/\b[0-9a-f]{64}\b/g) ?? [];
    const files = new Map(held?.files);
    for (const bytes of answered?.came?.pieces ?? []) files.set(hash('sha256', bytes, 'hex'), bytes);
    for (const each of files.keys()) if (!named.includes(each)) files.delete(each);
    const missing = named.filter((each) => !files.has(each));
    const isInVain = answered === undefined || answered.asked !== null;
    this.#wanted.set(node.name, isInVain ? [] : missing);
    if (missing.length > 0 && !isInVain) return { is: 'more' };
    const list = digestLines(form, files.keys());
    const given: GivenSupplement = {
      name,
      part: { digest: hash('sha256', list, 'hex'), bytes: list },
      files,
    };
    if (missing.length === 0) return { is: 'enough', given };
    return { is: 'wait', given, why: 'The node has not sent all of its notes.', asks: false };
  }

  forget(node: string): void {
    this.#wanted.delete(node);
  }
}
