import { classOf, type ReasonClass, type ReasonCode } from './reasons.ts';

/** How an operator says that a TPM is the right one. */
export const approveNode =
  'assay enrol approve NODE --ek DIGEST, with the digest that its TPM gives on the machine (docs/first-node.md shows how).';

const otherParts =
  'The parts of the evidence do not belong together: it was changed after the TPM signed it. A file: export it again (assay bundle NODE); if that is refused too, take the node out of service.';

const foreignKey =
  'No agent makes such a key, and what it signs need not come from the TPM: take the node out of service, and see what runs there in place of the agent.';

const unread =
  'At severity info a proof is missing that the policy does not demand: nothing need be done. Else, under actual stands what the agent could not read: see on the node whether the file is there and the agent may read it, and whether the machine is overloaded. It passes by itself once it can be read; if it stays, or if the node was untrusted before, treat the node as untrusted: who controls the agent can say this, too.';

/** About what is refused before it is judged, and what the server says itself; `NODE` stands for the node's name. */
const byCode: Readonly<Partial<Record<ReasonCode, string>>> = {
  evidence_overdue:
    'See whether the node is up, its agent runs, and it reaches the server on the agents’ port. If so, the server may refuse what it sends: assay audit export - | grep NODE shows the codes of its refusals.',
  server_fault:
    'Nothing is wrong with the node: the server could not judge or store what it proved. See /readyz and the log of the server; the state comes back by itself.',
  evidence_raced: 'Nothing, if it passes; if it stays, look for what extends PCRs all the time.',
  facts_unavailable: unread,
  fw_unreadable: unread,
  enrolment_pending: `See which TPMs wait (assay enrol list), compare the digest on the machine, and approve it: ${approveNode} If none waits, see whether the agent runs on the node.`,
  unsupported_tpm: 'See whether the TPM is switched on in the firmware setup and /dev/tpmrm0 exists.',
  weak_bank:
    'Switch the SHA-256 bank, and each bank with which the node was enrolled, on in the firmware setup; if one was switched off on purpose, revoke the enrolment and enrol the node again.',
  channel_binding:
    'Let agents reach the server directly: a proxy that ends TLS between them breaks the proof.',
  ak_mismatch: 'Another TPM answers in this node’s name: see whether the machine or its TPM was exchanged.',
  ek_already_bound: 'This name or TPM is enrolled already: see whether the machine was exchanged or copied.',
  identity_claim_mismatch: 'See which machine claims this name; its TPM is enrolled under another.',
  token_rejected: 'Make a new join token: assay join-token create --node NODE --ttl 1h.',
  ek_untrusted_root:
    'Trust the vendor’s root (endorsementRoots of the server, --trust-roots offline), or pin the key: assay ek import FILE.',
  malformed:
    'What came cannot be read. A file: see whether it is a bundle (assay bundle NODE exports one). A node’s answer: see whether agent and server are of one version; if they are, take the node out of service.',
  sig_invalid: otherParts,
  pcr_digest_mismatch: otherParts,
  ak_name_mismatch: otherParts,
  not_tpm_generated: otherParts,
  wrong_attest_type: otherParts,
  ak_attributes: foreignKey,
  ak_hierarchy: foreignKey,
  weak_key:
    'Signatures with such a key can be forged: update the firmware of the TPM, or exchange it; if other machines of this model have better keys, take the node out of service.',
  ek_cert_key_mismatch:
    'The certificate was made for another TPM: see whether the board or the TPM of this machine was exchanged, and do not approve the node before you know.',
  pcr_selection:
    'Not the PCRs that were asked for are signed: see whether agent and server are of one version; if they are, take the node out of service.',
  too_large:
    'More came than is taken. A file: see whether it is the right one. A node: reboot it, which begins its logs anew; if it happens again, take the node out of service.',
  nonce_invalid: 'Old or foreign evidence was sent. If it is yours, export the bundle again.',
};

const byClass: Readonly<Record<ReasonClass, string>> = {
  drift:
    'If the change is wanted, capture a new reference from a node you vouch for; if not, treat the node as changed.',
  posture: 'Bring the node back to what the policy asks, or change the policy on purpose.',
  service: 'See whether the node, its agent and its TPM work; the state follows by itself.',
  failed: 'A proof failed: take the node out of service until you know whether it lies or is broken.',
};

/**
 * What a person does next about a code that no aspect knows better; in its commands stand the names of the node and of
 * the reference, where they are known. What an aspect says of its own codes is in `policy`, and travels with each reason.
 */
export function adviceOn(
  code: ReasonCode,
  node: string | null = null,
  own?: string,
  reference = 'NAME',
): string {
  const step = own ?? byCode[code] ?? byClass[classOf(code)];
  const named = node === null ? step : step.replaceAll('NODE', () => node);
  return named.replaceAll('REFERENCE', () => reference);
}
