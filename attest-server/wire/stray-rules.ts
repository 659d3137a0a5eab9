import { declaredChain } from './owned-chains.ts';

/**
 * Rules in chains of declared owners that no such program writes: they are sent, and compared as nobody's. What the
 * programs write is that of kubernetes 1.33 (pkg/proxy), Calico v3.31 (felix/rules), Cilium (pkg/datapath/iptables),
 * kube-router, flannel, the plugins of CNI and Docker up to 28.
 */
export type IsOwnAddress = (address: string) => boolean;

interface Habits {
  /** Chains of the table `nat` that send packets to another address. */
  readonly sends: RegExp | null;
  /** May that be an address of the node? */
  readonly sendsToNode: boolean;
  /** Rules of the table `filter`: what may be accepted. The target alone decides if it is null. */
  readonly accepts: ((chain: string, conditions: Conditions) => boolean) | null;
  /** Which packets may get a mark; null: any. */
  readonly marks: ((chain: string, conditions: Conditions) => boolean) | null;
  /** Chains that no other chain of it enters: the kernel's do. */
  readonly entered: RegExp | null;
  /** Other targets, by table. */
  readonly also: (table: string, target: string, conditions: Conditions) => boolean;
}

/** Options before the target, without comments, and their values. */
type Conditions = ReadonlyMap<string, readonly string[]>;

const nothing = () => false;
const tracks = (_table: string, target: string) => target === 'CT' || target === 'NOTRACK';

const habits: ReadonlyMap<string, Habits> = new Map<string, Habits>([
  [
    'kube-proxy',
    {
      sends: /^KUBE-SEP-[A-Z0-9]{16}$/,
      // An endpoint may be a pod in the network of the node.
      sendsToNode: true,
      accepts: (chain, conditions) =>
        (chain === 'KUBE-FORWARD' && (isMarked(conditions) || isOfKnownConnections(conditions))) ||
        (/^KUBE-NODE-?PORTS?$/.test(chain) && (isNodePort(conditions) || asksSet(conditions, 'KUBE-'))),
      marks: (chain) => /^KUBE-(?:MARK-(?:MASQ|DROP)|POSTROUTING)$/.test(chain),
      entered: /^KUBE-FORWARD$/,
      also: nothing,
    },
  ],
  [
    'kube-router',
    {
      sends: null,
      sendsToNode: false,
      accepts: (_chain, conditions) =>
        isMarked(conditions) ||
        conditions.has('--match-set') ||
        conditions.get('--src-type')?.[0] === 'LOCAL' ||
        /icmp/.test(conditions.get('-p')?.[0] ?? '') ||
        isOfKnownConnections(conditions),
      marks: null,
      entered: null,
      also: nothing,
    },
  ],
  [
    'calico',
    { sends: /^cali-fip-dnat$/, sendsToNode: false, accepts: null, marks: null, entered: null, also: tracks },
  ],
  [
    'cilium',
    {
      sends: null,
      sendsToNode: false,
      accepts: (chain, conditions) =>
        isMarked(conditions) ||
        (/_FORWARD$/.test(chain) && (conditions.has('-i') || conditions.has('-o'))) ||
        /_OUTPUT$/.test(chain),
      // By a mark its proxy's packets are accepted.
      marks: (_chain, conditions) =>
        isMarked(conditions) || conditions.get('-m')?.includes('socket') === true,
      entered: /^/,
      also: (table, target, conditions) =>
        tracks(table, target) || (table === 'mangle' && target === 'TPROXY' && isMarked(conditions)),
    },
  ],
  [
    'flannel',
    {
      sends: null,
      sendsToNode: false,
      accepts: (_chain, conditions) => isOfNet(conditions, '-s') || isOfNet(conditions, '-d'),
      marks: null,
      entered: null,
      also: nothing,
    },
  ],
  [
    'cni',
    {
      sends: /^CNI-DN-[0-9a-f]{21}$/,
      sendsToNode: false,
      accepts: (_chain, conditions) =>
        isOfNet(conditions, '-s') || (isOfNet(conditions, '-d') && isOfKnownConnections(conditions)),
      marks: null,
      entered: null,
      also: nothing,
    },
  ],
  [
    'docker',
    {
      sends: /^DOCKER(?:-INGRESS)?$/,
      sendsToNode: false,
      accepts: (chain, conditions) =>
        conditions.has('-i') ||
        conditions.has('-o') ||
        chain === 'DOCKER-INGRESS' ||
        isOfKnownConnections(conditions),
      marks: null,
      entered: null,
      also: nothing,
    },
  ],
]);

/** Targets that let nothing in, and send nothing elsewhere: any of these programs may write them. */
const plain: ReadonlySet<string> = new Set([
  'DROP',
  'REJECT',
  'RETURN',
  'LOG',
  'NFLOG',
  'MASQUERADE',
  'SNAT',
  'TRACE',
  'CHECKSUM',
  'TCPMSS',
  'DSCP',
  'CLASSIFY',
]);

/** @param line of iptables-save, `-A CHAIN …` */
export function isStrayLine(
  { owner, family, table }: { readonly owner: string; readonly family: string; readonly table: string },
  line: string,
  isOwn: IsOwnAddress,
): boolean {
  const habit = habits.get(owner);
  const words = line.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? [];
  const [, chain = ''] = words;
  const jump = words.findIndex((word) => word === '-j' || word === '-g');
  if (jump < 0) return false;
  const target = words[jump + 1] ?? '';
  if (habit === undefined) return true;
  if (plain.has(target)) return false;
  // Attack: a way from packets to the node into what accepts forwarded ones, also of another owner.
  const next = declaredChain(family, table, target)?.owner ?? (target === 'DOCKER-USER' ? 'docker' : null);
  if (next !== null) return next !== owner || habit.entered?.test(target) === true;
  const conditions = conditionsOf(words.slice(2, jump));
  const isSetting = target === 'CONNMARK' && words.slice(jump + 2).some((word) => word.startsWith('--set'));
  if (target === 'CONNMARK' && !isSetting) return false;
  if (target === 'MARK' || isSetting) return habit.marks !== null && !habit.marks(chain, conditions);
  if (target === 'ACCEPT')
    return table === 'filter' && habit.accepts !== null && !habit.accepts(chain, conditions);
  if (target === 'DNAT') {
    if (table !== 'nat' || habit.sends?.test(chain) !== true) return true;
    const address = destinationOf(words.slice(jump + 2));
    return address === null || isLoopback(address) || (!habit.sendsToNode && isOwn(address));
  }
  return !habit.also(table, target, conditions);
}

function conditionsOf(words: readonly string[]): Conditions {
  const conditions = new Map<string, string[]>();
  let values: string[] | null = null;
  let isNot = false;
  for (const word of words) {
    if (word === '!') isNot = true;
    else if (word.startsWith('-')) {
      // What is not so says nothing of what is.
      const option = isNot ? `! ${word}` : word;
      values = conditions.get(option) ?? [];
      conditions.set(option, values);
      isNot = false;
    } else values?.push(word);
  }
  return conditions;
}

/** Some bit is asked to be one: no mark at all is what every packet has. */
function isMarked(conditions: Conditions): boolean {
  return (conditions.get('--mark') ?? []).some((text) => {
    const [value = '', mask = '0xffffffff'] = text.split('/');
    return /^0x[0-9a-f]+$/.test(value) && /^0x[0-9a-f]+$/.test(mask) && (BigInt(value) & BigInt(mask)) !== 0n;
  });
}

function isOfKnownConnections(conditions: Conditions): boolean {
  const states = (conditions.get('--ctstate') ?? conditions.get('--state') ?? []).join(',').split(',');
  return states.every((state) => state === 'RELATED' || state === 'ESTABLISHED');
}

function isNodePort(conditions: Conditions): boolean {
  const port = Number(conditions.get('--dport')?.[0]);
  return Number.isInteger(port) && port >= 30_000 && port <= 32_767;
}

function asksSet(conditions: Conditions, name: string): boolean {
  return conditions.get('--match-set')?.[0]?.startsWith(name) === true;
}

function isOfNet(conditions: Conditions, option: string): boolean {
  const net = conditions.get(option)?.[0];
  return net !== undefined && !net.endsWith('/0');
}

function destinationOf(options: readonly string[]): string | null {
  const at = options.indexOf('--to-destination');
  return at < 0 ? null : addressSentTo(options[at + 1] ?? '');
}

/** Of `ADDRESS:PORT` or `[ADDRESS]:PORT`, as iptables has it behind `--to-destination`; null if it is several, or none. */
export function addressSentTo(destination: string): string | null {
  const [, four, six, bare] = sentTo.exec(destination) ?? [];
  return four ?? six ?? bare ?? null;
}

const sentTo =
  /^(?:(\d{1,3}(?:\.\d{1,3}){3})(?::\d+(?:-\d+(?:\/\d+)?)?)?|\[([0-9a-f:.]+)\](?::\d+(?:-\d+(?:\/\d+)?)?)?|([0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*))$/;

/** Whether it is a loopback address, or stands for any address of the node itself. */
export function isLoopback(address: string): boolean {
  return /^(?:127\.|0\.|::1?$|::ffff:(?:127|0)\.)/.test(address);
}

/** Statements after which a packet is where it was. */
const harmless: ReadonlySet<string> = new Set([
  'match',
  'vmap',
  'counter',
  'comment',
  'jump',
  'goto',
  'accept',
  'drop',
  'return',
  'reject',
  'continue',
  'log',
  'limit',
  'mangle',
  'masquerade',
  'snat',
  'set',
  'map',
  'ct helper',
  // What iptables makes of them stands in its own line.
  'xt',
  'iptables',
]);

/** @param statements of a rule of nft in a chain of a declared owner, or in a table that is one owner's alone */
export function isStrayRule(
  { owner, chain }: { readonly owner: string; readonly chain: string },
  statements: unknown,
  isOwn: IsOwnAddress,
): boolean {
  if (!Array.isArray(statements)) return true;
  return statements.some((statement: unknown) => {
    const [entry, ...others] = Object.entries(fields(statement));
    if (entry === undefined || others.length > 0) return true;
    const [key, value] = entry;
    if (harmless.has(key)) return false;
    if (key === 'notrack' || key === 'flow') return owner !== 'calico';
    if (key !== 'dnat') return true;
    const { addr } = fields(value);
    if (typeof addr !== 'string' || isLoopback(addr)) return true;
    if (owner === 'kube-proxy') return !chain.startsWith('endpoint-');
    return chain !== 'nat-cali-fip-dnat' || isOwn(addr);
  });
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}
