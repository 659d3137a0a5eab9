import { stringify } from 'yaml';
import { nodeName } from '../../protocol/messages.ts';
import type { Drafted } from '../aspect.ts';
import { aspects, type BuiltAspect } from '../aspects.ts';
import { globMatches } from '../glob.ts';
import type { Observation, ObservedBoot, ObservedImage } from './observation.ts';

/** Machines that a draft can say something about beside those whose boots were seen. */
export interface SuggestedFrom {
  readonly observations: readonly Observation[];
  /** Of which policy says that they have no TPM. */
  readonly withoutTpm: readonly string[];
  /** Enrolled, and not judged yet. */
  readonly unseen: readonly string[];
}

interface Alike {
  readonly nodes: readonly string[];
  /** Each of them. */
  readonly each: readonly Observation[];
  readonly like: Observation;
  readonly references: ReadonlySet<string>;
}

/** As many globs as one group may have. */
const mostGlobs = 256;
/** Machines that have nothing in common need no policy of this kind. */
const mostGroups = 256;

/**
 * Drafts a policy from what was observed: a group for machines of one TPM class and maker that start alike. It enforces
 * nothing yet. What evidence says of itself stands in comments only, with everything escaped that could end one.
 */
export function suggestPolicy({ observations, withoutTpm: claimed, unseen }: SuggestedFrom): string {
  const named = observations.filter(({ node }) => isNodeName(node));
  const withoutTpm = claimed.filter(isNodeName);
  const groups = alike(named).slice(0, mostGroups);
  const all = [...named.map(({ node }) => node), ...withoutTpm, ...unseen.filter(isNodeName)];
  const names = new Set<string>();
  const lines = [
    '# A draft of what was observed: it enforces nothing yet. Next steps: capture a reference for each group from a node',
    '# that you vouch for (assay reference capture NODE --name NAME), see what the draft would change (assay policy',
    '# simulate FILE), put it in force, and set mode: label, then enforce, once all nodes of a group stay trusted.',
    'apiVersion: assay.dev/v1',
    'kind: Policy',
    'groups:',
    ...groups.flatMap((group) => draft(group, all, names)),
    ...absent(withoutTpm, all),
    ...(unseen.length === 0
      ? []
      : [comment(`nothing is known yet about ${unseen.length}: ${firstOf(unseen)}`)]),
    '  # Every other node is asked and shown, and trusted for its identity only.',
    '  - name: others',
    '    nodes: ["*"]',
    '    mode: observe',
    '    require: [identity]',
  ];
  return `${lines.join('\n')}\n`;
}

/** The largest groups first; those of one size in the order of their names. */
function alike(observations: readonly Observation[]): readonly Alike[] {
  const groups = new Map<
    string,
    { nodes: string[]; each: Observation[]; like: Observation; references: Set<string> }
  >();
  const latest = new Map(observations.map((each) => [each.node, each]));
  for (const like of [...latest.values()].sort((a, b) => (a.node < b.node ? -1 : 1))) {
    const { tpmClass, manufacturer, boot } = like;
    const key = JSON.stringify([
      ...[tpmClass, manufacturer, boot?.firmware, boot?.secureBoot, boot === null],
      ...[boot?.loaders, boot?.kernels].map((images) => images?.map(({ digest }) => digest)),
    ]);
    const known = groups.get(key);
    const group = known ?? { nodes: [], each: [], like, references: new Set<string>() };
    group.nodes.push(like.node);
    group.each.push(like);
    for (const name of like.references) group.references.add(name);
    groups.set(key, group);
  }
  return [...groups.values()].sort((a, b) => b.nodes.length - a.nodes.length);
}

function draft(
  { nodes, each, like, references }: Alike,
  all: readonly string[],
  names: Set<string>,
): string[] {
  const { boot, tpmClass, manufacturer, kernel } = like;
  const about = [
    comment(`${nodes.length === 1 ? '1 node' : `${nodes.length} nodes`} alike:`),
    comment(`  TPM: ${tpmClass}${manufacturer === null ? '' : `, made by ${manufacturer}`}`),
    ...(kernel === null ? [] : [comment(`  kernel ${kernel}, as a node of it says`)]),
    ...(boot === null
      ? [comment('  no boot log that matches the TPM, so only the identity can be required')]
      : [
          comment(`  firmware: ${boot.firmware ?? 'its version is not measured as text'}`),
          comment(
            `  Secure Boot: ${boot.secureBoot === null ? 'not measured' : boot.secureBoot ? 'on' : 'off'}`,
          ),
          ...boot.loaders.map((image) => comment(`  boot loader: ${shown(image)}`)),
          ...boot.kernels.map((image) => comment(`  kernel image: ${shown(image)}`)),
        ]),
  ];
  return chunks(globsFor(nodes, all)).flatMap((globs) => [
    ...about,
    `  - name: ${groupName(like, names)}`,
    `    nodes: ${listOf(globs)}`,
    '    mode: observe',
    ...rulesFor(boot, references, drafts(each)),
  ]);
}

/** What each aspect makes of these nodes that drafts rules. */
function drafts(each: readonly Observation[]): readonly (readonly [BuiltAspect, Drafted])[] {
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
function draftedRules([name, { rules, holds, notes }]: readonly [BuiltAspect, Drafted]): string[] {
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
  const known = [...references].sort().slice(0, mostGlobs);
  const rules = [
    ...(known.length === 0
      ? []
      : [
          '      # The references they are compared with now. Without this line: any active reference of this group.',
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

function absent(withoutTpm: readonly string[], all: readonly string[]): string[] {
  return chunks(globsFor(withoutTpm, all)).flatMap((globs, index) => [
    ...(index === 0 ? ['  # These nodes say that they have no TPM, and so does the policy in force.'] : []),
    `  - name: without-tpm${index === 0 ? '' : `-${index + 1}`}`,
    `    nodes: ${listOf(globs)}`,
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
function groupName({ tpmClass, boot }: Observation, names: Set<string>): string {
  const how = boot === null ? 'no-log' : boot.secureBoot === true ? 'secureboot' : 'no-secureboot';
  const base = tpmClass === 'unknown' ? how : `${tpmClass}-${how}`;
  let name = base;
  for (let count = 2; names.has(name); count++) name = `${base}-${count}`;
  names.add(name);
  return name;
}

/** The first twenty. */
function firstOf(names: readonly string[]): string {
  return names.length <= 20 ? names.join(', ') : `${names.slice(0, 20).join(', ')}, …`;
}

function shown({ describes, digest }: ObservedImage): string {
  return `${describes} (${digest.slice(0, 16)}…)`;
}

/** One line, whatever the text: only what YAML allows in a comment and a terminal shows as it is. */
function comment(text: string): string {
  const line = text
    .replace(/[^\x20-\x7e\u00a1-\ud7ff\ue000-\ufefe…]/g, '?')
    .replace(/[\u2028-\u202e\u2066-\u2069\u200b-\u200f\u061c\u2060-\u2064]/g, '?');
  return `  # ${line}`;
}
