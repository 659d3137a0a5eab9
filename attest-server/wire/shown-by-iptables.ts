/**
 * Whether the line of iptables-save for a rule says all that nft shows of it. Programs of iptables leave out what they
 * do not know, and say nothing: `tcp dport { 22, 80 } accept` becomes `-p tcp -j ACCEPT`. What stands in an extension of
 * xtables is iptables' to show. Whatever is not known here is not shown.
 */
export function isShownByIptables(statements: unknown, saved: string): boolean {
  if (!Array.isArray(statements)) return false;
  const words = wordsOf(saved);
  const seen = new Set<string>();
  return statements.every((one: unknown) => {
    const own = fields(one);
    const [key = ''] = Object.keys(own);
    return isStatementShown(key, own[key], words, seen);
  });
}

type Fields = Readonly<Record<string, unknown>>;

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** Options, and what `-j` and `-g` lead to; never what somebody named or wrote as a comment. */
function wordsOf(saved: string): ReadonlySet<string> {
  const all = saved.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').split(' ');
  const words = new Set<string>();
  for (let i = 2; i < all.length; i++) {
    const word = all[i] ?? '';
    if (word === '-j' || word === '-g') words.add(`${word} ${all[i + 1] ?? ''}`);
    else if (word.startsWith('-')) words.add(word);
    if (named.has(word)) i++;
  }
  return words;
}

/** Options whose value may be any word, such as another option. */
const named: ReadonlySet<string> = new Set([
  '-j',
  '-g',
  '-i',
  '-o',
  '-m',
  '--comment',
  '--log-prefix',
  '--nflog-prefix',
  '--string',
  '--name',
  '--match-set',
  '--hashlimit-name',
  '--helper',
  '--path',
]);

const verdicts: ReadonlyMap<string, string> = new Map([
  ['accept', '-j ACCEPT'],
  ['drop', '-j DROP'],
  ['return', '-j RETURN'],
]);

/** @param seen parts of a packet that were asked about: iptables shows the last question alone */
function isStatementShown(
  key: string,
  value: unknown,
  words: ReadonlySet<string>,
  seen: Set<string>,
): boolean {
  const own = fields(value);
  const verdict = verdicts.get(key);
  if (verdict !== undefined) return words.has(verdict);
  switch (key) {
    case 'match':
      return isMatchShown(own, words, seen);
    case 'counter':
      return typeof value !== 'string';
    case 'comment':
    case 'xt':
    case 'continue':
      return true;
    case 'jump':
      return words.has(`-j ${String(own.target)}`);
    case 'goto':
      return words.has(`-g ${String(own.target)}`);
    case 'log':
      return words.has('-j LOG') || words.has('-j NFLOG');
    case 'limit': {
      const isPlain = own.inv !== true && (own.rate_unit === undefined || own.rate_unit === 'packets');
      return isPlain && isFirst('limit', seen) && words.has('--limit');
    }
    default:
      return false;
  }
}

function isFirst(what: string, seen: Set<string>): boolean {
  if (seen.has(what)) return false;
  seen.add(what);
  return true;
}

function isMatchShown({ op, left, right }: Fields, words: ReadonlySet<string>, seen: Set<string>): boolean {
  const masked = fields(left)['&'];
  const of = Array.isArray(masked) && masked.length === 2 ? masked[0] : left;
  if (of !== left && Array.isArray(masked) && !isPlain(masked[1])) return false;
  const { meta, payload } = fields(of);
  const { protocol, field, tunnel } = fields(payload);
  if (tunnel !== undefined) return false;
  const part =
    meta === undefined ? `${String(protocol)} ${String(field)}` : `meta ${String(fields(meta).key)}`;
  const port = /^(?:tcp|udp|udplite|sctp|dccp) ([sd]port)$/.exec(part)?.[1];
  const options = port === undefined ? optionsOf.get(part) : [`--${port}`];
  const [option] = options ?? [];
  if (options === undefined || option === undefined || !options.some((one) => words.has(one))) return false;
  if (!isFirst(/^icmp/.test(part) ? part : option, seen)) return false;
  const range = fields(right).range;
  if (port !== undefined && Array.isArray(range)) return op === '==' || op === '!=';
  if (port !== undefined && /^[<>]=?$/.test(String(op))) return typeof right === 'number';
  if (op !== '==' && op !== '!=' && !(op === 'in' && part === 'tcp flags')) return false;
  return isPlain(right);
}

/** By what nft asks about, the options by one of which iptables does. */
const optionsOf: ReadonlyMap<string, readonly string[]> = new Map([
  ['ip saddr', ['-s']],
  ['ip6 saddr', ['-s']],
  ['ip daddr', ['-d']],
  ['ip6 daddr', ['-d']],
  ['ip protocol', ['-p']],
  ['ip6 nexthdr', ['-p']],
  ['meta l4proto', ['-p']],
  ['meta iif', ['-i']],
  ['meta iifname', ['-i']],
  ['meta oif', ['-o']],
  ['meta oifname', ['-o']],
  ['meta mark', ['--mark']],
  ['meta pkttype', ['--pkt-type']],
  ['tcp flags', ['--tcp-flags', '--syn']],
  ['icmp type', ['--icmp-type']],
  ['icmp code', ['--icmp-type']],
  ['icmpv6 type', ['--icmpv6-type']],
  ['icmpv6 code', ['--icmpv6-type']],
  ['ip frag-off', ['-f']],
  ['ip ttl', ['--ttl-eq']],
  ['ip6 hoplimit', ['--hl-eq']],
]);

/** One value, of which iptables has a form: no set, no range, no name of a set. */
function isPlain(value: unknown): boolean {
  if (typeof value === 'string') return !value.startsWith('@');
  if (typeof value === 'number') return true;
  if (Array.isArray(value)) return value.every((one) => typeof one === 'string');
  const { prefix, '|': flags } = fields(value);
  return prefix !== undefined || (Array.isArray(flags) && flags.every((one) => typeof one === 'string'));
}
