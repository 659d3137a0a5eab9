import type { Finding } from '../finding.ts';
import type { UnknownThings } from '../unknown.ts';
import type { Example, Examples } from './examples.ts';
import {
  deniedFiles,
  movedFiles,
  noReference,
  revocationOf,
  revokedFiles,
  type SeenEntries,
  shownExample,
  unknownFiles,
  unknownMeasured,
  unprovenPolicy,
  unsignedPolicy,
  violations,
  weakPolicy,
} from './findings.ts';
import { missingAreas, type PolicyInForce } from './policy-in-force.ts';
import type { KnownFiles, PreparedReferences } from './prepared-references.ts';
import type { RuntimeRules } from './rules.ts';
import type { FileTally } from './tally.ts';
import { unknownFilesOf } from './unknown.ts';

export interface TallyJudgement {
  readonly findings: readonly Finding[];
  readonly affirmed: boolean;
  /** Names of the references that together know all that was seen; none if something of it is wrong. */
  readonly references: readonly string[];
  /** All that counts against the node: since when is remembered of each. */
  readonly against: readonly Example[];
  /** Files that no reference in force knows; null if there are none, or nothing is in force. */
  readonly unknown: UnknownThings | null;
}

export interface JudgedBy {
  /** Name of the group. */
  readonly group: string;
  readonly rules: RuntimeRules;
  readonly references: PreparedReferences;
}

/**
 * The judgement of a list, by what is in force at this moment: a reference that has expired knows nothing.
 * @param at milliseconds since the epoch
 * @param sinceOf when something was seen first, an ISO time
 */
export function judgeTally(
  tally: FileTally,
  policy: PolicyInForce,
  { group, rules, references }: JudgedBy,
  at: number,
  sinceOf: (example: Example) => string,
): TallyJudgement {
  const all = [...references.host, ...references.containers];
  const lapsed = all.filter(({ expires }) => at >= expires);
  const host = references.host.filter((one) => !lapsed.includes(one));
  const names = (some: readonly KnownFiles[]) => new Set(some.map(({ name }) => name));
  const noMore = (some: readonly KnownFiles[]) =>
    [...names(some)].flatMap((name) => tally.known.get(name)?.all ?? []);
  const ofContainers = references.containers.filter((one) => lapsed.includes(one));
  const ofHost = lapsed.filter((one) => !ofContainers.includes(one));
  const linesOf = (examples: readonly Example[]) =>
    examples.map((example) => {
      const said = [
        `first seen ${sinceOf(example)}`,
        ...otherContent(example, host),
        ...whyNotKnown(example, lapsed, references),
      ];
      return `entry ${example.entry}: ${shownExample(example)} (${said.join('; ')})`;
    });
  const seen = (found: Examples, others: readonly Example[] = []): SeenEntries => {
    const examples = [...found.all, ...others];
    return { examples, more: found.more, lines: linesOf(examples) };
  };
  const isEmpty = host.length === 0 && rules.signers.length === 0;
  const unknown = seen(tally.unknown, noMore(ofHost));
  const inContainers = seen(tally.inContainers, noMore(ofContainers));
  const revoked = seen(tally.revoked);
  const measured = seen(tally.measured);
  const denied = seen(tally.denied);
  const written = seen(tally.violations);
  const findings: Finding[] = [];
  const [first] = revoked.examples;
  const revoking = references.revoked.find(({ name }) => name === first?.reference);
  if (revoking !== undefined) findings.push(revokedFiles(revoked, revocationOf(revoking.reference)));
  if (denied.examples.length > 0) findings.push(deniedFiles(denied));
  // Without anything to compare with each file is unknown: that says nothing of any of them.
  if (isEmpty) findings.push(noReference(group, rules.references));
  else {
    if (unknown.examples.length > 0)
      findings.push(unknownFiles(unknown, 'host', knownByAll(unknown, references.idle)));
    if (inContainers.examples.length > 0)
      findings.push(unknownFiles(inContainers, 'containers', knownByAll(inContainers, references.idle)));
    if (measured.examples.length > 0) findings.push(unknownMeasured(measured));
    if (tally.moved.size > 0) findings.push(movedFiles(seen(tally.moved)));
  }
  if (written.examples.length > 0) findings.push(violations(written, rules.violations));
  const isKnown = findings.every(({ severity = 'fail' }) => severity !== 'fail');
  const knowing = all.filter((one) => !lapsed.includes(one) && tally.known.has(one.name));
  const weak: Finding[] = [];
  const missing = missingAreas(rules.covers, policy.covers);
  const isUnsigned = rules.signedPolicy === 'required' && !policy.isSigned;
  if (!policy.isProven) {
    if (missing.length > 0 || isUnsigned) weak.push(unprovenPolicy(policy));
  } else {
    if (missing.length > 0) weak.push(weakPolicy(rules.covers, missing, policy));
    if (isUnsigned) weak.push(unsignedPolicy(policy));
  }
  return {
    findings: [...findings, ...weak],
    affirmed: isKnown && weak.length === 0,
    // Of what the kernel does not measure they say nothing.
    references: isKnown ? knowing.map(({ name }) => name) : [],
    against: [revoked, denied, unknown, inContainers, measured].flatMap(({ examples }) => examples),
    unknown: unknownFilesOf(unknown, measured, inContainers, () => knownByAll(unknown, references.idle)),
  };
}

/** Who brings a file of this path, by the references in force: it was updated, or somebody changed it. */
function otherContent({ path, digest }: Example, host: readonly KnownFiles[]): readonly string[] {
  const { length } = bytesOf(digest);
  for (const { name, files } of host) {
    const all = files.filesAt(path);
    if (all.length === 0) continue;
    const others = all.filter((one) => one.digest.length === length);
    // As where the kernel hashes by SHA-1 and lists have SHA-256: nothing is to be compared.
    if (others.length === 0) return [`reference ${name} has it by another hash alone`];
    const brings = others.find((one) => one.package !== null)?.package;
    return [`reference ${name} has another content of it${brings ? `, of package ${brings}` : ''}`];
  }
  return [];
}

function whyNotKnown(
  { digest, reference }: Example,
  lapsed: readonly KnownFiles[],
  { idle }: PreparedReferences,
): readonly string[] {
  const over = lapsed.find(({ name }) => name === reference);
  if (over !== undefined) return [`reference ${over.name} has it, and expired on ${over.reference.expires}`];
  if (reference !== null) return [`reference ${reference} has it`];
  const other = idle.find(({ files }) => files.find(bytesOf(digest)) >= 0);
  return other === undefined ? [] : [`reference ${other.name} has it, and is ${other.reference.state}`];
}

/** A reference that is not in force, and has all of them: putting it in force makes them known. */
function knownByAll({ examples, more }: SeenEntries, idle: readonly KnownFiles[]): string | null {
  if (more) return null;
  const digests = examples.map(({ digest }) => bytesOf(digest));
  return idle.find(({ files }) => digests.every((digest) => files.find(digest) >= 0))?.name ?? null;
}

function bytesOf(digest: string): Buffer {
  return Buffer.from(digest.slice(digest.lastIndexOf(':') + 1), 'hex');
}
