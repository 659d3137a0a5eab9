/**
 * Chains that a program of the cluster rewrites all the time, as each program documents its names. The node leaves
 * their rules out before it compares, and sends what `owned` of the part `firewall` says of them. A rule that leads
 * into one, its place, and every base chain's hook, priority and policy are never left out.
 */
export interface ChainOwner {
  readonly owner: string;
  /** Its chains in the tables of iptables: no chain of another nft table is its, whatever its name. */
  readonly chains: RegExp;
  /** Chains of which there are as many as services, pods or endpoints: named, and counted, by what they begin with. */
  readonly numbered?: RegExp;
  /** nft tables, of the families ip and ip6, that are its alone. */
  readonly tables?: readonly string[];
}

export const chainOwners: readonly ChainOwner[] = [
  {
    owner: 'kube-router',
    chains: /^KUBE-(?:ROUTER|POD-FW|NWPLCY)(?:-|$)/,
    numbered: /^KUBE-(?:POD-FW|NWPLCY)-/,
  },
  {
    owner: 'kube-proxy',
    chains: /^KUBE-/,
    numbered: /^KUBE-(?:SVC|SEP|FW|EXT|XLB|SVL)-(?=[A-Z0-9]{16}$)/,
    tables: ['kube-proxy'],
  },
  {
    owner: 'calico',
    chains: /^cali-/,
    numbered: /^cali-(?:tw|fw|sm|th|fh|pri|pro|pi|po)-/,
    tables: ['calico'],
  },
  { owner: 'cilium', chains: /^(?:OLD_)?CILIUM_/ },
  { owner: 'flannel', chains: /^FLANNEL-/ },
  { owner: 'cni', chains: /^CNI-/, numbered: /^CNI-(?:DN-|SN-|)(?=[0-9a-f]{16,}$)/ },
  // DOCKER-USER is the one that Docker leaves to people.
  { owner: 'docker', chains: /^DOCKER(?:-(?!USER$)|$)/ },
];

/**
 * Chains of Calico by which a host endpoint keeps connections from the node itself (felix/rules, v3.31): they come with
 * the configuration of the node, and no workload changes them. So their rules are sent, compared and walked through.
 */
const hostChains = /^cali-(?:INPUT|OUTPUT|failsafe-(?:in|out)|(?:from|to)-host-endpoint(?:-.+)?|[ft]h-.+)$/;
/** Chains of the nft table `calico`, where each chain's name begins with that of the table it would be in. */
const hostHooks: ReadonlySet<string> = new Set(['filter-INPUT', 'filter-OUTPUT']);

export function isHostChain(family: string, table: string, chain: string): boolean {
  if (family !== 'ip' && family !== 'ip6') return false;
  if (table === 'filter') return hostChains.test(chain);
  if (table !== 'calico' || !chain.startsWith('filter-')) return false;
  return hostHooks.has(chain) || hostChains.test(chain.slice('filter-'.length));
}

export interface OwnedChain {
  readonly owner: string;
  /** Under which name its rules are summed up: its own, or `KUBE-SVC-*`. */
  readonly as: string;
}

/** Null if its rules are not left out. Whether it is a base chain, whose rules stay, is for the caller to see. */
export function ownerOfChain(family: string, table: string, chain: string): OwnedChain | null {
  return isHostChain(family, table, chain) ? null : declaredChain(family, table, chain);
}

/** The owner of a chain, also of a host chain: a rule leads into it, although whoever wrote a baseline may have left its rules out. */
export function declaredChain(family: string, table: string, chain: string): OwnedChain | null {
  if ((family !== 'ip' && family !== 'ip6') || !iptablesTables.has(table)) return null;
  for (const { owner, chains, numbered } of chainOwners) {
    if (!chains.test(chain)) continue;
    const prefix = numbered?.exec(chain)?.[0];
    return { owner, as: prefix === undefined ? chain : `${prefix}*` };
  }
  return null;
}

/** The owner of a table of nft, as a whole; null if nobody declared it. */
export function ownerOfTable(family: string, table: string): string | null {
  if (family !== 'ip' && family !== 'ip6') return null;
  return chainOwners.find(({ tables }) => tables?.includes(table))?.owner ?? null;
}

/** The tables that iptables has, over nf_tables and by itself. */
export const iptablesTables: ReadonlySet<string> = new Set(['filter', 'nat', 'mangle', 'raw', 'security']);

/**
 * A comment without what differs each time that the same rule is written: Calico's hash of a rule (`cali:` and 16
 * characters), and the id of a container (64 hex digits), which plugins of CNI write.
 */
export function withoutIds(comment: string): string {
  return comment
    .replace(/(?<![A-Za-z0-9])cali:[A-Za-z0-9_-]{16}(?![A-Za-z0-9_-])/g, 'cali:*')
    .replace(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g, '*');
}
