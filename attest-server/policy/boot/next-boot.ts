import type { Reference } from '../../formats/reference.ts';
import { type Advice, nodeWord, shellWord } from '../../wire/advice.ts';
import {
  type InstalledFile,
  type InstalledKind,
  type InstalledPart,
  parseInstalled,
} from '../../wire/installed.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { Verdict } from '../../wire/verdict.ts';
import type { PolicyGroup } from '../policy.ts';
import { comparedBanks } from './compared-pcrs.ts';
import { type JudgedStage, scopeOf } from './judged-stage.ts';
import { isComparedBy } from './reference-set.ts';

export const forecastAnswers = ['would', 'would_not', 'unknown'] as const;

/** Whether the next boot of a node would be affirmed, by the node's word on what lies on its disk: nothing rests on it. */
export interface BootForecast {
  readonly answer: (typeof forecastAnswers)[number];
  /** Why not, or what is missing; none where it would. */
  readonly causes: readonly ForecastCause[];
}

export interface ForecastCause {
  /** One sentence. */
  readonly text: string;
  /** Since when the file lies there, by the node's word, RFC 3339; null if it is no file, or nobody knows. */
  readonly since: string | null;
  readonly next: Advice;
}

/** The node that a forecast is for. */
export interface ForecastNode {
  readonly name: string;
  readonly group: Pick<PolicyGroup, 'name' | 'rules'>;
  /** As `bootsAgain`. */
  readonly isAffirmed: boolean;
  /** It gets the key of a disk, and none for a boot that is merely announced. */
  readonly hasLease: boolean;
  /** A disk of it shows another LUKS header than it should: `unlock` hands no key to such a one. */
  readonly hasOtherHeader: boolean;
  /** A disk of it shows another volume than it should, so that nobody knows whose key is asked for. */
  readonly hasOtherVolume: boolean;
}

/** Whether what a node booted would be affirmed again. With a lease, an announced boot is not: it gets no key. */
export function bootsAgain({ aspects, reasons }: Pick<Verdict, 'aspects' | 'reasons'>, hasLease: boolean) {
  const isAnnounced = reasons.some(({ code }) => code === 'change_expected');
  return aspects.boot?.status === 'affirming' && !(hasLease && isAnnounced);
}

/** Which references have a digest, whatever their state. */
export type KnownDigests = ReadonlyMap<string, readonly Reference[]>;

export function knownDigests(references: readonly Reference[]): KnownDigests {
  const known = new Map<string, Reference[]>();
  for (const reference of references)
    for (const { digests } of reference.components)
      for (const bank of comparedBanks) {
        const digest = digests[bank];
        if (digest === undefined) continue;
        const its = known.get(digest);
        if (its === undefined) known.set(digest, [reference]);
        else if (its.at(-1) !== reference) its.push(reference);
      }
  return known;
}

/**
 * The part `installed` of a node, or why it is missing.
 * @param bytes undefined: the node sent none; null: they are not kept
 */
export function installedIn(bytes: Buffer | null | undefined): InstalledPart | string {
  if (bytes === undefined) return 'its agent says nothing of it, as those of 0.3.0 do: update it';
  if (bytes === null)
    return 'what it said is not kept, as after a backup was restored: its next answer brings it';
  try {
    return parseInstalled(bytes);
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    return `what it says cannot be read (${error.message}): update agent and server to one version`;
  }
}

/** @param installed what the node says; a text says why that is missing @param at milliseconds since the epoch */
export function forecastBoot(
  installed: InstalledPart | string,
  known: KnownDigests,
  node: ForecastNode,
  at: number,
): BootForecast {
  const onDisk = node.hasLease && node.hasOtherHeader ? [otherHeader(node)] : [];
  if (typeof installed === 'string') {
    const causes = [...onDisk, missing(installed, node)];
    return { answer: onDisk.length > 0 ? 'would_not' : 'unknown', causes };
  }
  const judged = installed.files.map((file) => judgeFile(file, known, node, at, installed));
  const isEachKnown = judged.every((cause) => cause === null);
  for (const kind of isEachKnown ? (['database', 'loader'] as const) : [])
    judged.push(judgeTogether(kind, installed, known, node, at));
  const against = [...onDisk, ...judged.flatMap((cause) => (cause?.is === 'against' ? [cause.cause] : []))];
  if (against.length > 0) return { answer: 'would_not', causes: against };
  const open = [
    ...judged.flatMap((cause) => (cause === null ? [] : [cause.cause])),
    ...installed.unread.map((text) => missing(text, node)),
    ...(installed.files.length === 0 && installed.unread.length === 0 ? [missing(nothingSaid, node)] : []),
    ...(node.isAffirmed ? [] : [notAffirmed(node)]),
    ...(node.hasLease && node.hasOtherVolume ? [otherVolume(node)] : []),
  ];
  return { answer: open.length === 0 ? 'would' : 'unknown', causes: open };
}

const nothingSaid = 'the node names no file';

type FileForecast = { readonly is: 'against' | 'open'; readonly cause: ForecastCause } | null;

/** Null for a file that is known. */
function judgeFile(
  file: InstalledFile,
  known: KnownDigests,
  node: ForecastNode,
  at: number,
  installed: InstalledPart,
): FileForecast {
  const { kind, booted, digests, since } = file;
  if (booted && node.isAffirmed) return null;
  const scope = scopeOf(stages[kind], node.group.rules.boot.scope);
  const named = nameOf(file);
  const all = digests.flatMap((digest) => known.get(digest) ?? []);
  const against = (text: string, next: Advice): FileForecast => ({
    is: 'against',
    cause: { text, since, next },
  });
  const isKnown = all.some((one) => isFor(one, node, scope === 'node') && counts(one, node, at));
  const revoked = all.find(
    (one) => one.state === 'revoked' && (isFor(one, node, false) || one.group === node.group.name),
  );
  // No scope takes anything away from a revocation.
  if (revoked !== undefined && !isKnown)
    return against(
      `${named} is in reference ${revoked.name}, which is revoked.`,
      'Install another one on the node before it reboots.',
    );
  if (scope === 'unpinned') return null;
  if (scope === 'contents') {
    const text = `${named} is judged by what is in it, which is seen once it was booted.`;
    return { is: 'open', cause: { text, since, next: bootOne(node) } };
  }
  if (isKnown) return null;
  const its = all.filter((one) => isFor(one, node, scope === 'node'));
  const idle = its.find(({ state }) => state === 'staged' || state === 'retired');
  if (idle !== undefined)
    return against(
      `${named} is in reference ${idle.name}, which is ${idle.state}.`,
      `If the change is wanted, approve it before the reboot:\n  assay reference approve ${shellWord(idle.name)} --reason "it is installed"`,
    );
  return against(
    `${named} is in no reference in force of group ${node.group.name}.`,
    stepFor(kind, installed, node, startOptions(installed, known, node, at)),
  );
}

/**
 * Null if one reference has all files of a kind, each of which is known: a boot must be like one of them in each stage. An image
 * that was booted may be one that starts no more, such as a copy that no update replaced.
 */
function judgeTogether(
  kind: 'database' | 'loader',
  { files }: InstalledPart,
  known: KnownDigests,
  node: ForecastNode,
  at: number,
): FileForecast {
  const scope = scopeOf(stages[kind], node.group.rules.boot.scope);
  const its = files.filter((file) => file.kind === kind);
  const changed = its.filter(({ booted }) => !(booted && node.isAffirmed));
  const [first] = changed;
  if (first === undefined || scope === 'unpinned') return null;
  const having = (wanted: readonly InstalledFile[]) =>
    first.digests
      .flatMap((digest) => known.get(digest) ?? [])
      .filter((one) => isFor(one, node, scope === 'node') && counts(one, node, at))
      .some((one) =>
        wanted.every(({ digests }) => digests.some((digest) => known.get(digest)?.includes(one))),
      );
  if (having(its)) return null;
  const text = `${nameOf(first)} is known, but no reference in force has it together with ${its
    .filter((file) => file !== first)
    .map(({ path }) => path)
    .join(', ')}.`;
  return {
    is: having(changed) ? 'open' : 'against',
    cause: { text, since: first.since, next: bootOne(node) },
  };
}

const stages: Readonly<Record<InstalledKind, JudgedStage>> = {
  database: 'secureboot',
  loader: 'loader',
  kernel: 'kernel',
  initrd: 'initrd',
};

const words: Readonly<Record<InstalledKind, string>> = {
  database: 'The Secure Boot database',
  loader: 'The boot loader',
  kernel: 'The newest kernel',
  initrd: 'The initrd',
};

function nameOf({ kind, path, digests }: InstalledFile): string {
  const [digest = ''] = digests;
  return `${words[kind]} ${kind === 'database' ? path : `/${path}`} (${digest.length === 64 ? 'sha256' : 'sha384'}:${digest})`;
}

function isFor(reference: Reference, { name, group }: ForecastNode, ofNode: boolean): boolean {
  return (
    isComparedBy(group.name, group.rules.boot, reference) && (!ofNode || reference.captured?.node === name)
  );
}

/** An announced one makes a boot trusted until its end, and gets it no key. */
function counts(
  { state, expires, announced }: Reference,
  { name, hasLease }: ForecastNode,
  at: number,
): boolean {
  if (state === 'active') return expires === null || at < Date.parse(expires);
  if (state !== 'staged' || hasLease || announced === undefined) return false;
  const isOpen = Date.parse(announced.at) <= at && at < Date.parse(announced.until);
  return isOpen && (announced.nodes === null || announced.nodes.includes(name));
}

/**
 * Options of `reference compute` for how its loader starts kernels, as references with that loader have it: a boot must have
 * measured all that a reference has of a kernel.
 */
function startOptions({ files }: InstalledPart, known: KnownDigests, node: ForecastNode, at: number): string {
  const alike = files
    .filter(({ kind }) => kind === 'loader')
    .flatMap(({ digests }) => digests.flatMap((digest) => known.get(digest) ?? []))
    .filter((one) => isFor(one, node, false) && counts(one, node, at));
  const pcrs = new Set(
    alike.flatMap(({ components }) =>
      components.flatMap(({ stage, pcr }) => (stage === 'kernel' ? [pcr] : [])),
    ),
  );
  if (pcrs.has(9)) return pcrs.has(4) ? '' : ' --no-secure-boot';
  return pcrs.has(4) ? ' --via systemd-boot' : '';
}

/** A node's own file vouches for nothing: the files are those of the package. @param options of `reference compute` */
function stepFor(kind: InstalledKind, { files }: InstalledPart, node: ForecastNode, options: string): Advice {
  const named = (wanted: InstalledKind) => {
    const path = files.find((file) => file.kind === wanted)?.path;
    return path === undefined ? null : nodeWord(path.slice(path.lastIndexOf('/') + 1));
  };
  const [kernel, initrd] = [named('kernel'), named('initrd')];
  // A unified image has no initrd beside it, and is started by another loader.
  if ((kind !== 'kernel' && kind !== 'initrd') || kernel === null || initrd === null) return bootOne(node);
  return [
    'If the change is wanted, take its files from where you trust them, such as the package, and stage their digests before the reboot:',
    `  assay reference compute --name kernel-next --group ${shellWord(node.group.name)} --kernel ${kernel} --initrd ${initrd}${options} -f kernel-next.json`,
    '  assay reference import kernel-next.json',
    '  assay reference approve kernel-next --reason "it is installed"',
    'If not, install another kernel on the node.',
  ].join('\n');
}

function bootOne({ name }: ForecastNode): Advice {
  return [
    'If the change is wanted, let one such node boot it, capture that, and approve it before the others reboot:',
    `  assay reference capture ${shellWord(name)} --name next-boot --staged`,
    '  assay reference approve next-boot --reason "it is installed"',
  ].join('\n');
}

/** @param text what is missing, and behind a colon perhaps a command of the node */
function missing(text: string, { name }: ForecastNode): ForecastCause {
  const [what = '', command] = text.split(/: (?=systemctl )/);
  const next =
    command === undefined
      ? `See that ${name} answers and that its agent is up to date, and on it what inspect could not read:\n  systemctl start assay-inspect\n  journalctl -u assay-inspect -n 5`
      : `On ${name}, run it, and see that its timer is on:\n  ${command}\n  systemctl status assay-inspect.timer`;
  return { text: `Not known: ${what}.`, since: null, next };
}

function otherHeader({ name }: ForecastNode): ForecastCause {
  const node = shellWord(name);
  return {
    text: 'A disk shows another LUKS header than the one that the server knows, as after a backup of before a rotation was restored: its key opens nothing there.',
    since: null,
    next: `See which disk it is, keep its recovery passphrase at hand, and write back the header that the server has (docs/disk-keys.md, "Recover a disk"):\n  assay why ${node}\n  assay disk list ${node}`,
  };
}

function otherVolume({ name }: ForecastNode): ForecastCause {
  const text =
    'Not known: a disk shows another volume than it should, as after a backup of before that was made was restored: the key of another one opens nothing there.';
  return {
    text,
    since: null,
    next: `See which disk it is, and keep its recovery passphrase at hand:\n  assay why ${shellWord(name)}`,
  };
}

function notAffirmed({ name }: ForecastNode): ForecastCause {
  const text =
    'Not known: the present boot is not affirmed, or merely announced, and what speaks against it may be in no file.';
  return { text, since: null, next: `See what that is:\n  assay why ${shellWord(name)}` };
}
