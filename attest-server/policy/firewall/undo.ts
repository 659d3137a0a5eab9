import { type Advice, nodeWord } from '../../wire/advice.ts';
import type { Reason } from '../../wire/verdict.ts';

/** Commands that are shown for one reason. */
const mostCommands = 8;
/** nft's own names; with any other, a command would say something else. */
const name = /^[A-Za-z][\w.-]*$/;
/** Elements of which nft can read nothing but one element. */
const element = /^[\w./:-]+(?: \. [\w./:-]+)*$/;

/**
 * How to take back on the node what `shownDifferences` shows: a rule that came is found by its text, and a command that finds
 * none or several of it removes nothing.
 */
export function undoDifferences({ code, detail = [] }: Pick<Reason, 'code' | 'detail'>): Advice | null {
  if (code !== 'fw_drift') return null;
  const sections = sectionsOf(detail);
  // Last, once nothing jumps into them.
  const commands = [...sections.flatMap(commandsFor), ...sections.flatMap(chainRemoval)];
  if (commands.length === 0) return null;
  const shown = commands.slice(0, mostCommands).map((command) => `  ${command}`);
  const left = commands.length - shown.length;
  return [
    `On the node, as root, take back what changed${left === 0 ? '' : `; ${left} more like these follow in the difference`}:`,
    ...shown,
  ].join('\n');
}

interface Section {
  /** A chain that the reference does not have. */
  readonly isNew: boolean;
  /** Of a chain or an object: kind, family, table, and what follows. */
  readonly key: readonly string[];
  readonly lines: readonly string[];
}

/** Those of which every word of the key is plain: they become words of commands. */
function sectionsOf(detail: readonly string[]): readonly Section[] {
  const sections: { isNew: boolean; key: readonly string[]; lines: string[] }[] = [];
  for (const line of detail) {
    const [, isNew, key] = /^@@ (new )?(.*) @@$/.exec(line) ?? [];
    if (key !== undefined) sections.push({ isNew: isNew !== undefined, key: key.split(' '), lines: [] });
    else sections.at(-1)?.lines.push(line);
  }
  return sections.filter(({ key }) => key.every((word) => name.test(word)));
}

/** Of iptables, those that the kernel enters come with their table, and stay. */
function chainRemoval({ isNew, key: [kind = '', family = '', ...names], lines }: Section): readonly string[] {
  const [table = '', chain = ''] = names;
  if (!isNew || names.length !== 2) return [];
  if (kind === 'nft') return [`nft delete chain ${family} ${table} ${chain}`];
  const isEntered = policyOf(textsOf('+ ', lines)[0]) !== null;
  return isEntered ? [] : [`${programOf(kind, family)} -t ${table} -X ${chain}`];
}

function commandsFor({ key: [kind = '', family = '', ...names], lines }: Section): readonly string[] {
  const [table = '', chain = '', set] = names;
  const gone = textsOf('- ', lines);
  const came = textsOf('+ ', lines);
  if (chain === 'set' && set !== undefined)
    return [
      ...came.flatMap((one) => elementCommand('delete', family, table, set, one)),
      ...gone.flatMap((one) => elementCommand('add', family, table, set, one)),
    ];
  if (names.length !== 2) return [];
  const policy = policyOf(gone[0]);
  const back =
    policy === null || policyOf(came[0]) === policy
      ? []
      : [policyCommand(kind, family, table, chain, policy)];
  return [...back, ...came.flatMap((rule) => removal(kind, family, table, chain, rule))];
}

function textsOf(mark: '- ' | '+ ', lines: readonly string[]): readonly string[] {
  return lines.filter((line) => line.startsWith(mark)).map((line) => line.slice(mark.length));
}

/** Of the head of a chain; null if this is none. */
function policyOf(head: string | undefined): 'accept' | 'drop' | null {
  const [, policy] = /^type \w+ hook \w+ .*priority -?\d+ policy (accept|drop)$/.exec(head ?? '') ?? [];
  return policy === 'accept' || policy === 'drop' ? policy : null;
}

function policyCommand(kind: string, family: string, table: string, chain: string, policy: string): string {
  return kind === 'nft'
    ? `nft chain ${family} ${table} ${chain} '{ policy ${policy}; }'`
    : `${programOf(kind, family)} -t ${table} -P ${chain} ${policy.toUpperCase()}`;
}

function elementCommand(
  verb: 'add' | 'delete',
  family: string,
  table: string,
  set: string,
  text: string,
): readonly string[] {
  return element.test(text) ? [`nft ${verb} element ${family} ${table} ${set} '{ ${text} }'`] : [];
}

/** The rule is compared as a whole, and is never a word of a program: whoever wrote it chose its text. */
function removal(
  kind: string,
  family: string,
  table: string,
  chain: string,
  text: string,
): readonly string[] {
  if (text.startsWith('-A ')) {
    // Which words iptables quotes, and what in them, differs: it is left out on both sides.
    const rule = nodeWord(text.replaceAll(/["\\]/g, ''));
    const program = programOf(kind, family);
    const found = String.raw`awk '{ gsub(/["\\]/, "") } $0 == ENVIRON["rule"] { print NR - 1 }'`;
    return rule === null
      ? []
      : [
          `${program} -t ${table} -S ${chain} | rule=${rule} ${found} | xargs ${program} -t ${table} -D ${chain}`,
        ];
  }
  const rule = isListedSo(text) ? nodeWord(text) : null;
  const plain = String.raw`gsub(/^\t+| counter packets [0-9]+ bytes [0-9]+| # handle [0-9]+$/, "")`;
  const found = `awk '{ h = $NF; ${plain} } $0 == ENVIRON["rule"] { print h }'`;
  const at = `${family} ${table} ${chain}`;
  return rule === null
    ? []
    : [`nft -a list chain ${at} | rule=${rule} ${found} | xargs nft delete rule ${at} handle`];
}

/** False for what nft lists in an order, or in words, that are not known here; of a head there is nothing to find. */
function isListedSo(text: string): boolean {
  if (policyOf(text) !== null || text.includes('{"') || text.includes('["') || / \(moved from /.test(text))
    return false;
  return [...text.matchAll(/\{ ([^{}]*) \}/g)].every(
    ([, list = '']) =>
      !list.includes(',') || list.split(', ').every((one) => /^[\d./-]+(?: : .*)?$/.test(one)),
  );
}

function programOf(kind: string, family: string): string {
  return `${family === 'ip6' ? 'ip6tables' : 'iptables'}-${kind === 'legacy' ? 'legacy' : 'nft'}`;
}
