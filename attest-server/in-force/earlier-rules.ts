import { setImmediate } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import type { NamedContext } from '../evidence/kept-context.ts';
import type { EvidenceRoom } from '../evidence/open.ts';
import { type Reference, reference } from '../formats/reference.ts';
import { askedPaths } from '../policy/aspects.ts';
import { parsePolicy } from '../policy/file/policy-file.ts';
import { enrolments, groupOf, type Policy } from '../policy/policy.ts';
import { InForce } from './in-force.ts';

export interface EarlierRulesParts extends Pick<EvidenceRoom, 'context' | 'contextOf'> {
  /** A policy as this server would have it in force. */
  readonly asHeld: (policy: Policy) => Policy;
  /** Called once for each that cannot be read. */
  readonly fault: (error: unknown, where: string) => void;
}

class GoneText extends Error {
  override readonly name = 'GoneText';
}

/** Names of errors that say the same however often it is tried. */
const unreadable = ['GoneText', 'UnreadableRow', 'PolicyError', 'ZodError', 'SyntaxError'];

/** Earlier rules that are held at a time; nearly always all nodes share one. */
const mostHeld = 16;
/** Characters of their texts together: each holds what is made of its references, too. */
const mostText = 192 * 1024 * 1024;
/** Milliseconds after which what nobody asked for is let go. */
const heldFor = 15 * 60_000;

/**
 * Policies and references by which nodes were trusted before: prepared when a node is first to be judged by them, once for all
 * nodes, and let go when nothing waits any more.
 */
export class EarlierRules {
  readonly #parts: EarlierRulesParts;
  readonly #held = new LRUCache<string, InForce>({
    max: mostHeld,
    maxSize: mostText,
    ttl: heldFor,
    updateAgeOnGet: true,
    ttlAutopurge: true,
  });
  /** By digest; a policy alone is small, and agents are asked for the paths of its rules. */
  readonly #policies = new LRUCache<string, Policy>({ max: mostHeld });
  /** By key: those that cannot be read are reported once. */
  readonly #told = new LRUCache<string, true>({ max: 256 });
  // Reading megabytes of references takes a while: whoever asks for the same meanwhile finds it made.
  readonly #oneByOne = pLimit(1);

  constructor(parts: EarlierRulesParts) {
    this.#parts = parts;
  }

  /** These are no longer in force. */
  note({ policy, context }: InForce): void {
    this.#policies.set(context.policy, policy);
  }

  /** Null if they would have to be read first. */
  known(named: NamedContext): InForce | null {
    return this.#held.get(keyOf(named)) ?? null;
  }

  /** @param node one that was judged by them. Null if they are gone, or this version cannot read them */
  async read(named: NamedContext, node: string): Promise<InForce | null> {
    return this.known(named) ?? this.#oneByOne(async () => this.known(named) ?? this.#make(named, node));
  }

  /** The paths of a node that an earlier policy names, as far as it is known here. */
  pathsOf(named: NamedContext, node: string, labels: Readonly<Record<string, string>>): readonly string[] {
    const policy = this.#policies.get(named.policy);
    return policy === undefined ? [] : askedPaths(groupOf(policy, node, labels).rules);
  }

  async #make(named: NamedContext, node: string): Promise<InForce | null> {
    try {
      const { context, contextOf, asHeld } = this.#parts;
      const texts = await context(named, node);
      if (texts === null) throw new GoneText('their text is not kept any more');
      const policy = asHeld(parsePolicy(texts.policy, 'earlier policy', enrolments));
      const references: Reference[] = [];
      for (const one of texts.references) {
        await setImmediate();
        references.push(reference.parse(one));
      }
      const made = new InForce(policy, references, contextOf);
      this.#policies.set(named.policy, policy);
      this.#held.set(keyOf(named), made, { size: 1 + sizeOf(made) });
      return made;
    } catch (error) {
      // A store that cannot be read now is a fault of ours, and decides nothing.
      if (!(error instanceof Error) || !unreadable.includes(error.name)) throw error;
      this.#tell(named, error);
      return null;
    }
  }

  #tell(named: NamedContext, cause: unknown): void {
    const key = keyOf(named);
    if (this.#told.has(key)) return;
    this.#told.set(key, true);
    const text = 'the rules by which nodes were trusted before cannot be read: their taints do not wait';
    this.#parts.fault(new Error(text, { cause }), 'earlier rules');
  }
}

function keyOf({ policy, references }: NamedContext): string {
  return `${policy} ${references}`;
}

function sizeOf({ policy, context }: InForce): number {
  return context.blobs.reduce((sum, { bytes }) => sum + bytes.length, policy.text.length);
}
