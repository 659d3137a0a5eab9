import { type Advice, approveNode as approve } from '../../protocol/advice.ts';
import type { ReasonCode } from '../../protocol/reasons.ts';

/** What a person does next about a TPM and where it is in time. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  identity_unproven: [
    'If the policy wants another class of TPM, choose the node’s group or the group’s tpmClass anew, or trust the root that says what this TPM is (endorsementRoots of the server).',
    `If nobody vouches for its key, do so. ${approve}`,
    'Offline, name the authorities that endorse TPMs: --trust-roots.',
  ].join('\n'),
  ek_already_bound: [
    'Two nodes are enrolled with one TPM: find out which machine has it. If it is this one, revoke the other:',
    '  assay enrol revoke TWIN --reason "its TPM is that of NODE"',
    'If it is the other one, revoke this one:',
    '  assay enrol revoke NODE --reason "its TPM is that of TWIN"',
    'What the one that goes was trusted for, another machine may have had.',
  ].join('\n'),
  counter_rollback: [
    'The TPM was cleared, or restored from a snapshot: find out by whom, and whether it is still the right one.',
    approve,
  ].join('\n'),
  clone_suspected: ['Two machines answer as one: find both before you trust either.', approve].join('\n'),
  clock_rewind: [
    'The machine is at an earlier moment of the same boot, as a restored snapshot is: see who restored it, and whether it is still the right one.',
    approve,
  ].join('\n'),
  tpm_firmware: [
    'If the TPM’s firmware was not updated on purpose, take the node out of service.',
    `If it was, say so. ${approve}`,
  ].join('\n'),
};
