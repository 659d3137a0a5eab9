import type { Reference } from '../../protocol/reference.ts';
import type { TpmClass } from '../../protocol/tpm-class.ts';
import { isOfUnusedBank } from '../../protocol/unused-bank.ts';
import type { BootState } from '../../verify/boot/boot-state.ts';
import type { Proven } from '../../verify/proven.ts';
import type { SignatureEntry } from '../../verify/tpm/signature-list.ts';
import { isComparedBy } from '../boot/reference-set.ts';
import type { PolicyGroup } from '../policy.ts';
import type { Posture } from './posture.ts';

/** An image as a group of machines has it in common. */
export interface ObservedImage {
  /** What the log calls it. */
  readonly describes: string;
  readonly digest: string;
}

/** What a machine is and boots, as far as it can be told from its evidence: what a policy would speak of. */
export interface Observation {
  readonly node: string;
  readonly tpmClass: TpmClass;
  /** The TPM's maker, as a root says. */
  readonly manufacturer: string | null;
  /** Version of the running kernel; the node says so. */
  readonly kernel: string | null;
  /** Null where no boot log was sent, or it does not lead to what the TPM holds. */
  readonly boot: ObservedBoot | null;
  /** The active references that the node is compared with at present. */
  readonly references: readonly string[];
  /** What it shows of the other aspects. */
  readonly posture: Posture;
}

export interface ObservedBoot {
  readonly firmware: string | null;
  readonly secureBoot: boolean | null;
  readonly loaders: readonly ObservedImage[];
  readonly kernels: readonly ObservedImage[];
  readonly signers: readonly { readonly digest: string; readonly subject: string | null }[];
  readonly sbatLevel: number | null;
}

/** A machine that claims more than this of one kind is no pattern for others. */
const most = 16;

export function observe(
  proven: Proven,
  node: { readonly name: string; readonly tpmClass: TpmClass; readonly manufacturer: string | null },
  references: readonly string[],
  posture: Posture = {},
): Observation {
  const { banks, boot } = proven;
  const isPattern = boot?.problems.every((problem) => isOfUnusedBank(problem, boot.problems, banks)) ?? false;
  return {
    node: node.name,
    tpmClass: node.tpmClass,
    manufacturer: node.manufacturer,
    kernel: proven.facts?.host?.kernel ?? null,
    boot: boot === null || !isPattern ? null : bootOf(boot.state),
    references,
    posture,
  };
}

/** The active references that a group's boots are compared with. */
export function activeReferences(
  { name, rules }: Pick<PolicyGroup, 'name' | 'rules'>,
  references: readonly Reference[],
): readonly string[] {
  return references
    .filter((one) => one.kind === 'boot' && one.state === 'active' && isComparedBy(name, rules.boot, one))
    .map((one) => one.name);
}

function bootOf({ components, secureBoot, firmwareVersion }: BootState): ObservedBoot {
  const images = (stage: 'loader' | 'kernel') => {
    const byDigest = new Map<string, ObservedImage>();
    for (const { stage: its, kind, describes, digests } of components) {
      const digest = digests.sha256 ?? digests.sha384 ?? digests.sha512 ?? digests.sha1;
      if (its === stage && kind === 'code' && digest !== undefined && !byDigest.has(digest))
        byDigest.set(digest, { describes: describes.slice(0, 256), digest });
    }
    return [...byDigest.values()].slice(0, most);
  };
  return {
    firmware: firmwareVersion?.text.slice(0, 256) ?? null,
    secureBoot: secureBoot.enabled,
    loaders: images('loader'),
    kernels: images('kernel'),
    signers: certificatesOf(secureBoot.authorities),
    sbatLevel: secureBoot.sbatLevel,
  };
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
