import type { Hash } from 'node:crypto';

/** The trace of rules that were left out, as the part `firewall` has it. */
export interface OwnedRules {
  readonly from: 'nft' | 'iptables' | 'legacy';
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly owner: string;
  readonly rules: number;
  readonly digest: string;
}

type OwnedChainName = Omit<OwnedRules, 'rules' | 'digest'>;

/** Sums up what is left out, by chain. */
export class OwnedSum {
  readonly #sums = new Map<string, { readonly about: OwnedChainName; rules: number; readonly hash: Hash }>();

  /** @param rule its text; null for a chain, or what else is no rule */
  add(about: OwnedChainName, text: string, isRule: boolean): void {
    const key = [about.from, about.family, about.table, about.chain].join('\0');
    let sum = this.#sums.get(key);
    if (sum === undefined) {
      // Late: with it the program holds 2 MiB more, and where no owner is declared it is not needed.
      const { createHash } = process.getBuiltinModule('node:crypto');
      sum = { about, rules: 0, hash: createHash('sha256') };
      this.#sums.set(key, sum);
    }
    sum.hash.update(`${text}\n`);
    if (isRule) sum.rules++;
  }

  /** In an order of its own, which does not depend on when something was added. */
  end(): readonly OwnedRules[] {
    return [...this.#sums]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([, { about, rules, hash }]) => ({ ...about, rules, digest: hash.digest('hex') }));
  }
}
