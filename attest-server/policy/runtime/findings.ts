import type { ImaArea } from '../../formats/ima-policy.ts';
import type { Reference } from '../../formats/reference.ts';
import type { ImaProblem } from '../../verify/ima/proven-list.ts';
import type { Finding } from '../finding.ts';
import { noActiveReference } from '../no-active-reference.ts';
import type { Example } from './examples.ts';
import type { PolicyInForce } from './policy-in-force.ts';
import type { RuntimeRules } from './rules.ts';

const aspect = 'runtime';

/** Some things of one kind that were seen, with the lines that say so. */
export interface SeenEntries {
  readonly examples: readonly Example[];
  /** There are others, too. */
  readonly more: boolean;
  /** The lines of each example, in their order. */
  readonly lines: readonly string[];
}

export function noReference(group: string, wanted: readonly string[] | null): Finding {
  return noActiveReference('runtime', group, wanted, 'to compare with what the node ran');
}

/** @param outOfForce reference that has all of these, and is not in force */
export function unknownFiles(
  seen: SeenEntries,
  where: 'host' | 'containers',
  outOfForce: string | null,
): Finding {
  const of = where === 'host' ? '' : ' in a container';
  return {
    ...shown('ima_unknown_file', seen),
    expected: where === 'host' ? 'files of an active reference' : 'files of a reference for containers',
    text: `The node ran or read ${counted(seen, 'file')}${of} that no reference in force knows: ${namesOf(seen)}.`,
    ...(outOfForce !== null && { outOfForce }),
    ...changedTo(seen),
  };
}

export function unknownMeasured(seen: SeenEntries): Finding {
  return {
    ...shown('ima_unknown_file', seen),
    expected: 'what a reference in force has under this name',
    text: `The kernel measured ${counted(seen, 'thing')} that no reference in force knows: ${namesOf(seen)}.`,
    ...changedTo(seen),
  };
}

export function deniedFiles(seen: SeenEntries): Finding {
  return {
    ...shown('ima_denied_file', seen),
    expected: 'no file that the policy denies',
    text: `The node ran or read ${counted(seen, 'file')} that the policy denies: ${namesOf(seen)}.`,
  };
}

/** @param revocation who revoked the reference of the first one, when and why */
export function revokedFiles(seen: SeenEntries, revocation: string): Finding {
  const [first] = seen.examples;
  return {
    ...shown('revoked_reference', seen),
    expected: 'files that were not revoked',
    text: `The node ran or read ${counted(seen, 'file')} that only a revoked reference has: ${namesOf(seen)}. Reference ${first?.reference}: ${revocation}.`,
    ...(first?.reference != null && { reference: first.reference }),
  };
}

export function movedFiles(seen: SeenEntries): Finding {
  return {
    ...shown('ima_unknown_file', seen),
    severity: 'info',
    expected: 'files at the paths that references give them',
    text: `The node ran or read ${counted(seen, 'file')} that references know at another path: ${namesOf(seen)}.`,
  };
}

export function violations(seen: SeenEntries, weight: RuntimeRules['violations']): Finding {
  return {
    ...shown('ima_violation', seen),
    severity: weight === 'fail' ? 'fail' : 'warn',
    expected: 'files that nobody writes while they are read',
    text: `${counted(seen, 'file')} changed while the kernel measured them, so that nobody knows what was read: ${namesOf(seen)}.`,
  };
}

export function weakPolicy(
  wanted: readonly ImaArea[],
  missing: readonly ImaArea[],
  { covers, from }: PolicyInForce,
): Finding {
  return {
    code: 'ima_policy_weak',
    aspect,
    source: 'tpm',
    expected: `IMA measures ${wanted.join(', ')}`,
    actual: `${covers.length === 0 ? 'nothing for sure' : covers.join(', ')} (${from})`,
    text: `The IMA policy in force does not cover ${missing.join(', ')}: what is done there is not in the list.`,
    evidence: null,
  };
}

/** The boot log came late, or kexec started a kernel: not proven is not broken. */
export function unprovenPolicy({ from }: PolicyInForce): Finding {
  return {
    code: 'facts_unavailable',
    aspect,
    source: 'host',
    expected: 'a command line that the TPM vouches for',
    actual: from,
    text: 'Nothing proves what the kernel measures: its command line names the IMA policy, and the boot log proves none.',
    evidence: null,
  };
}

export function unsignedPolicy({ from }: PolicyInForce): Finding {
  return {
    code: 'ima_policy_weak',
    aspect,
    source: 'tpm',
    expected: 'ima_policy=secure_boot on the command line, beside others',
    actual: from,
    text: 'The command line does not demand signed IMA policies, so that root can write one that is in no list.',
    evidence: null,
  };
}

/**
 * @param hadList a list of this node was judged before
 * @param why in words; null if nothing came
 */
export function noList(hadList: boolean, why: string | null): Finding {
  return {
    code: 'ima_incomplete',
    aspect,
    source: 'host',
    severity: hadList ? 'fail' : 'warn',
    expected: 'IMA’s list, up to the quoted PCR 10',
    actual: why,
    text: hadList
      ? 'The node sent IMA’s list before, and now it sends none that counts.'
      : 'The node sends no list of IMA that counts, so that nobody knows what it ran.',
    evidence: null,
  };
}

/** @param cause by the node's word, or why what it sent does not count */
export function unreadList(cause: string): Finding {
  return {
    code: 'facts_unavailable',
    aspect,
    source: 'host',
    expected: 'IMA’s list',
    actual: cause === '' ? 'no cause was given' : cause,
    text: 'The node did not show IMA’s list. So nothing is proven of what it ran since.',
    evidence: null,
  };
}

/** The evidence that would have to be judged first is not here: a fault of the server's, never one of the node's. */
export const notFollowed: Finding = {
  code: 'facts_unavailable',
  aspect,
  source: 'server',
  expected: 'IMA’s list from its begin',
  actual: 'a later part of it',
  text: 'The server does not know the begin of IMA’s list any more. It asks for the whole list again.',
  evidence: null,
};

export function faultyList({ code, text, entry, offset, field }: ImaProblem): Finding {
  const place = [
    ...(entry === null ? [] : [`entry ${entry}`]),
    ...(offset === null ? [] : [`offset ${offset}`]),
    ...(field === null ? [] : [field]),
  ].join(', ');
  return {
    code,
    aspect,
    source: 'tpm',
    expected: 'a list of IMA that leads to the quoted PCR 10',
    actual: place === '' ? null : place,
    text: `IMA’s list proves nothing: ${text}${place === '' ? '' : ` (${place})`}.`,
    evidence: null,
  };
}

/** A file that says of itself that it is revoked says not who did that. */
export function revocationOf({ changed }: Reference): string {
  if (changed?.action !== 'revoke') return 'it was revoked';
  return `${changed.by} revoked it on ${changed.at} (${changed.reason})`;
}

function shown(
  code: 'ima_unknown_file' | 'ima_denied_file' | 'ima_violation' | 'revoked_reference',
  { examples, lines }: SeenEntries,
): Omit<Finding, 'expected' | 'text'> {
  const [first] = examples;
  return {
    code,
    aspect,
    source: 'tpm',
    actual: first === undefined ? null : shownExample(first),
    // The list has a new digest with each entry: that of the file is the same in each verdict.
    evidence: first === undefined ? null : { digest: bareDigest(first), position: `entry ${first.entry}` },
    detail: lines,
  };
}

export function shownExample({ name, digest }: Example): string {
  return digest === '' ? name : `${name} ${digest}`;
}

/** A change on many nodes is one where it is the same; a command can name it. */
function changedTo({ examples: [first] }: SeenEntries): Pick<Finding, 'value'> {
  return first === undefined || first.digest === '' ? {} : { value: `file ${bareDigest(first)}` };
}

function bareDigest({ digest }: Example): string {
  return digest.slice(digest.lastIndexOf(':') + 1);
}

function counted({ examples, more }: SeenEntries, what: string): string {
  if (more) return `more than ${examples.length} ${what}s`;
  return examples.length === 1 ? `a ${what}` : `${examples.length} ${what}s`;
}

const mostNamed = 3;

function namesOf({ examples, more }: SeenEntries): string {
  const names = examples.slice(0, mostNamed).map(({ name }) => name);
  return `${names.join(', ')}${more || examples.length > mostNamed ? ', …' : ''}`;
}
