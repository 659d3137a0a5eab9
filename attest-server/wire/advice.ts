import { classOf, type ReasonClass, type ReasonCode } from './reasons.ts';

/**
 * The next step for a person, in lines: a line of prose is one step or one alternative; a line that begins with two blanks is
 * a command of the step above it, alone on its line. Words in capitals stand for what only the caller of `adviceOn` knows.
 */
export type Advice = string;

/** The node that advice is for, as far as it is known. */
export interface AdviceContext {
  readonly node?: string | null;
  /** The group of the policy that it was judged by. */
  readonly group?: string | null;
  /** SHA-256 of its endorsement key. */
  readonly ek?: string | null;
  /** Digest of its kept evidence. */
  readonly evidence?: string | null;
  /** For a reference of its boot: one that no other has. */
  readonly name?: string | null;
  /** The reference that its boot was compared with. */
  readonly reference?: string | null;
  /** Digest of a file that it ran, in hex. */
  readonly file?: string | null;
  /** The signed directory that says what a reference is which is not in force; null: people say it here. */
  readonly declaredIn?: string | null;
  /** Path of a file in its initrd. */
  readonly path?: string | null;
  /** Another node that is enrolled with its TPM. */
  readonly twin?: string | null;
}

/** How an operator says that a TPM is the right one. */
export const approveNode = [
  'On the machine, read the digest of its TPM (docs/first-node.md shows how). If it is the same as this one, approve it:',
  '  assay enrol approve NODE --ek EK_DIGEST',
].join('\n');

const otherParts = [
  'The parts of the evidence do not belong together: somebody changed it after the TPM signed it. If it is a file, export it again:',
  '  assay bundle NODE -f NODE.json',
  'If that is refused too, or if a node sent it, take the node out of service.',
].join('\n');

const foreignKey =
  'No agent makes such a key, and this key can sign what no TPM measured. Take the node out of service, and find out what runs there in place of the agent.';

/** How an operator sees what was refused to a node. */
const refusals = ['The audit log says when:', '  assay audit list --node NODE --since 1d'].join('\n');

const unread = [
  'If the severity is info, the policy does not demand the missing proof: there is nothing to do.',
  'Otherwise check on the node that the agent can read what is listed under actual, and that the machine is not overloaded. The state recovers by itself once it can be read.',
  'If the reason stays, or if the node was untrusted before, treat the node as untrusted: anybody who controls the agent can fake this reason.',
].join('\n');

/** About what is refused before it is judged, and what the server says itself. */
const byCode: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  evidence_overdue: [
    'Check that the node is up and its agent runs. The log of the agent says whether it reaches the server and its TPM. On the node:',
    '  systemctl status assay-agent',
    '  journalctl -u assay-agent -n 20',
    'If a separate program holds the TPM, check that too:',
    '  systemctl status assay-tpm-broker',
    'If the node’s agent is a pod, check that it is ready, and read its log:',
    '  kubectl --namespace assay-agents get pods --output wide --field-selector spec.nodeName=NODE',
    'If the agent runs, the server may refuse its evidence. The audit log has the codes of these refusals:',
    '  assay audit list --node NODE --since 1d',
  ].join('\n'),
  server_fault:
    'Nothing is wrong with the node: the server could not judge or store its answer. See /readyz and the log of the server. The state recovers by itself.',
  evidence_raced: 'Wait: this usually passes. If it stays, find out what keeps extending PCRs.',
  facts_unavailable: unread,
  fw_unreadable: [
    'If a separate program reads the rules, check on the node that it runs; in a pod it is the container netfilter:',
    '  systemctl status assay-netfilter',
    unread,
  ].join('\n'),
  enrolment_pending: [
    'See which TPMs wait for an approval, with their digests:',
    '  assay enrol list',
    'If one waits for this name, compare its digest with that of the TPM in the machine (docs/first-node.md shows how), and approve it with that digest.',
    'If none waits, check that the agent runs on the node.',
  ].join('\n'),
  trial_enrolment: [
    approveNode,
    'If it is a software TPM, or another machine should have this name, free the name:',
    '  assay enrol revoke NODE --reason "it enrolled on trial"',
  ].join('\n'),
  unsupported_tpm: [
    'Check that the TPM is switched on in the firmware setup and that /dev/tpmrm0 exists.',
    'If the machine has none, say so in the policy: put it into a group with `tpm: absent` (docs/policy.md). It is `unsupported` then, and raises no alert.',
    'If you only want to try Assay, docs/trial.md shows how machines without a TPM do that.',
  ].join('\n'),
  weak_bank: [
    'In the firmware setup, switch on the SHA-256 bank and each other bank that the node had at enrolment.',
    'If somebody switched one off on purpose, revoke the enrolment, and enrol the node again:',
    '  assay enrol revoke NODE --reason "its PCR banks were changed on purpose"',
  ].join('\n'),
  channel_binding: 'Let agents reach the server directly: a TLS proxy between them breaks the proof.',
  ak_mismatch:
    'Another TPM answers in this node’s name: find out whether the machine or its TPM was replaced.',
  ek_already_bound:
    'This name or TPM is already enrolled: find out whether the machine was exchanged or copied.',
  identity_claim_mismatch: [
    'If its TPM is enrolled under another name, find out which machine claims this name.',
    'If another node shows the same system UUID, find out which of the two is that machine, or whether their maker gave both the same.',
    'If agent and kubelet name two system UUIDs, find out whether this is the machine behind the Node. Some firmware shows them two for one machine: then the policy may give this code the severity info.',
  ].join('\n'),
  token_rejected: [
    'If the node joins by a join token, make a new one:',
    '  assay join-token create --node NODE --ttl 1h',
    'In a cluster, check that clusterTokenFile of the agent names a projected token of its own service account, with the audience assay, on this node. The server’s log says what is wrong with it.',
  ].join('\n'),
  ek_untrusted_root: [
    'Trust the root of the TPM’s maker: with endorsementRoots at the server, with --trust-roots offline.',
    'Or pin the key: write a file with the line NODE,SHA-256 of TPMT_PUBLIC in hex, and import it:',
    '  assay ek import FILE',
  ].join('\n'),
  malformed: [
    'If it is a file, check that it is a bundle, or export it again:',
    '  assay bundle NODE -f NODE.json',
    'If a node sent it, check that agent and server have the same version. If they have, take the node out of service.',
  ].join('\n'),
  sig_invalid: otherParts,
  pcr_digest_mismatch: otherParts,
  ak_name_mismatch: otherParts,
  not_tpm_generated: otherParts,
  wrong_attest_type: otherParts,
  ak_attributes: foreignKey,
  ak_hierarchy: foreignKey,
  weak_key: [
    'Signatures with such a key can be forged: update the TPM’s firmware, or replace the TPM.',
    'If other machines of this model have better keys, take the node out of service.',
  ].join('\n'),
  ek_cert_key_mismatch:
    'The certificate was made for another TPM. Find out whether this machine’s board or TPM was replaced, and do not approve the node before you know.',
  pcr_selection:
    'The quote covers other PCRs than the server asked for. Check that agent and server have the same version. If they have, take the node out of service.',
  too_large: [
    'If it is a file, check that it is the right one.',
    'If the share of the node is spent, it answers too often, or sends too much: find out what its agent does (docs/connections.md).',
    'If too many other answers were waiting to be judged, the node retries by itself: nothing is wrong with it.',
    'If a node sent it, reboot the node: that starts its logs again. If it happens again, take the node out of service.',
    'If the server says that its share of the disk is full, raise nodeDiskMiB, or erase its evidence, and enrol it again:',
    '  assay enrol revoke NODE --erase-evidence --reason "its share of the disk is full"',
  ].join('\n'),
  nonce_invalid: [
    'This evidence is old or belongs to somebody else. If it is yours, export the bundle again:',
    '  assay bundle NODE -f NODE.json',
  ].join('\n'),
  nonce_stale: [
    'A single late answer means that the machine, TPM or network was slow: the node is asked again.',
    'If it goes on, find out what keeps agent or TPM busy, or raise answerWithinSeconds of the server.',
    'If nothing does, take the node out of service: it answers earlier challenges.',
  ].join('\n'),
  role_denied: [
    'If a person or a program was refused, see whose token it is. It needs another role; where approvals are separate, another person must decide:',
    '  assay whoami',
    'If a node was refused, check that agent and server have the same version. If they have, take the node out of service.',
  ].join('\n'),
  key_withheld: [
    'The node gets a key once its identity and boot are affirmed, and policy, network and people allow it. The sentence beside this code, in `assay why` and in the audit log, says which of these is missing.',
    'Correct that. The node asks again by itself until its time is over; after that, restart it.',
  ].join('\n'),
  key_subject_mismatch: [
    'Compare the UUID that the node asks for (ASSAY_UNLOCK_VOLUME in /etc/default/assay-unlock-*) with those of its volumes:',
    '  assay disk list -o wide',
    'If it is right, the volume belongs to another node, or to another TPM. If the disk was moved on purpose, open it with its recovery passphrase. If the board or its TPM was exchanged, the volume has to be bound to the new one, too (docs/disk-keys.md#replace-a-key).',
    `If nobody moved it, somebody on this node asks for a key that is not its own. Take it out of service. ${refusals}`,
  ].join('\n'),
  lease_consumed: [
    'This boot has opened its volumes, and gets no more keys. If a volume must be opened again, reboot the node:',
    '  systemctl reboot',
    `If nobody tried to open one, whoever asked is root on the node. Take it out of service. ${refusals}`,
  ].join('\n'),
  lease_exhausted: [
    'This boot got the key five times, and did not open the volume. See on the node why not, and reboot it: each boot may ask five times.',
    "  journalctl --boot --unit 'systemd-cryptsetup@*'",
    'Until then the volume opens with its recovery passphrase.',
  ].join('\n'),
  root_unmeasured: [
    'Boot from a root file system that dm-verity checks, with its root hash on the command line that is measured.',
    'If whoever can write to the disk offline may get this node’s keys, write keys: {allowUnmeasuredRoot: true} into its group of the policy. Check the file:',
    '  assay policy check policy.yaml',
  ].join('\n'),
  escrow_missing: [
    'Nothing was formatted, because nobody could recover the volume. Make a recovery identity on a machine that is neither server nor node (age-keygen -o recovery.key), and keep it safe.',
    'Write the recipient that it prints into the policy (keys.recoveryRecipients), and check the file:',
    '  assay policy check policy.yaml',
  ].join('\n'),
  key_cycle: [
    'The server is on this node or volume, and could not start to release its key. On the node, see what is on which volume:',
    '  lsblk --paths --fs',
    'Move the server or its storage elsewhere, or have the volume opened without it, by its TPM alone or by a passphrase.',
  ].join('\n'),
  evidence_erased:
    'You need to do nothing. Evidence is kept for the server’s evidenceDays, for a change of state for transitionEvidenceDays, while the node’s share of the disk has room; or a person erased it. Bundles and backups that you made before still have it.',
  latched: [
    'Require at least as much as before: for groups under the latch, mode and require only grow. See which these are:',
    '  assay trust status',
  ].join('\n'),
  label_tamper: [
    'Nothing is known against the node, and the marks are restored. Find out who changed them: the cluster API’s audit log has that. This one says when:',
    '  assay audit list --node NODE --action marks.tamper',
    'If the node must work although it is not trusted, exempt it for a time:',
    '  assay exempt NODE --reason "what it is for" --for 2h',
  ].join('\n'),
  audit_rollback: [
    'If you restored a copy of the database, say so; entries after the copy are lost (docs/backup.md):',
    '  assay audit resolve --reason "restored the backup of Monday"',
    'If nobody did, somebody replaced the database or rewrote the log. Keep the state folder as it is, and compare it with a witness:',
    '  assay audit verify --checkpoint FILE',
  ].join('\n'),
};

const byClass: Readonly<Record<ReasonClass, Advice>> = {
  drift: [
    'If the change is wanted, and you vouch for this node, capture a new reference from it, and approve that:',
    '  assay reference capture NODE --name NEW_NAME --staged',
    '  assay reference approve NEW_NAME --reason "its boots are wanted"',
    'If not, treat the node as changed.',
  ].join('\n'),
  posture: 'Change the node so that it meets the policy, or change the policy on purpose.',
  service: 'Check that the node, its agent and its TPM work. The state recovers by itself.',
  failed: 'A proof failed: take the node out of service until you know whether it lies or is broken.',
};

/**
 * The next step for a code that no aspect knows better, complete as far as the node is known. The advice of an aspect on its
 * own codes is in `policy`, and travels with each reason.
 */
export function adviceOn(code: ReasonCode, known: AdviceContext = {}, own?: Advice): Advice {
  const advice = own ?? byCode[code] ?? byClass[classOf(code)];
  const isForNode = known.node !== undefined && known.node !== null;
  const words = wordsOf(known);
  return stepsOf(advice)
    .filter((step) => !isForNode || optional.every((word) => words[word] !== null || !step.includes(word)))
    .join('\n')
    .replace(anyWord, (word) => words[word] ?? word);
}

function wordsOf({
  node,
  group,
  ek,
  evidence,
  name,
  reference,
  file,
  path,
  twin,
}: AdviceContext): Record<string, string | null> {
  return {
    NODE: node ?? null,
    GROUP: group ?? null,
    EK_DIGEST: ek ?? null,
    EVIDENCE: evidence?.slice(0, 12) ?? null,
    NEW_NAME: name ?? null,
    REFERENCE: reference ?? null,
    FILE_DIGEST: file ?? null,
    FILE_PATH: path === null || path === undefined ? null : nodeWord(path),
    TWIN: twin ?? null,
  };
}

/** A step that needs one of these is no step for a node of which it is not known. */
const optional = ['EVIDENCE', 'REFERENCE', 'FILE_DIGEST', 'FILE_PATH', 'TWIN'] as const;
const anyWord = /\b(?:NODE|GROUP|EK_DIGEST|EVIDENCE|NEW_NAME|REFERENCE|FILE_DIGEST|FILE_PATH|TWIN)\b/g;

/** Each line of prose with the commands below it. */
function stepsOf(advice: Advice): readonly string[] {
  return advice.split(/\n(?! {2})/);
}

/** The steps of several pieces of advice, each once. */
export function joinedAdvice(all: readonly Advice[]): Advice {
  return [...new Set(all.flatMap(stepsOf))].join('\n');
}

/** A line of advice that is a command. */
export function isCommand(line: string): boolean {
  return line.startsWith('  ');
}

/** A text of our own people as one word of a command, whatever a shell would make of it. */
export function shellWord(text: string): string {
  return /^[\w@%+:,./-][\w@%+=:,./-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * A node's own text as one word of a command. Without a word, for text that a shell could read otherwise than a person, the
 * command is left out.
 */
export function nodeWord(text: string): string | null {
  return /^[\x20-\x7e]+$/.test(text) ? shellWord(text) : null;
}
