import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { type Bundle, type EarlierBundle, parseBundle } from '../../attest-server/protocol/bundle.ts';
import { fileList } from '../../attest-server/protocol/loader-files.ts';
import type { PcrValues } from '../../attest-server/protocol/pcr-values.ts';
import type { Reference } from '../../attest-server/protocol/reference.ts';
import { knownFile } from '../../attest-server/verify/boot/loader-files.ts';
import { hashPart } from '../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../attest-server/verify/measured-boot.ts';
import { filesOf, withMadeFiles } from '../../swtpm-fixtures/loader-files.ts';
import { siblingLog } from '../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import type { Attack } from './attacks.ts';
import { evidenceOf, type Moment } from './evidence.ts';
import { withoutKernel } from './log-surgery.ts';

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

/** What most vectors are made from. */
const usual = 'debian13-shim-grub';

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
    bundle: version === 1 ? bundle : withFiles(newer(), moment),
    policy: policyOf(boot),
    expected: { rows, attack, made, references: base ?? usual, ...expected },
  };
}

function withFiles(bundle: Bundle, { files = [] }: Moment): Bundle {
  if (files.length === 0) return bundle;
  const byDigest = new Map(files.map((bytes) => [hashPart(bytes).digest, bytes.toString('base64')]));
  const list = fileList(byDigest.keys());
  const loaderFiles = { digest: hashPart(list).digest, bytes: list.toString('base64') };
  return { ...bundle, parts: { ...bundle.parts, loaderFiles }, files: Object.fromEntries(byDigest) };
}

/** The boot behind a folder of references: a recorded one, or one whose files were not recorded and are made up. */
export function baseLog(folder: string): Buffer {
  const [recorded = '', made] = (folder in written || folder === 'revoked-initrd' ? usual : folder).split(
    '+',
  );
  return made === undefined ? recordedLog(recorded) : withMadeFiles(recordedLog(recorded));
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

/** References that no recorded boot was captured as. */
const written: Readonly<Record<string, () => Reference>> = {
  'without-secure-boot': () => {
    const whole = referenceOf(recordedLog(usual));
    const components = whole.components.filter(({ stage }) => stage !== 'secureboot');
    return { ...whole, events: [], components };
  },
  'without-kernel': () => referenceOf(withoutKernel(recordedLog(usual))),
};

/** @param folder name of a folder of references: of a recorded boot, or of one of those above */
export function referencesIn(folder: string): readonly Reference[] {
  if (folder !== 'revoked-initrd') return [written[folder]?.() ?? referenceOf(baseLog(folder))];
  const log = recordedLog(usual);
  const another = tamper(siblingLog(log, { initrd: true }), 'kernel');
  const old: Reference = { ...referenceOf(another), name: 'old', state: 'revoked' };
  return [referenceOf(log), old];
}

/** What a person captures who vouches for this boot. */
export function referenceOf(log: Buffer): Reference {
  const values = replayedValues(log, 'sha256');
  const bank: PcrValues = { bank: 'sha256', mask: 0xffffff, values };
  const files = [...filesOf(log).values()].map((file) => knownFile(file));
  const boot = replayBoot(hashPart(log), [bank], null, { digest: null, files });
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
