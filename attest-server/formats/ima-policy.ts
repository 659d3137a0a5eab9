import { outsideText } from '../wire/printable.ts';
import { Rejection } from '../wire/rejection.ts';

/**
 * Areas that a policy of IMA may measure without a gap: programs (`exec`) and what is mapped to be run (`mmap`), modules of
 * the kernel, kernels and initrds that kexec loads by file, IMA policies that are loaded by path, the kernel's critical data,
 * keys put into keyrings, and all files that a process with the rights of root opens to read.
 */
export const imaAreas = [
  'exec',
  'mmap',
  'modules',
  'kexec',
  'policy',
  'criticalData',
  'keys',
  'rootReads',
] as const;
export type ImaArea = (typeof imaAreas)[number];

export interface ImaPolicyCoverage {
  /** Areas measured whatever the file, the user and the file system, except for what `doubts` names. */
  readonly covers: readonly ImaArea[];
  /** Why more is not covered, and what is left out of what is, in the order of lines. */
  readonly doubts: readonly ImaPolicyDoubt[];
}

export interface ImaPolicyDoubt {
  /** The line in the text, from 1. */
  readonly line: number;
  /** A sentence for people, without a full stop at its end; it repeats words of the text, printable and cut. */
  readonly text: string;
}

/**
 * The coverage of a policy as it is written to `security/ima/policy` (Documentation/ABI/testing/ima_policy, Linux 6.12).
 * Careful on purpose: a condition that is not known to hold always covers nothing, and takes away all that it may.
 * @throws Rejection `malformed` with line and offset if no kernel would take it, `too_large`
 */
export function parseImaPolicy(text: string): ImaPolicyCoverage {
  const rules = parseRules(text);
  const doubts: AreaDoubt[] = [];
  const covers = imaAreas.filter((area) => {
    const found = cases[area].map((one) => decide(one, rules));
    const isCovered = found.every(({ isMeasured }) => isMeasured);
    doubts.push(
      ...found
        .flatMap(({ gaps, faults, isMeasured }) => (isCovered ? gaps : isMeasured ? [] : faults))
        .map((doubt) => ({ ...doubt, area })),
    );
    return isCovered;
  });
  return { covers, doubts: joined(doubts) };
}

const most = { characters: 256 * 1024, rules: 4096, doubts: 64 };
/** Where IMA extends by default; nothing that is extended elsewhere is in the list that is proven. */
const imaPcr = '10';

/** A rule that says what is measured; those that appraise, audit and hash change nothing of that. */
interface ImaRule {
  readonly line: number;
  readonly measures: boolean;
  /** `func=`; null: all that have a file. */
  readonly hook: string | null;
  /** `isAny`: for what is opened for more than that, too. */
  readonly mask: { readonly word: string; readonly isAny: boolean } | null;
  /** One that is known here. */
  readonly fileSystem: string | null;
  /** All other conditions, as written. */
  readonly conditions: readonly string[];
  /** Why what it measures is not in the list, or only some of it; null if it is. */
  readonly strays: string | null;
}

/** A way in which the kernel asks its policy. */
interface HookCase {
  readonly hook: string;
  /** Each set of rights that it may be asked for; null: there is no file, and only rules that name the hook count. */
  readonly rights: readonly (readonly string[])[] | null;
  /** The condition that holds in this case. */
  readonly holds?: string;
}

const ofFile = (hook: string, right: string): HookCase => ({ hook, rights: [[right]] });
const openedToRead = [['MAY_READ'], ['MAY_READ', 'MAY_WRITE']];

/** All of them must be measured. */
const cases: Readonly<Record<ImaArea, readonly HookCase[]>> = {
  exec: [ofFile('BPRM_CHECK', 'MAY_EXEC')],
  mmap: [ofFile('MMAP_CHECK', 'MAY_EXEC')],
  modules: [ofFile('MODULE_CHECK', 'MAY_READ')],
  kexec: [ofFile('KEXEC_KERNEL_CHECK', 'MAY_READ'), ofFile('KEXEC_INITRAMFS_CHECK', 'MAY_READ')],
  policy: [ofFile('POLICY_CHECK', 'MAY_READ')],
  criticalData: [{ hook: 'CRITICAL_DATA', rights: null }],
  keys: [{ hook: 'KEY_CHECK', rights: null }],
  // Both root and what has become root: a setuid program has another uid.
  rootReads: ['uid=0', 'euid=0'].map((holds) => ({ hook: 'FILE_CHECK', rights: openedToRead, holds })),
};

interface Decision {
  readonly isMeasured: boolean;
  /** Gaps in what is measured. */
  readonly gaps: readonly ImaPolicyDoubt[];
  /** Why it is not measured. */
  readonly faults: readonly ImaPolicyDoubt[];
}

/** The first rule that matches decides, as in the kernel. */
function decide(asked: HookCase, rules: readonly ImaRule[]): Decision {
  const gaps: ImaPolicyDoubt[] = [];
  const faults: ImaPolicyDoubt[] = [];
  for (const [at, rule] of rules.entries()) {
    if (!mayMatch(rule, asked)) continue;
    const { line, measures, fileSystem, strays } = rule;
    const limits = limitsOf(rule, asked);
    if (measures && strays === null) {
      if (limits.length === 0) return { isMeasured: true, gaps, faults };
      faults.push({ line, text: `measures only with ${limits.join(', ')}` });
    } else if (fileSystem !== null && limits.length === 1) {
      if (gapsOfAll.has(fileSystem)) gaps.push({ line, text: `leaves out ${fileSystem}` });
    } else {
      const what = limits.length === 0 ? 'everything' : `what has ${limits.join(', ')}`;
      // What no rule would measure is not left out.
      const isMissed = measures || rules.slice(at).some((later) => later.measures && mayMatch(later, asked));
      if (isMissed) faults.push({ line, text: strays ?? `leaves out ${what}` });
      break;
    }
  }
  return { isMeasured: false, gaps, faults };
}

function mayMatch({ hook, mask }: ImaRule, asked: HookCase): boolean {
  if (asked.rights === null) return hook === asked.hook;
  if (hook !== null && hook !== asked.hook) return false;
  return mask === null || asked.rights.some((rights) => fits(mask, rights));
}

function fits({ word, isAny }: NonNullable<ImaRule['mask']>, rights: readonly string[]): boolean {
  // A word that is not known here may mean anything.
  return isAny || !masks.has(word) ? rights.includes(word) || !masks.has(word) : rights.join() === word;
}

/** Conditions of a rule that limit what it matches. */
function limitsOf({ mask, fileSystem, conditions }: ImaRule, { rights, holds }: HookCase): readonly string[] {
  const isNarrow =
    mask !== null && (!masks.has(mask.word) || !(rights ?? []).every((each) => fits(mask, each)));
  return [
    ...conditions.filter((condition) => condition !== holds),
    ...(isNarrow ? [`mask=${mask.isAny ? '^' : ''}${outsideText(mask.word)}`] : []),
    ...(fileSystem === null ? [] : [fileSystem]),
  ];
}

interface AreaDoubt extends ImaPolicyDoubt {
  readonly area: ImaArea;
}

function joined(doubts: readonly AreaDoubt[]): readonly ImaPolicyDoubt[] {
  const areas = new Map<string, { line: number; text: string; of: Set<ImaArea> }>();
  for (const { line, text, area } of doubts) {
    const key = `${line} ${text}`;
    const known = areas.get(key) ?? { line, text, of: new Set() };
    areas.set(key, known);
    known.of.add(area);
  }
  return [...areas.values()]
    .sort((a, b) => a.line - b.line)
    .slice(0, most.doubts)
    .map(({ line, text, of }) => ({ line, text: outsideText(`${text} (${[...of].join(', ')})`) }));
}

const actions: ReadonlySet<string> = new Set([
  'measure',
  'dont_measure',
  'appraise',
  'dont_appraise',
  'audit',
  'hash',
  'dont_hash',
]);
const masks: ReadonlySet<string> = new Set(['MAY_EXEC', 'MAY_READ', 'MAY_WRITE', 'MAY_APPEND']);
const olderHooks: Readonly<Record<string, string>> = { PATH_CHECK: 'FILE_CHECK', FILE_MMAP: 'MMAP_CHECK' };
/** They say how an entry is written down. */
const templates: ReadonlySet<string> = new Set([
  'ima-ng',
  'ima-ngv2',
  'ima-sig',
  'ima-sigv2',
  'ima-buf',
  'ima-modsig',
  'evm-sig',
]);
/** Names by magic number (include/uapi/linux/magic.h); from the first ones nobody runs a file. */
const fileSystems: ReadonlyMap<number, string> = new Map([
  [0x9fa0, 'proc'],
  [0x62656572, 'sysfs'],
  [0x64626720, 'debugfs'],
  [0x1cd1, 'devpts'],
  [0x42494e4d, 'binfmt_misc'],
  [0x73636673, 'securityfs'],
  [0xf97cff8c, 'selinuxfs'],
  [0x43415d53, 'smackfs'],
  [0x27e0eb, 'cgroup'],
  [0x63677270, 'cgroup2'],
  [0x6e736673, 'nsfs'],
  [0xde5e81e4, 'efivarfs'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
  [0x794c7630, 'overlay'],
]);
/** The kernel's own policies leave out tmpfs, which root can mount anywhere: others of its kind make that no worse. */
const gapsOfAll: ReadonlySet<string> = new Set(['tmpfs', 'ramfs', 'overlay']);
const fileSystemNames: ReadonlySet<string> = new Set(fileSystems.values());

function parseRules(text: string): readonly ImaRule[] {
  if (text.length > most.characters)
    throw new Rejection('too_large', `an IMA policy of ${text.length} characters`, { field: 'policy' });
  const rules: ImaRule[] = [];
  let written = 0;
  let offset = 0;
  for (const [index, line] of text.split('\n').entries()) {
    const place = { line: index + 1, offset };
    offset += Buffer.byteLength(line) + 1;
    const words = line.split(/[ \t]+/).filter((word) => word !== '');
    if (words[0] === undefined || words[0].startsWith('#')) continue;
    written += 1;
    if (written > most.rules) throw fault('too_large', place, `more than ${most.rules} rules`);
    const rule = parseRule(words, place);
    if (rule !== null) rules.push(rule);
  }
  if (written === 0) throw fault('malformed', { line: 1, offset: 0 }, 'no rule');
  return rules;
}

interface RulePosition {
  readonly line: number;
  readonly offset: number;
}

/** @returns null for a rule that does not say what is measured */
function parseRule(words: readonly string[], place: RulePosition): ImaRule | null {
  const [action, ...others] = words.filter((word) => actions.has(word));
  if (action === undefined) throw fault('malformed', place, 'a rule without an action');
  if (others.length > 0) throw fault('malformed', place, 'a rule with two actions');
  let hook: string | null = null;
  let mask: ImaRule['mask'] = null;
  let fileSystem: string | null = null;
  let strays: string | null = null;
  const conditions: string[] = [];
  for (const word of words) {
    if (word === action || word === 'permit_directio') continue;
    const [, key = '', value = ''] = /^([a-z_]+)=(.*)$/.exec(word) ?? [];
    const named = fileSystemOf(key, value);
    if (key === 'func' && hook === null) hook = olderHooks[value] ?? value;
    else if (key === 'mask' && mask === null)
      mask = { word: value.replace(/^\^/, ''), isAny: value.startsWith('^') };
    else if (key === 'func' || key === 'mask') throw fault('malformed', place, `${key} twice`);
    else if (named !== null && fileSystem === null) fileSystem = named;
    // Attack: a first rule that sends everything to another PCR, where nobody looks.
    else if (key === 'pcr') strays = value === imaPcr ? strays : `extends PCR ${value}, not ${imaPcr}`;
    // A file without such a digest is then not measured at all.
    else if (key === 'digest_type') strays = `measures only files that have a digest of ${value}`;
    else if (key !== 'template' || !templates.has(value)) conditions.push(outsideText(word));
  }
  const measures = action === 'measure';
  if (!measures && action !== 'dont_measure') return null;
  return { line: place.line, measures, hook, mask, fileSystem, conditions, strays };
}

function fileSystemOf(key: string, value: string): string | null {
  if (key === 'fsmagic' && /^(0x)?[0-9a-f]{1,16}$/i.test(value))
    return fileSystems.get(Number.parseInt(value, 16)) ?? null;
  return key === 'fsname' && fileSystemNames.has(value) ? value : null;
}

function fault(code: 'malformed' | 'too_large', { line, offset }: RulePosition, text: string): Rejection {
  return new Rejection(code, `IMA policy, line ${line}: ${text}`, { field: `line ${line}`, offset });
}

/**
 * Policies that kernels build in by `ima_policy=` (words between `|`) and `ima_tcb` on the command line: several add up, but
 * for `tcb` and `ima_tcb`, of which only the first on the line counts. They are in force until a policy is loaded, which
 * replaces them (security/integrity/ima/ima_policy.c, Linux 6.12; `critical_data` from 5.12 on). The last three refuse files,
 * and measure none. Lines of their doubts are of no text that anybody sees.
 */
export const builtInImaPolicies: Readonly<Record<string, ImaPolicyCoverage>> = builtIn();

function builtIn(): Readonly<Record<string, ImaPolicyCoverage>> {
  const left = [...fileSystems]
    .filter(([, name]) => name !== 'ramfs' && name !== 'overlay')
    .map(([magic]) => `dont_measure fsmagic=0x${magic.toString(16)}`);
  const run = ['measure func=MMAP_CHECK mask=MAY_EXEC', 'measure func=BPRM_CHECK mask=MAY_EXEC'];
  const loaded = ['measure func=MODULE_CHECK', 'measure func=FIRMWARE_CHECK'];
  const none: ImaPolicyCoverage = { covers: [], doubts: [] };
  const rootReads = ['euid=0', 'uid=0'].map((who) => `measure func=FILE_CHECK mask=^MAY_READ ${who}`);
  return {
    tcb: parseImaPolicy([...left, ...run, ...rootReads, ...loaded, 'measure func=POLICY_CHECK'].join('\n')),
    ima_tcb: parseImaPolicy(
      [...left, ...run, 'measure func=FILE_CHECK mask=MAY_READ uid=0', ...loaded].join('\n'),
    ),
    critical_data: parseImaPolicy('measure func=CRITICAL_DATA'),
    appraise_tcb: none,
    secure_boot: none,
    fail_securely: none,
  };
}
