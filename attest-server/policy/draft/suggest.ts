/** Policies that are tried (`simulation`) or drafted (`suggest`) by what nodes show (`observation`). */

import { stringify } from 'yaml';
import { mostCaptured } from '../../formats/reference.ts';
import { nodeName } from '../../wire/messages.ts';
import type { DraftedRules } from '../aspect.ts';
import { aspects, type BuiltAspect } from '../aspects.ts';
import { globMatches } from '../glob.ts';
import { noLogCame, type Observation, type ObservedBoot, type ObservedImage } from './observation.ts';

/** Machines that a draft can say something about beside those whose boots were seen. */
export interface SuggestedFrom {
  readonly observations: readonly Observation[];
  /** Nodes of which policy says that they have no TPM. */
  readonly withoutTpm: readonly string[];
  /** Nodes that say so themselves, where the policy in force expects a TPM. */
  readonly claimWithoutTpm?: readonly string[];
  /** How machines that nobody named enrol by the policy in force; null or left out: as policies have it that name nothing. */
  readonly enrolment?: readonly string[] | null;
  /** Enrolled, and not judged yet. */
  readonly unseen: readonly string[];
}

interface ObservationGroup {
  readonly nodes: readonly string[];
  /** Each of them. */
  readonly each: readonly Observation[];
  readonly like: Observation;
  readonly references: ReadonlySet<string>;
  /** Groups whose references they are like. */
  readonly knownTo: ReadonlySet<string>;
}

/** As many globs as one group may have. */
const mostGlobs = 256;
/** Machines that have nothing in common need no policy of this kind. */
const mostGroups = 256;

/**
 * Drafts a policy from what was observed: a group for machines of one TPM class and maker that start alike. It enforces
 * nothing yet. What evidence says of itself stands in comments only, with everything escaped that could end one.
 */
export function suggestPolicy(from: SuggestedFrom): string {
  const { observations, unseen, enrolment = null } = from;
  const named = observations.filter(({ node }) => isNodeName(node));
  const known = new Set(named.map(({ node }) => node));
  // Attack: a node enrolled with a TPM says that it has none, and escapes all proof.
  const enrolled = new Set([...known, ...unseen]);
  const claimed = (from.claimWithoutTpm ?? []).filter((name) => isNodeName(name) && !enrolled.has(name));
  const withoutTpm = [...new Set([...from.withoutTpm.filter(isNodeName), ...claimed])].sort();
  const kinds = groupAlike(named);
  const groups = kinds.slice(0, mostGroups);
  const all = [...known, ...withoutTpm, ...unseen.filter(isNodeName)];
  const names = new Set<string>();
  const lines = [
    '# A draft of what was observed: it enforces nothing yet. Next steps: capture references from nodes that you vouch for',
    '# (the commands stand beside each group that has none), see what the draft would change (assay policy simulate FILE),',
    '# put it in force, and set mode: label, then enforce, once all nodes of a group stay trusted.',
    ...leftOut(named),
    ...tooMany(kinds.slice(mostGroups).flatMap(({ nodes }) => nodes)),
    'apiVersion: assay.dev/v1',
    'kind: Policy',
    'groups:',
    ...groups.flatMap((group) => draft(group, all, names)),
    ...absent(withoutTpm, claimed),
    ...(unseen.length === 0
      ? []
      : [comment(`nothing is known yet about ${unseen.length}: ${firstOf(unseen)}`)]),
    '  # Every other node is asked and shown, and trusted for its identity only.',
    '  - name: others',
    '    nodes: ["*"]',
    '    mode: observe',
    '    require: [identity]',
    ...(enrolment === null ? [] : [`    enrolment: ${listOf(enrolment)}`]),
  ];
  return `${lines.join('\n')}\n`;
}

/** Whose boot nothing can be said of: a draft that passes them over would promise too much. */
function leftOut(observations: readonly Observation[]): string[] {
  const names = observations.filter(({ boot }) => boot === null).map(({ node }) => node);
  if (names.length === 0) return [];
  const whose = `${names.length === 1 ? 'boot' : 'boots'} of ${counted(names.length)}`;
  return [
    `# The ${whose} can be compared with nothing, so mode: label is not for them: ${printed(firstOf(names.sort()))}`,
  ];
}

/** Who starts like few others, where there are more kinds of machines than a draft has groups for. */
function tooMany(names: readonly string[]): string[] {
  if (names.length === 0) return [];
  return [
    `# More than ${mostGroups} kinds of machines: ${counted(names.length)} got no group, and are among the others at the end: ${printed(firstOf(names.toSorted()))}`,
  ];
}

function counted(nodes: number): string {
  return nodes === 1 ? '1 node' : `${nodes} nodes`;
}

/** The largest groups first; those of one size in the order of their names. */
function groupAlike(observations: readonly Observation[]): readonly ObservationGroup[] {
  const groups = new Map<
    string,
    {
      nodes: string[];
      each: Observation[];
      like: Observation;
      references: Set<string>;
      knownTo: Set<string>;
    }
  >();
  const latest = new Map(observations.map((each) => [each.node, each]));
  for (const like of [...latest.values()].sort((a, b) => (a.node < b.node ? -1 : 1))) {
    const { tpmClass, manufacturer, boot } = like;
    const key = JSON.stringify([
      ...[tpmClass, manufacturer, boot?.firmware, boot?.secureBoot, kindOf(like)],
      ...[boot?.loaders, boot?.kernels].map((images) => images?.map(({ digest }) => digest)),
    ]);
    const known = groups.get(key);
    const group = known ?? {
      nodes: [],
      each: [],
      like,
      references: new Set<string>(),
      knownTo: new Set<string>(),
    };
    group.nodes.push(like.node);
    group.each.push(like);
    for (const name of like.references) group.references.add(name);
    for (const name of like.knownTo) group.knownTo.add(name);
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.nodes.length - a.nodes.length);
}

function draft(
  { nodes, each, like, references, knownTo }: ObservationGroup,
  all: readonly string[],
  names: Set<string>,
): string[] {
  const { boot, tpmClass, manufacturer, kernel } = like;
  const about = [
    comment(`${counted(nodes.length)} alike:`),
    comment(`  TPM: ${tpmClass}${manufacturer === null ? '' : `, made by ${manufacturer}`}`),
    ...(kernel === null ? [] : [comment(`  kernel ${kernel}, as a node of it says`)]),
    ...(boot === null
      ? [
          comment('  their boots can be compared with nothing, so only the identity can be required:'),
          ...reasonsOf(each),
        ]
      : [
          comment(`  firmware: ${boot.firmware ?? 'its version is not measured as text'}`),
          comment(
            `  Secure Boot: ${boot.secureBoot === null ? 'not measured' : boot.secureBoot ? 'on' : 'off'}`,
          ),
          ...boot.loaders.map((image) => comment(`  boot loader: ${shown(image)}`)),
          ...boot.kernels.map((image) => comment(`  kernel image: ${shown(image)}`)),
        ]),
  ];
  const named = (globs: readonly string[]) =>
    nodes.filter((node) => globs.some((glob) => globMatches(glob, node)));
  return chunks(globsFor(nodes, all)).flatMap((globs) => {
    const name = groupName(like, names);
    return [
      ...about,
      // A list that is cut off would turn those nodes untrusted whose references it does not name.
      ...(boot === null || knownTo.has(name) || (references.size > 0 && references.size <= mostGlobs)
        ? []
        : captures(named(globs), name, references.size)),
      ...(boot !== null && initrdsDiffer(each) ? [ownInitrds] : []),
      `  - name: ${name}`,
      `    nodes: ${listOf(globs)}`,
      '    mode: observe',
      ...rulesFor(boot, references, drafts(each)),
    ];
  });
}

const mostReasons = 8;

/** Each reason once, with the nodes that it holds for: one group may have many. */
function reasonsOf(each: readonly Observation[]): string[] {
  const why = ({ node, noBoot }: Observation) =>
    noBoot?.replace(` of ${node} `, ' ') ?? 'no boot log that matches the TPM';
  const reasons = [...Map.groupBy(each, why)];
  return [
    ...reasons
      .slice(0, mostReasons)
      .map(([reason, nodes]) => comment(`    ${reason}: ${firstOf(nodes.map(({ node }) => node))}`)),
    ...(reasons.length > mostReasons
      ? [comment(`    and ${reasons.length - mostReasons} reasons more: assay why NODE`)]
      : []),
  ];
}

/** The commands to type before the group can be required to boot so. Nodes that boot alike make one reference. */
function captures(nodes: readonly string[], name: string, known: number): string[] {
  const parts = Array.from({ length: Math.ceil(nodes.length / mostCaptured) }, (_, part) =>
    nodes.slice(part * mostCaptured, (part + 1) * mostCaptured),
  );
  return [
    comment(
      known === 0
        ? 'no reference is like these boots yet. Leave out nodes that you do not vouch for:'
        : `${known} references are like these boots, more than the group can name. It needs its own:`,
    ),
    ...parts.map(
      (some, part) =>
        `  #   assay reference capture ${some.join(' ')} --name ${name}${part === 0 ? '' : `-part-${part + 1}`} --group ${name}`,
    ),
  ];
}

const ownInitrds = comment(
  'not all have the same initrd: scope: {initrd: node} would hold each of them to its own one',
);

function initrdsDiffer(each: readonly Observation[]): boolean {
  const sets = new Set(each.map(({ boot }) => boot?.initrds.map(({ digest }) => digest).join(' ')));
  return sets.size > 1;
}

/** The drafts of each aspect for these nodes. */
function drafts(each: readonly Observation[]): readonly (readonly [BuiltAspect, DraftedRules])[] {
  return aspects.flatMap(({ name, schema, contradictions, draft: draftRules }) => {
    const seen = each.map(({ node, posture }) => {
      const { said = null, references = [] } = posture[name] ?? {};
      return { node, said, references };
    });
    const drafted = draftRules?.(seen) ?? null;
    if (drafted === null) return [];
    // What a node calls its paths may be no rule.
    const isRule =
      schema?.safeParse(drafted.rules).success === true && contradictions(drafted.rules).length === 0;
    return [[name, { ...drafted, holds: drafted.holds && isRule }] as const];
  });
}

const longestNote = 240;

/** By the word of the nodes alone: what all of them keep is written as a rule, the rest as a comment. */
function draftedRules([name, { rules, holds, notes }]: readonly [BuiltAspect, DraftedRules]): string[] {
  const text = stringify({ [name]: rules }, { collectionStyle: 'flow', lineWidth: 0 })
    .replace(/\s*\n\s*/g, ' ')
    .trim();
  const line = `${name}: ${text.slice(text.indexOf(':') + 1, -1).trim()}`;
  return [
    ...notes.map((note) => `  ${comment(`${name}, as the nodes say: ${note.slice(0, longestNote)}`)}`),
    holds ? `    ${line}` : `  ${comment(`${line}   (some would fail today)`)}`,
  ];
}

function rulesFor(
  boot: Observation['boot'],
  references: ReadonlySet<string>,
  drafted: ReturnType<typeof drafts>,
): string[] {
  const posture = drafted.filter(([, { holds }]) => holds).map(([name]) => name);
  const others = drafted.flatMap(draftedRules);
  if (boot === null) return [`    require: [${['identity', ...posture].join(', ')}]`, ...others];
  const known = [...references].sort();
  const rules = [
    ...(known.length === 0 || known.length > mostGlobs
      ? []
      : [
          '      # The references that boots of theirs are like. Without this line: any active reference of this group.',
          `      references: ${listOf(known)}`,
        ]),
    ...(boot.secureBoot === true
      ? [
          '      # It is on in all of them: if it is off in one, somebody changed that.',
          '      secureBoot: required',
          ...signersOf(boot.signers),
        ]
      : []),
  ];
  return [
    '    # These machines can prove both; a boot without a reference is pending.',
    `    require: [${['identity', 'boot', ...posture].join(', ')}]`,
    ...(rules.length === 0 ? [] : ['    boot:', ...rules]),
    ...others,
  ];
}

function signersOf(signers: ObservedBoot['signers']): string[] {
  if (signers.length === 0) return [];
  return [
    '      # To judge by the signer instead of each image, remove the comment signs:',
    '      # signers:',
    ...signers.map(
      ({ digest, subject }) =>
        `      #   - "${digest}" ${comment(subject ?? 'a certificate without a subject').trimStart()}`,
    ),
  ];
}

function absent(withoutTpm: readonly string[], claimed: readonly string[]): string[] {
  const byThemselves = claimed.length === 0 ? [] : [comment(`it is their own word of: ${firstOf(claimed)}`)];
  const about =
    claimed.length < withoutTpm.length
      ? '  # These nodes say that they have no TPM, and so does the policy in force.'
      : '  # These nodes say that they have no TPM. Nothing proves it: look at them, before you take this over.';
  // Attack: two that say so make a glob, and a third of such a name, whom nobody looked at, need prove nothing.
  return chunks(withoutTpm).flatMap((names, index) => [
    ...(index === 0 ? [about, ...byThemselves] : []),
    `  - name: without-tpm${index === 0 ? '' : `-${index + 1}`}`,
    `    nodes: ${listOf(names)}`,
    '    tpm: absent',
  ]);
}

/** A name in a bundle is whatever its exporter wrote. */
function isNodeName(name: string): boolean {
  return nodeName.safeParse(name).success;
}

/** `worker-*` for worker-1, worker-2, … where no other node has such a name; else the names. */
function globsFor(nodes: readonly string[], all: readonly string[]): readonly string[] {
  const own = new Set(nodes);
  const others = all.filter((name) => !own.has(name));
  const byStem = new Map<string, string[]>();
  for (const name of nodes) {
    const stem = name.replace(/[0-9]+$/, '');
    byStem.set(stem, [...(byStem.get(stem) ?? []), name]);
  }
  return [...byStem].flatMap(([stem, names]) => {
    const glob = `${stem}*`;
    const isTheirs = stem !== '' && names.length > 1 && !others.some((name) => globMatches(glob, name));
    return isTheirs ? [glob] : names;
  });
}

function listOf(globs: readonly string[]): string {
  return `[${globs.map((glob) => JSON.stringify(glob)).join(', ')}]`;
}

function chunks(globs: readonly string[]): readonly (readonly string[])[] {
  const count = Math.ceil(globs.length / mostGlobs);
  return Array.from({ length: count }, (_, index) => globs.slice(index * mostGlobs, (index + 1) * mostGlobs));
}

/** `discrete-secureboot-2`: of words of ours alone. */
function groupName(like: Observation, names: Set<string>): string {
  const { tpmClass } = like;
  const how = kindOf(like);
  const base = tpmClass === 'unknown' ? how : `${tpmClass}-${how}`;
  let name = base;
  for (let count = 2; names.has(name); count++) name = `${base}-${count}`;
  names.add(name);
  return name;
}

function kindOf({ boot, noBoot }: Observation): string {
  if (boot !== null) return boot.secureBoot === true ? 'secureboot' : 'no-secureboot';
  return noBoot === null || noBoot === noLogCame ? 'no-log' : 'no-model';
}

/** The first twenty. */
function firstOf(names: readonly string[]): string {
  return names.length <= 20 ? names.join(', ') : `${names.slice(0, 20).join(', ')}, …`;
}

function shown({ describes, digest }: ObservedImage): string {
  return `${describes} (${digest.slice(0, 16)}…)`;
}

/** A comment of a group. */
function comment(text: string): string {
  return `  # ${printed(text)}`;
}

/** One line, whatever the text: only what YAML allows in a comment and a terminal shows as it is. */
function printed(text: string): string {
  return text
    .replace(/[^\x20-\x7e\u00a1-\ud7ff\ue000-\ufefe…]/g, '?')
    .replace(/[\u2028-\u202e\u2066-\u2069\u200b-\u200f\u061c\u2060-\u2064]/g, '?');
}
