import type { MaskName } from './named-masks.ts';

/** The rules of a group on a boot. All of it is judged only by what the TPM vouches for. */
export interface BootRules {
  /** Names of the references of which one must cover each stage; null: any active reference of the group. */
  readonly references: readonly string[] | null;
  /** `report`: seen, and judged by the references alone. */
  readonly secureBoot: 'required' | 'report';
  /**
   * Who may sign what boots: SHA-256 of a certificate or image as hex, or a glob on a certificate's subject.
   * Empty: the references say it.
   */
  readonly signers: readonly string[];
  readonly dbx: RevocationRules;
  /** The least date of shim's SbatLevel, as 2023012900; null: the references say it. */
  readonly sbatMinimum: number | null;
  /** Machine owner keys (shim's MokList): none, any, or null for those of the references. */
  readonly mok: 'forbid' | 'allow' | null;
  readonly cmdline: CommandLineRules;
  readonly scope: BootScope;
  /** How systems with two places that update in turns call them, so that both compare as one. */
  readonly masks: readonly MaskName[];
  /** PCRs of which every event must be known: of a known type and recomputed, or referenced. */
  readonly explained: readonly number[];
  /** PCRs of the firmware that are compared by value where the log does not replay onto them. */
  readonly byValue: readonly number[];
  /** TPM firmware versions that must not be, 16 lower-case hex digits each. */
  readonly tpmFirmwareDeny: readonly string[];
  /** The state of a boot without a log: nothing yet, or what its PCR values say against references with `pcrs`. */
  readonly withoutLog: 'pending' | 'pcrs';
  /** IMA's boot_aggregate, which shows what was measured again: demanded, or told where it is missing. */
  readonly aggregate: 'required' | 'report';
}

export interface RevocationRules {
  /** Digests that dbx must hold; lower-case hex. */
  readonly contains: readonly string[];
  /** Name of a reference whose dbx must be contained; null: none. */
  readonly reference: string | null;
}

/** Globs on whole arguments (`init=*`). */
export interface CommandLineRules {
  /** Each must match an argument. */
  readonly require: readonly string[];
  /** None may match an argument, nor match one that a reference has. */
  readonly forbid: readonly string[];
  /** Arguments that a command line may have beyond those of a reference. */
  readonly allow: readonly string[];
  /** The whole line, UUIDs masked; null: no such rule. */
  readonly exact: string | null;
  /** `forbid`: each line must keep its kernel from resuming an image from a disk; null: no such rule. */
  readonly resume: 'forbid' | null;
}

/**
 * The machines that a reference speaks of, per stage: all of the group (any active reference), only the node that it was
 * captured on, or none (`unpinned`: not compared, and said so). `model` is an older word for `group`: which model a machine
 * is, no TPM says.
 */
export interface BootScope {
  readonly firmware: DigestScope;
  readonly loader: DigestScope;
  readonly kernel: DigestScope;
  /** `contents`: each file in it must be known, whatever its digest as a whole. */
  readonly initrd: InitrdScope;
  /** `rules`: as a reference has it, UUIDs masked, and `cmdline`; `exact`: to the last character. */
  readonly cmdline: CommandLineScope;
}

/** True if a verdict depends on which node it is of. */
export function goesByNode({ scope }: BootRules): boolean {
  const { firmware, loader, kernel, initrd } = scope;
  return [firmware, loader, kernel, initrd].includes('node');
}

/** True if a rule says what a log must show: PCR values alone cannot obey it. */
export function needsLog({
  secureBoot,
  signers,
  dbx,
  sbatMinimum,
  mok,
  cmdline,
  explained,
}: BootRules): boolean {
  return (
    secureBoot === 'required' ||
    mok === 'forbid' ||
    sbatMinimum !== null ||
    signers.length + explained.length > 0 ||
    wantsRevocations(dbx) ||
    refusesLines(cmdline)
  );
}

/** True if `dbx` is a rule, whatever the references have. */
export function wantsRevocations({ contains, reference }: RevocationRules): boolean {
  return contains.length > 0 || reference !== null;
}

/** True if a command line may break a rule, whatever the references have; `allow` alone refuses none. */
export function refusesLines(rules: CommandLineRules): boolean {
  return rules.resume !== null || judgesLines(rules);
}

/** True if rules say of a whole line what it may hold. */
export function judgesLines({ exact, require, forbid }: Omit<CommandLineRules, 'resume'>): boolean {
  return exact !== null || require.length + forbid.length > 0;
}

export const digestScopes = ['group', 'node', 'unpinned', 'model'] as const;
export type DigestScope = (typeof digestScopes)[number];
export const initrdScopes = [...digestScopes, 'contents'] as const;
export type InitrdScope = (typeof initrdScopes)[number];
export const commandLineScopes = ['rules', 'exact'] as const;
export type CommandLineScope = (typeof commandLineScopes)[number];

export const defaultScope: BootScope = {
  firmware: 'group',
  loader: 'group',
  kernel: 'group',
  initrd: 'group',
  cmdline: 'rules',
};

/** The rules of a policy that says nothing of boots: an active reference of the group covers every stage. */
export const defaultBootRules: BootRules = {
  references: null,
  secureBoot: 'report',
  signers: [],
  dbx: { contains: [], reference: null },
  sbatMinimum: null,
  mok: null,
  cmdline: { require: [], forbid: [], allow: [], exact: null, resume: null },
  scope: defaultScope,
  masks: [],
  explained: [],
  byValue: [],
  tpmFirmwareDeny: [],
  withoutLog: 'pending',
  aggregate: 'report',
};
