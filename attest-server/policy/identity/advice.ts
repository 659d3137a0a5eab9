import { approveNode as approve } from '../../protocol/advice.ts';
import type { ReasonCode } from '../../protocol/reasons.ts';

/** What a person does next about a TPM and where it is in time; `NODE` stands for the node's name. */
export const advice: Readonly<Partial<Record<ReasonCode, string>>> = {
  identity_unproven: `If the policy wants another class of TPM, choose the node’s group or the group’s tpmClass anew, or trust the root that says what this TPM is (endorsementRoots of the server); if nobody vouches for its key, do so: ${approve} Offline, name the authorities that endorse TPMs: --trust-roots.`,
  ek_already_bound:
    'Two nodes are enrolled with one TPM: find out which machine has it, and revoke the other (assay enrol revoke NODE --reason R); what that one was trusted for, another machine may have had.',
  counter_rollback: `The TPM was cleared, or restored from a snapshot: find out by whom; then say that it is still the right one: ${approve}`,
  clone_suspected: `Two machines answer as one: find both before you trust either; then ${approve}`,
  clock_rewind: `The machine is at an earlier moment of the same boot, as a restored snapshot is: see who restored it; then say that it is still the right one: ${approve}`,
  tpm_firmware: `If the TPM’s firmware was not updated on purpose, take the node out of service; if it was, say so: ${approve}`,
};
