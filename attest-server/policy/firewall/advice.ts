import type { Advice } from '../../wire/advice.ts';
import type { ReasonCode } from '../../wire/reasons.ts';

const setBack =
  'Find out who changed the rules. If nobody should have, restore them, and find out what else was done on the node.';

/** The next step for a person on the firewall of a node. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  fw_drift: [
    'The lines below the reason say what changed: + is new on the node, - is gone.',
    setBack,
    'If the change is right, make a reference of it, from a node that has it, and approve that:',
    '  assay reference capture NODE --kind firewall --name NEW_NAME-firewall --staged',
    '  assay reference approve NEW_NAME-firewall --reason "its rules are wanted"',
  ].join('\n'),
  fw_missing_chain: [
    'A chain that keeps packets out, or leads to one that does, is gone. Restart the program that loads the rules.',
    setBack,
  ].join('\n'),
  fw_policy_open: [
    'Packets come in that the baseline or the policy keeps out; the lines below the reason say by which rule.',
    setBack,
    'If this is intended, change firewall.forbid of the group, or the baseline.',
  ].join('\n'),
  dual_tables: [
    'There are rules in both nf_tables and iptables-legacy, and a listing of one shows only half. Find out which program writes which.',
    'Move all of them to one kind, and delete the tables of the other.',
  ].join('\n'),
  revoked_reference: [
    'The node has revoked rules. Give it the rules of a reference in force.',
    'If the revocation was a mistake, take it back:',
    '  assay reference restore REFERENCE --reason "revoked by mistake"',
  ].join('\n'),
  no_reference: [
    'Capture the rules of a node that you vouch for:',
    '  assay reference capture NODE --kind firewall --name NEW_NAME-firewall',
    'Or write them: a file of kind firewall with the text of iptables-save or nft -j (docs/firewall.md), and import it:',
    '  assay reference import FILE',
  ].join('\n'),
};
