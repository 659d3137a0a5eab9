import type { Finding } from '../finding.ts';

/**
 * Whether both are the UUID of one machine. Firmware older than SMBIOS 2.6 wrote the first three fields in the other byte
 * order, and programs differ in how they take that (SMBIOS 3.7, section 7.2.1). True if one of them is no UUID.
 */
export function isSameMachine(a: string, b: string): boolean {
  const [one, other] = [digitsOf(a), digitsOf(b)];
  return one === null || other === null || one === other || swapped(one) === other;
}

/** @param known of its Node; both are the word of programs on the machine, the kubelet and the agent */
export function otherMachine(known: string, shown: string): Finding {
  return {
    code: 'identity_claim_mismatch',
    aspect: 'identity',
    source: 'host',
    severity: 'warn',
    expected: `the system UUID ${known.slice(0, 64)}, as the kubelet of this node says`,
    actual: shown,
    text: 'The agent and the kubelet of this node name two machines: their system UUIDs differ.',
    evidence: null,
  };
}

/** @param others nodes that show it too; that is what firmware of one batch does, or one of them is not the machine that it says */
export function sharedUuid(uuid: string, others: readonly string[]): Finding {
  const shown = others.slice(0, mostShown).join(', ');
  const more = others.length > mostShown ? ' and more' : '';
  return {
    code: 'identity_claim_mismatch',
    aspect: 'identity',
    source: 'host',
    severity: 'warn',
    expected: 'a system UUID that no other node has',
    actual: uuid,
    text: `This node and ${shown}${more} name one machine: they show the same system UUID.`,
    evidence: null,
  };
}

const mostShown = 4;

function digitsOf(uuid: string): string | null {
  const digits = uuid.trim().toLowerCase().replaceAll('-', '');
  return /^[0-9a-f]{32}$/.test(digits) ? digits : null;
}

function swapped(digits: string): string {
  const reversed = (from: number, to: number) =>
    (digits.slice(from, to).match(/../g) ?? []).toReversed().join('');
  return `${reversed(0, 8)}${reversed(8, 12)}${reversed(12, 16)}${digits.slice(16)}`;
}
