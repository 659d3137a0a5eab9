import { builtInImaPolicies, type ImaArea, imaAreas } from '../../formats/ima-policy.ts';
import type { BootState } from '../../verify/boot/boot-state.ts';
import type { ProvenImaList } from '../../verify/ima/proven-list.ts';
import { asKernelReads, forKernel, isCutOff, parseCommandLine } from '../command-line.ts';

/** The areas that the kernel measures for sure. */
export interface PolicyInForce {
  readonly covers: readonly ImaArea[];
  /** Where that is from, in words. */
  readonly from: string;
  /** The command line demands signed IMA policies. */
  readonly isSigned: boolean;
  /** False if nothing vouches for any command line: what the kernel measures is not known then, and may be enough. */
  readonly isProven: boolean;
}

/**
 * The areas that every IMA policy covers that may be in force. The kernel's own ones stand on its command line, of which any
 * that the TPM vouches for may be the one that counts. A policy that is loaded takes their place, and its file is in the list
 * then; so is a file that somebody only read.
 * @param boot null if the log proves none
 * @param loaded of references, each whose file is in the list
 */
export function policyInForce(
  boot: Pick<BootState, 'commandLines' | 'components'> | null,
  { aggregates, elsewhere }: Pick<ProvenImaList, 'aggregates' | 'elsewhere'>,
  loaded: readonly { readonly covers: readonly ImaArea[]; readonly of: string }[],
): PolicyInForce {
  if (aggregates.length > 1) return nothing('kexec started a kernel whose command line nothing vouches for');
  const lines = boot === null || hasUnknownLine(boot) ? [] : boot.commandLines.map(({ text }) => text);
  if (lines.length === 0) return nothing('the TPM vouches for no command line of the kernel');
  const words = lines.map(policiesOn);
  const own = words.map((names) => new Set(names.flatMap((name) => builtInImaPolicies[name]?.covers ?? [])));
  const each = [...own, ...loaded.map((policy) => new Set(policy.covers))];
  const isShared = (area: ImaArea) => each.every((areas) => areas.has(area));
  // One policy may name what kexec loads, and another one have it among all that root reads.
  const isMixed = !isShared('rootReads') && each.every(coversKexec);
  // A rule with `pcr=` is in none of these, and in no policy that covers something.
  const isAnother = elsewhere > 0;
  const covers = (isAnother ? [] : imaAreas).filter(
    (area) => isShared(area) || (area === 'kexec' && isMixed),
  );
  const named = [...new Set(words.flat())].join('|');
  const line = named === '' ? 'no ima_policy= on the command line' : `ima_policy=${named}`;
  const files = loaded.map(({ of }) => `the policy file of reference ${of}`);
  const another = isAnother ? [`one whose entries are not in PCR 10 (${elsewhere})`] : [];
  return {
    covers,
    from: [line, ...files, ...another].join(', '),
    isSigned: lines.every(demandsSignatures),
    isProven: true,
  };
}

function coversKexec(areas: ReadonlySet<ImaArea>): boolean {
  return areas.has('kexec') || areas.has('rootReads');
}

function nothing(from: string): PolicyInForce {
  return { covers: [], from, isSigned: false, isProven: false };
}

/** A line of which only the digest is known may say anything. */
function hasUnknownLine({ components }: Pick<BootState, 'components'>): boolean {
  return components.some(({ kind, pcr, text }) => kind === 'cmdline' && pcr === 9 && text === null);
}

/** Built-in policies that this version knows. Attack: a line so long that the kernel does not read its end. */
function policiesOn(line: string): readonly string[] {
  if (isCutOff(line)) return [];
  const named = wordsOf(line).flatMap((word) => {
    if (word === 'ima_tcb') return ['ima_tcb'];
    const names = word.startsWith('ima_policy=') ? word.slice('ima_policy='.length).split(/[ |\n]/) : [];
    return names.filter((name) => name !== 'ima_tcb' && Object.hasOwn(builtInImaPolicies, name));
  });
  // Of these two the first on the line counts alone; all others add up.
  const first = named.find(isOfFiles);
  return named.filter((name) => !isOfFiles(name) || name === first);
}

function isOfFiles(name: string): boolean {
  return name === 'tcb' || name === 'ima_tcb';
}

/** By a policy that is there in each kernel that can appraise, unless the line says that nothing is enforced. */
function demandsSignatures(line: string): boolean {
  const isSoft = wordsOf(line).some((word) => /^ima_appraise=(?!enforce$)/.test(word));
  return !isSoft && policiesOn(line).includes('secure_boot');
}

function wordsOf(line: string): readonly string[] {
  return forKernel(parseCommandLine(line).arguments).map(asKernelReads);
}

/** Areas that are wanted and not covered. Who measures all that root reads measures what kexec loads, too: it is read from a file. */
export function missingAreas(wanted: readonly ImaArea[], covers: readonly ImaArea[]): readonly ImaArea[] {
  const has = (area: ImaArea) => covers.includes(area) || (area === 'kexec' && covers.includes('rootReads'));
  return wanted.filter((area) => !has(area));
}
