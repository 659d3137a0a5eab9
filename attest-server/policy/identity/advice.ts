import { type Advice, approveNode as approve } from '../../wire/advice.ts';
import type { ReasonCode } from '../../wire/reasons.ts';

/** The next step for a person on a TPM and where it is in time. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  identity_unproven: [
    'If the policy requires another class of TPM, change the group of the node or the tpmClass of the group, or trust the root that endorses this TPM (endorsementRoots of the server).',
    `If nobody has vouched for its key yet, do so. ${approve}`,
    'Offline, name the authorities that endorse TPMs with --trust-roots.',
  ].join('\n'),
  ek_already_bound: [
    'Two nodes are enrolled with the same TPM. Find out which machine has it. If it is this one, revoke the other:',
    '  assay enrol revoke TWIN --reason "its TPM is that of NODE"',
    'If it is the other one, revoke this one:',
    '  assay enrol revoke NODE --reason "its TPM is that of TWIN"',
    'While both were enrolled, the wrong machine may have been trusted: check what it had access to.',
  ].join('\n'),
  counter_rollback: [
    'The TPM was cleared, or restored from a snapshot. Find out who did it, and whether it is still the right TPM.',
    approve,
  ].join('\n'),
  clone_suspected: [
    'Two machines answer with the same TPM: find both before you trust either.',
    approve,
  ].join('\n'),
  clock_rewind: [
    'The machine returned to an earlier moment of the same boot, as a restored snapshot does. Find out who restored it, and whether it is still the right machine.',
    approve,
  ].join('\n'),
  tpm_firmware: [
    'If the TPM’s firmware was updated on purpose, there is nothing to do: this reason stays until the node boots again.',
    `To end it sooner, or if the policy gives this code a severity, approve the key again. ${approve}`,
    'If it was not, or is older than before, take the node out of service, and make the policy refuse that version (boot.tpmFirmware.deny).',
  ].join('\n'),
};
