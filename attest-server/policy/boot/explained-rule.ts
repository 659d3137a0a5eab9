import type { BootComponent } from '../../verify/boot/boot-state.ts';
import type { Finding } from '../finding.ts';
import { comparedBanks } from './compared-pcrs.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import { ruleFinding } from './rule-finding.ts';
import type { BootRules } from './rules.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** `explained` of a policy: every event of these PCRs is of a known type and recomputed, or is in a reference. */
export function explainedFinding(
  boot: VouchedBoot,
  { explained }: BootRules,
  references: readonly PreparedReference[],
): Finding | null {
  if (explained.length === 0) return null;
  const pcr = explained.find((one) => !boot.vouches(one));
  if (pcr !== undefined) {
    const text = `The policy wants every event of PCR ${pcr} to be known, but the log does not replay onto it, or it was not quoted.`;
    return ruleFinding(boot, 'unverified_event', null, `PCR ${pcr} explained`, null, text);
  }
  const unknown = boot.state.components.find(
    (one) => explained.includes(one.pcr) && !isRecomputed(one) && !isReferenced(boot, one, references),
  );
  if (unknown === undefined) return null;
  const { event, type, describes } = unknown;
  const text = `Event ${event} in PCR ${unknown.pcr} (${describes || type}) is in no reference and cannot be recomputed, but the policy wants every event of this PCR to be known.`;
  return ruleFinding(boot, 'unverified_event', event, 'a known event', describes || type, text);
}

/** Variables of PCR 14 are measured by their value alone, which the log does not hold. */
function isRecomputed({ pcr, type, kind, text }: BootComponent): boolean {
  if (type.startsWith('0x')) return false;
  return kind === 'marker' || text !== null || ((kind === 'variable' || kind === 'authority') && pcr !== 14);
}

function isReferenced(
  boot: VouchedBoot,
  component: BootComponent,
  references: readonly PreparedReference[],
): boolean {
  return references.some(
    ({ components }) =>
      referencedComponent(components, component, boot.texts) !== null ||
      comparedBanks.some((bank) => components.recorded.has(component.digests[bank] ?? '')),
  );
}
