/**
 * One aspect: whose TPM a node has. `findings` are its findings, `advice` what to do about each; `system-uuid`
 * tells whether two UUIDs are of one machine.
 */

import type { Proven } from '../../verify/proven.ts';
import type { Aspect, AspectJudgement, JudgedNode, PreparedAspect } from '../aspect.ts';
import { sharedTpm } from '../twins.ts';
import { advice } from './advice.ts';
import { identityUnproven, otherTpmClass } from './findings.ts';
import { isSameMachine, otherMachine, sharedUuid } from './system-uuid.ts';

/** Whose TPM it is, of which kind, and whether it is still the one that was seen before. */
export const identity: Aspect<'identity', null> = {
  name: 'identity',
  schema: null,
  parts: [],
  readsHost: false,
  referenceKind: null,
  advice,
  rules: () => null,
  contradictions: () => [],
  doubts: () => [],
  prepare: (_rules, { group }) => ({ judge: (proven, node) => judge(proven, node, group) }),
};

const good: AspectJudgement = { findings: [], affirmed: true, source: 'tpm' };
/** A finding about a UUID stands until the node shows one. */
const unnamed = { takesBack: { allBut: ['identity_claim_mismatch'] } } as const;
const goodUnnamed: AspectJudgement = { ...good, ...unnamed };
const named = { takesBack: { allBut: [] } } as const;

function judge(
  { ekDigest, facts }: Proven,
  { name, tpmClass, sequence, twins, clusterUuid, sameUuid }: JudgedNode,
  { tpmClass: wanted, severity }: PreparedAspect['group'],
): AspectJudgement {
  const isOther = wanted !== null && !wanted.includes(tpmClass);
  const affirmed = ekDigest !== null && !isOther;
  const uuid = facts?.host?.systemUuid;
  const known =
    clusterUuid === null || uuid === undefined || isSameMachine(clusterUuid, uuid) ? null : clusterUuid;
  const isAlone = twins.length === 0 && sameUuid.length === 0;
  // Told in the boot that brought it; from then on for who gave it a weight, until a person approves the key.
  const replaced = severity.tpm_firmware === undefined ? null : sequence.replaced;
  if (affirmed && sequence.findings.length === 0 && isAlone && known === null && replaced === null)
    return uuid === undefined ? goodUnnamed : good;
  const findings = sequence.findings.filter(({ aspect }) => aspect === 'identity');
  if (replaced !== null) findings.push(replaced);
  if (twins.length > 0) findings.unshift(sharedTpm(name, twins));
  if (ekDigest === null) findings.push(identityUnproven);
  if (isOther) findings.push(otherTpmClass(wanted, tpmClass));
  if (known !== null && uuid !== undefined) findings.push(otherMachine(known, uuid));
  if (sameUuid.length > 0 && uuid !== undefined) findings.push(sharedUuid(uuid, sameUuid));
  return { findings, affirmed, source: 'tpm', ...(uuid === undefined ? unnamed : named) };
}
