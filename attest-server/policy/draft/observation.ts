import { atOnce } from '../../formats/in-steps.ts';
import type { Reference } from '../../formats/reference.ts';
import type { TpmClass } from '../../formats/tpm-class.ts';
import type { BootState, ComponentKind } from '../../verify/boot/boot-state.ts';
import type { Proven } from '../../verify/proven.ts';
import type { SignatureEntry } from '../../verify/tpm/signature-list.ts';
import { aspects } from '../aspects.ts';
import { captureTogether } from '../boot/capture-together.ts';
import { isComparedBy } from '../boot/reference-set.ts';
import { CaptureError } from '../capture-error.ts';
import { breaksPolicy, weigh } from '../finding.ts';
import { judgedAlone } from '../judged-alone.ts';
import { type PolicyGroup, unmatched } from '../policy.ts';
import { likenessTo } from '../reference-reach.ts';
import type { Posture } from './posture.ts';

/** An image as a group of machines has it in common. */
export interface ObservedImage {
  /** The log's own name for it. */
  readonly describes: string;
  readonly digest: string;
}

/** A machine and its boot, as far as its evidence tells: what a policy would speak of. */
export interface Observation {
  readonly node: string;
  readonly tpmClass: TpmClass;
  /** The TPM's maker, as a root says. */
  readonly manufacturer: string | null;
  /** Version of the running kernel; the node says so. */
  readonly kernel: string | null;
  /** Null if no boot log was sent, or it does not lead to what the TPM holds. */
  readonly boot: ObservedBoot | null;
  /** Why `boot` is null: what keeps the boot from becoming a reference, or from being trusted by its own. */
  readonly noBoot: string | null;
  /** The active references that the boot is like, of those with which the node is compared at present. */
  readonly references: readonly string[];
  /** Groups whose active references the boot is like, whether or not it is compared with them. */
  readonly knownTo: readonly string[];
  /** The posture in its other aspects. */
  readonly posture: Posture;
}

export interface ObservedBoot {
  readonly firmware: string | null;
  readonly secureBoot: boolean | null;
  readonly loaders: readonly ObservedImage[];
  readonly kernels: readonly ObservedImage[];
  readonly initrds: readonly ObservedImage[];
  readonly signers: readonly { readonly digest: string; readonly subject: string | null }[];
  readonly sbatLevel: number | null;
}

/** A machine that claims more than this of one kind is no pattern for others. */
const most = 16;

export function observe(
  proven: Proven,
  node: { readonly name: string; readonly tpmClass: TpmClass; readonly manufacturer: string | null },
  { references, knownTo }: LikeBoots = nothingLike,
  posture: Posture = {},
): Observation {
  const { boot } = proven;
  const noBoot = whyNoModel(proven, node.name);
  return {
    node: node.name,
    tpmClass: node.tpmClass,
    manufacturer: node.manufacturer,
    kernel: proven.facts?.host?.kernel ?? null,
    boot: boot === null || noBoot !== null ? null : bootOf(boot.state),
    noBoot,
    references,
    knownTo,
    posture,
  };
}

/** Active references that are like a boot. */
export type LikeBoots = Pick<Observation, 'references' | 'knownTo'>;
const nothingLike: LikeBoots = { references: [], knownTo: [] };

/** For many nodes: the references are prepared once. */
export function likeReferences(
  references: readonly Reference[],
  at: number,
): (proven: Proven, node: string, group: PolicyGroup) => LikeBoots {
  const active = references
    .filter(({ kind, state }) => kind === 'boot' && state === 'active')
    .map((reference) => ({
      reference,
      isLike: likenessTo(reference),
      anchors: anchorsOf(reference),
    }));
  const byAnchor = Map.groupBy(
    active.flatMap((one) => one.anchors.map((anchor) => ({ anchor, one }))),
    ({ anchor }) => anchor,
  );
  const withoutAnchor = active.filter(({ anchors }) => anchors.length === 0);
  return (proven, node, group) => {
    const digests = new Set(
      proven.boot?.state.components.flatMap((component) => Object.values(component.digests)),
    );
    const near = [...digests].flatMap((digest) => byAnchor.get(digest)?.map(({ one }) => one) ?? []);
    const like = [...new Set([...withoutAnchor, ...near])].filter(
      ({ reference, isLike }) =>
        // As if the node were of the group that it was captured for.
        isLike !== null && atOnce(isLike(proven, node, { ...group, name: reference.group }, at)),
    );
    const compared = like.filter(({ reference }) => isComparedBy(group.name, group.rules.boot, reference));
    return {
      references: compared.map(({ reference }) => reference.name),
      knownTo: [...new Set(like.map(({ reference }) => reference.group))],
    };
  };
}

export const noLogCame = 'no boot log came';

/**
 * Digests without one of which no boot is like the reference: of its initrd, which may be one machine's own, else of its
 * kernel. A large fleet has a reference for each machine, and comparing all of them with all would take minutes.
 */
function anchorsOf({ components }: Reference): readonly string[] {
  for (const stage of ['initrd', 'kernel'] as const)
    for (const component of components)
      if (component.stage === stage && component.text === undefined) return Object.values(component.digests);
  return [];
}

/**
 * Why this boot is no model: what its capture would say, or what would still be held against it once its own reference is in
 * force. A draft that requires such a boot would turn a node untrusted that nobody touched. Null if it is a good model.
 */
function whyNoModel(proven: Proven, node: string): string | null {
  const { banks, boot } = proven;
  if (boot === null) return noLogCame;
  try {
    const about = { name: 'a', state: 'active', by: node, at: 0 } as const;
    return againstItself(
      proven,
      node,
      captureTogether([{ node, banks, boot, isDemanded: false }], unmatched, about),
    );
  } catch (error) {
    if (error instanceof CaptureError) return error.message.slice(0, longestWhy);
    throw error;
  }
}

const longestWhy = 256;

function againstItself(proven: Proven, node: string, references: readonly Reference[]): string | null {
  for (const { name, referenceKind, prepare } of aspects) {
    if (referenceKind !== 'boot') continue;
    const group = { group: unmatched, references, remembers: false };
    const { findings } = prepare(unmatched.rules[name], group).judge(proven, judgedAlone(node, proven), 0);
    const against = findings
      .map((finding) => weigh(finding, { require: [name], severity: {} }))
      .find(breaksPolicy);
    if (against !== undefined) return `${against.code}: ${against.text}`.slice(0, longestWhy);
  }
  return null;
}

function bootOf({ components, secureBoot, firmwareVersion }: BootState): ObservedBoot {
  const images = (stage: 'loader' | 'kernel' | 'initrd') => {
    const byDigest = new Map<string, ObservedImage>();
    for (const { stage: its, kind, describes, digests } of components) {
      const digest = digests.sha256 ?? digests.sha384 ?? digests.sha512 ?? digests.sha1;
      if (its === stage && isImage(stage, kind) && digest !== undefined && !byDigest.has(digest))
        byDigest.set(digest, { describes: describes.slice(0, 256), digest });
    }
    return [...byDigest.values()].slice(0, most);
  };
  return {
    firmware: firmwareVersion?.text.slice(0, 256) ?? null,
    secureBoot: secureBoot.enabled,
    loaders: images('loader'),
    kernels: images('kernel'),
    initrds: images('initrd'),
    signers: certificatesOf(secureBoot.authorities),
    sbatLevel: secureBoot.sbatLevel,
  };
}

/** Where no Secure Boot has GRUB start the kernel through the firmware, it is measured as a file alone, as initrds are. */
function isImage(stage: 'loader' | 'kernel' | 'initrd', kind: ComponentKind): boolean {
  return kind === 'code' || stage === 'initrd' || (stage === 'kernel' && kind === 'file');
}

/** Each once, in the order in which they were first used. */
function certificatesOf(authorities: readonly SignatureEntry[]): ObservedBoot['signers'] {
  const byDigest = new Map(
    authorities
      .filter(({ kind }) => kind === 'certificate')
      .map(({ digest, subject }) => [digest, { digest, subject: subject?.slice(0, 256) ?? null }]),
  );
  return [...byDigest.values()].slice(0, most);
}
