import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { type Bundle, type EarlierBundle, parseBundle } from '../../attest-server/protocol/bundle.ts';
import type { PcrValues } from '../../attest-server/protocol/pcr-values.ts';
import type { Reference } from '../../attest-server/protocol/reference.ts';
import { hashPart } from '../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../attest-server/verify/measured-boot.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import type { Attack } from './attacks.ts';
import { evidenceOf } from './evidence.ts';

/** Evidence, what it is judged by, and what a correct verifier answers. */
export interface Vector {
  readonly name: string;
  readonly bundle: Bundle | EarlierBundle;
  readonly policy: string;
  readonly expected: Expected;
}

/** `expected.json` of a vector. */
export interface Expected extends Pick<Attack, 'rows' | 'attack' | 'made'> {
  /** Folder of reference values beside the vectors. */
  readonly references: string;
  readonly state: Attack['expected']['state'];
  readonly codes: Attack['expected']['codes'];
}

export const capturedAt = Date.UTC(2026, 0, 1);

export function vectorOf({
  name,
  rows,
  attack,
  made,
  base,
  boot,
  sentBootLog,
  version = 1,
  memory,
  moment,
  expected,
}: Attack): Vector {
  const context = { at: new Date(capturedAt).toISOString(), sentBootLog: true };
  const bundle: EarlierBundle = { ...evidenceOf(moment), ...(sentBootLog === true && { context }) };
  const newer = () => {
    const { context: own = { at: context.at }, ...rest } = parseBundle(JSON.stringify(bundle));
    return memory === undefined
      ? { ...rest, ...(sentBootLog === true && { context: own }) }
      : { ...rest, context: { ...own, memory } };
  };
  return {
    name,
    bundle: version === 1 ? bundle : newer(),
    policy: policyOf(boot),
    expected: { rows, attack, made, references: base ?? 'debian13-shim-grub', ...expected },
  };
}

function policyOf(rule: string | undefined): string {
  return [
    'apiVersion: assay.dev/v1',
    'kind: Policy',
    'groups:',
    '  - name: workers',
    '    nodes: ["worker-*"]',
    '    require: [boot]',
    '    boot:',
    '      references: [good]',
    ...(rule === undefined ? [] : [`      ${rule}`]),
    '',
  ].join('\n');
}

/** What a person captures who vouches for this boot. */
export function referenceOf(log: Buffer): Reference {
  const values = replayedValues(log, 'sha256');
  const bank: PcrValues = { bank: 'sha256', mask: 0xffffff, values };
  const boot = replayBoot(hashPart(log), [bank]);
  return captureReference(
    { banks: [bank], boot },
    {
      name: 'good',
      group: 'workers',
      state: 'active',
      by: 'token:operator',
      node: 'worker-1',
      at: capturedAt,
    },
  );
}
