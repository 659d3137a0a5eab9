import type { Advice } from '../../wire/advice.ts';
import type { ReasonCode } from '../../wire/reasons.ts';

/** A list is imported for review: until it is approved it knows nothing. */
const list = [
  '  assay reference runtime --from-dpkg /var/cache/apt/archives --name NEW_NAME-files --group GROUP -f NEW_NAME-files.json',
  '  assay reference import NEW_NAME-files.json',
];
const leave =
  'If nobody knows where it came from, take the node out of service: a program that ran once may have changed anything.';

/** The next step for a person on what a node ran. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  ima_unknown_file: [
    'The lines below the reason say which file, since when, and which package has other content for it. On the node, find out where it came from.',
    'If it came with an update, make a list of the new packages where apt keeps them, and put it in force beside the old one (docs/runtime.md):',
    ...list,
    '  assay reference approve NEW_NAME-files --reason "the update is wanted"',
    'If you vouch for this one file, allow it alone; --only may be given for each of several:',
    '  assay reference capture NODE --kind runtime --only FILE_DIGEST --name NEW_NAME-file --staged',
    '  assay reference approve NEW_NAME-file --reason "its files are wanted"',
    leave,
  ].join('\n'),
  ima_denied_file: [
    'The policy denies this file under runtime.deny, even if a reference has it. Find out who ran it, and what it did.',
    'The list never gets shorter: the node stays untrusted until it boots again. If the file was denied by mistake, remove it from the policy.',
    'Otherwise take the node out of service.',
  ].join('\n'),
  ima_violation: [
    'A file was open for writing while the kernel measured it, so that nobody knows what was read. Logs and databases that root reads do this all the time.',
    'If it is one of these, name it under runtime.violationsExcept of the group. If it is a program or a library, find out who wrote to it.',
    'The list never gets shorter: the reason stays until the node boots again, or the policy excepts the file.',
  ].join('\n'),
  ima_malformed: [
    'No kernel writes such a list: it was changed, or belongs to another machine. The text names entry and field.',
    'Reboot the node: that starts its list again. If it happens again, take the node out of service.',
  ].join('\n'),
  ima_incomplete: [
    'If the node never sent a list, its kernel measures nothing: switch IMA on with ima_policy="tcb|critical_data" on the command line of the kernel, and reboot the node (docs/runtime.md).',
    'If it did, something keeps the agent from reading it, or the list does not lead to the TPM’s value: read the agent’s log, and check that it reads /sys/kernel/security.',
    'If it is longer than the server keeps (imaListMiB of its configuration), raise that, or reboot the node.',
    'If the list does not fit the TPM’s value, a program other than the kernel extended PCR 10, or entries were left out: take the node out of service until you know which.',
  ].join('\n'),
  ima_policy_weak: [
    'See what is missing under expected and actual. The kernel’s own policies cover all of it with ima_policy="tcb|critical_data" on its command line.',
    'A policy file of your own must be in a reference, with what it covers (docs/runtime.md):',
    '  assay reference runtime --policy /etc/ima/ima-policy --name NEW_NAME-policy --group GROUP -f NEW_NAME-policy.json',
    '  assay reference import NEW_NAME-policy.json',
    '  assay reference approve NEW_NAME-policy --reason "our IMA policy"',
    'If the group needs less, say so under runtime.policy.covers. What is not measured is not proven.',
  ].join('\n'),
  revoked_reference: [
    'The node ran a revoked file that no reference in force has. Update its package, and reboot the node, which starts its list again.',
    'If the revocation was a mistake, take it back:',
    '  assay reference restore REFERENCE --reason "revoked by mistake"',
  ].join('\n'),
  no_reference: [
    'Make a list of what the nodes may run, from the folder of their packages, and put it in force (docs/runtime.md):',
    ...list,
    '  assay reference approve NEW_NAME-files --reason "the packages of these nodes"',
    'Or capture the files of a node that you vouch for:',
    '  assay reference capture NODE --kind runtime --name NEW_NAME-files',
  ].join('\n'),
};
