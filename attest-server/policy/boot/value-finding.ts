import type { Finding } from '../finding.ts';
import { strongestDigest } from './compared-pcrs.ts';
import { referencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * Reported beside a boot that is as referenced: values that the log does not explain. Null if nothing is compared by value.
 * @param references of which one has the value
 */
export function valueFinding(boot: VouchedBoot, references: readonly PreparedReference[]): Finding | null {
  const { digest, values, texts } = boot;
  const [first] = values;
  if (first === undefined) return null;
  const known = references.find(
    ({ strict, components }) => strict || referencedComponent(components, first, texts) !== null,
  );
  // Reported if the policy accepts any firmware.
  if (known === undefined) return null;
  const { name } = known.reference;
  const pcrs = values.map(({ pcr }) => pcr).join(', ');
  const value = `PCR ${first.pcr} ${strongestDigest(first.digests)}`;
  return {
    code: 'unverified_event',
    aspect: 'boot',
    source: 'tpm',
    severity: 'info',
    expected: value,
    actual: value,
    text: `The log does not replay onto PCR ${pcrs}, so the policy compares the value (byValue): reference ${name} has it. Nobody can tell of which parts this firmware is.`,
    evidence: { digest, position: `PCR ${first.pcr}` },
    reference: name,
  };
}
