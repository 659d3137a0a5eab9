import { answeredBy, type Bundle, parseBundle } from '../../../formats/bundle.ts';
import { type Reference, reference } from '../../../formats/reference.ts';
import { appraise } from '../../../policy/appraise.ts';
import { isRemembered } from '../../../policy/boot/aggregate.ts';
import { earStatus } from '../../../policy/ear-status.ts';
import { parsePolicy } from '../../../policy/file/policy-file.ts';
import { pastOf, withBegun } from '../../../policy/past.ts';
import { enrolments, type Policy, underTrial } from '../../../policy/policy.ts';
import { verifyBundleEvidence } from '../../../verify/bundle-evidence.ts';
import { type TrustRoots, trustRoots } from '../../../verify/endorsement-chain.ts';
import { parseCertificate } from '../../../verify/x509/certificate.ts';
import { parseKeyRequest } from '../../../wire/key-request.ts';
import { checkShape } from '../../../wire/parse-json.ts';
import { classOf } from '../../../wire/reasons.ts';
import { Rejection } from '../../../wire/rejection.ts';
import type { AspectStatus, NodeState, Reason, Verdict } from '../../../wire/verdict.ts';
import { type BootSummary, bootSummary } from '../boot/summary.ts';
import { checkEndorsementOf } from './endorsement-chain.ts';
import { type GivenInitrd, initrdNotes, withInitrds } from './given-initrds.ts';

/** The inputs that a bundle is judged with. Those left out come from the bundle's context, or are not judged. */
export interface BundleJudgement {
  readonly policy?: Policy;
  readonly references?: readonly Reference[];
  /** The authorities that endorse TPMs. */
  readonly roots?: TrustRoots;
  /** Initrds that lie here, in place of what the bundle says is in them. */
  readonly initrds?: readonly GivenInitrd[];
  /** Milliseconds since the epoch; the moment of export, where the bundle says it, wins. */
  readonly now: number;
}

/** The output of `assay verify -o json`. */
export interface BundleVerdict {
  readonly state: NodeState;
  readonly earStatus: AspectStatus;
  readonly reasons: readonly Reason[];
  readonly aspects: Verdict['aspects'];
  readonly boot: BootSummary | null;
  /** The volume whose key it asked for, in a request that its quotes sign. */
  readonly keyRequest?: { readonly volume: string };
  /** The name that the evidence gives itself, by which the policy's group was chosen. */
  readonly node?: string;
  readonly group?: string;
  readonly require?: Verdict['require'];
  /** The server was on trial, as it says: nothing may rest on this. */
  readonly trial?: true;
  /** Present where the exporter's word was taken for policy, references, roots or the moment. */
  readonly from?: 'context';
  /** The grounds of this verdict besides the evidence; a sentence each. */
  readonly notes?: readonly string[];
}

/** How it ended: a rejection and a state that cannot be judged differ in their exit code only. */
export interface JudgedBundle {
  readonly verdict: BundleVerdict;
  readonly rejected: boolean;
  /** False for a file that is not a bundle: its content is no evidence of any node. */
  readonly isBundle: boolean;
}

/**
 * Judges an exported bundle again, without a server. Bad evidence is no exception here but a verdict `unknown` with
 * its code. A bundle does not hold the activation that ties attestation key and endorsement key together: that they
 * are of one TPM is the exporter's word.
 */
export function verifyBundle(text: string, judgement: BundleJudgement): JudgedBundle {
  let isBundle = false;
  try {
    const parsed = parseBundle(text);
    isBundle = true;
    return { verdict: judge(parsed, judgement), rejected: false, isBundle };
  } catch (error) {
    if (error instanceof Rejection) return { verdict: rejectedVerdict(error), rejected: true, isBundle };
    throw error;
  }
}

function judge(exported: Bundle, judgement: BundleJudgement): BundleVerdict {
  const { initrds: given = [] } = judgement;
  const { bundle, notes: found } =
    given.length === 0 ? { bundle: exported, notes: [] } : withInitrds(exported, given);
  const { context } = bundle;
  const isOfTrial = bundle.context?.trial === true;
  const asked = isOfTrial && judgement.policy ? underTrial(judgement.policy) : judgement.policy;
  const policy = asked ?? contextPolicy(bundle);
  // An exporter who could choose the moment could bring an expired reference back to life.
  const ownMoment = judgement.policy !== undefined || context === undefined;
  const at = ownMoment ? judgement.now : Date.parse(context.at);
  const roots = judgement.roots ?? contextRoots(bundle);
  const exportersWord = judgement.policy === undefined && roots === null && context?.policy !== undefined;
  const { ekDigest, tpmClass: vouched } = checkEndorsementOf(bundle, roots, at);
  const proven = verifyBundleEvidence(bundle, roots !== null || exportersWord ? ekDigest : null);
  const boot = proven.boot && bootSummary(proven.boot);
  const keyRequest = keyRequestIn(bundle);
  const trial = isOfTrial ? { trial: true as const } : {};
  if (policy === null)
    return { state: 'unknown', earStatus: 'none', reasons: [], aspects: {}, boot, ...keyRequest, ...trial };
  const references = judgement.references ?? contextReferences(bundle);
  const node = proven.facts?.node ?? context?.node ?? 'bundle';
  const labels = context?.labels ?? {};
  const asExported = judgement.policy === undefined && judgement.roots === undefined;
  const tpmClass = asExported ? (context?.tpmClass ?? vouched) : vouched;
  const by = answeredBy(bundle);
  const judged = { name: node, labels, tpmClass, past: pastOf(bundle), by };
  const { verdict, begun } = appraise(proven, policy, judged, references, at);
  const { identity, ...others } = verdict.aspects;
  // An exporter who could choose the labels unseen could choose the group, and with it the rules.
  const byLabels = judgement.policy?.groups.some((group) => Object.keys(group.labels).length > 0) ?? false;
  const notes = [
    ...(isOfTrial ? [ofTrial] : []),
    ...(proven.ekDigest === null ? [] : [exportersBinding]),
    ...(isRemembered(proven, context?.memory ?? {}) ? [exportersMemory] : []),
    ...(byLabels && Object.keys(labels).length > 0 ? [exportersLabels] : []),
    ...found,
    ...initrdNotes(proven.boot?.initrds ?? [], given),
  ];
  const fromContext =
    (judgement.policy === undefined && context?.policy !== undefined) ||
    (judgement.references === undefined && context?.references !== undefined) ||
    (judgement.roots === undefined && roots !== null);
  return {
    state: verdict.state,
    earStatus: earStatus(verdict),
    ...trial,
    reasons: withBegun(verdict.reasons, begun, bundle),
    // An identity that was not appraised is left out, not shown as failed.
    aspects: proven.ekDigest === null || identity === undefined ? others : { identity, ...others },
    boot,
    ...keyRequest,
    node,
    group: verdict.group,
    require: verdict.require,
    ...(notes.length > 0 && { notes }),
    ...(fromContext && { from: 'context' as const }),
  };
}

/** To be read once the quotes are verified. @throws Rejection `malformed` */
function keyRequestIn({ binding }: Bundle): Pick<BundleVerdict, 'keyRequest'> {
  if (binding === undefined || binding.keyRequest === '') return {};
  const { volume } = parseKeyRequest(Buffer.from(binding.keyRequest, 'hex'));
  return { keyRequest: { volume } };
}

const ofTrial =
  'The server was on trial: the TPM may be a program, whose keys anybody may copy. Nothing may rest on this verdict.';

const exportersBinding =
  'The bundle does not prove that its attestation key and its endorsement key belong to one TPM. The exporter vouches for that.';

const exportersMemory =
  'The bundle does not prove what the kernel found when it started (boot_aggregate): an earlier answer proved it. The exporter vouches for that.';

const exportersLabels =
  'The bundle does not prove the labels of the node, which may have decided its group. The exporter vouches for them.';

/** The policy that the exporter judged by; null if it names none. @throws Rejection `malformed` */
export function contextPolicy({ context }: Bundle): Policy | null {
  if (context?.policy === undefined) return null;
  try {
    const policy = parsePolicy(context.policy, 'context', enrolments);
    return context.trial === true ? underTrial(policy) : policy;
  } catch (cause) {
    throw new Rejection('malformed', 'the bundle carries a policy that cannot be used', {
      field: 'context.policy',
      cause,
    });
  }
}

/** PEM; what the exporter trusted. */
function contextRoots({ context }: Bundle): TrustRoots | null {
  if (!context?.roots?.length) return null;
  const ders = context.roots.map((pem) => Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64'));
  return trustRoots(
    ders.map((der) => parseCertificate(der, 'context.roots')),
    [],
  );
}

/** The references that the exporter judged by. @throws Rejection `malformed` */
export function contextReferences({ context }: Bundle): readonly Reference[] {
  return (context?.references ?? []).map((value, index) =>
    checkShape(value, reference, 'bundle', `context.references.${index}`),
  );
}

function rejectedVerdict({ code, message, field }: Rejection): BundleVerdict {
  const reason: Reason = {
    code,
    class: classOf(code),
    aspect: 'identity',
    severity: 'fail',
    source: 'server',
    expected: null,
    actual: null,
    text: field === undefined || message.includes(field) ? message : `${message} (${field})`,
    evidence: null,
  };
  return { state: 'unknown', earStatus: 'none', reasons: [reason], aspects: {}, boot: null };
}
