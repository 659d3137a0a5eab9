import { type Bundle, type EarlierBundle, parseBundle } from '../../attest-server/formats/bundle.ts';
import { DigestList } from '../../attest-server/formats/digest-list.ts';
import { atOnce } from '../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../attest-server/formats/reference.ts';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { captureRuntime } from '../../attest-server/policy/runtime/capture.ts';
import { knownFile } from '../../attest-server/verify/boot/loader-files.ts';
import { verifyBundleEvidence } from '../../attest-server/verify/bundle-evidence.ts';
import { hashPart } from '../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../attest-server/verify/measured-boot.ts';
import { fileList } from '../../attest-server/wire/loader-files.ts';
import type { PcrValues } from '../../attest-server/wire/pcr-values.ts';
import { filesOf, withMadeFiles } from '../../swtpm-fixtures/loader-files.ts';
import { siblingLog } from '../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import type { Attack } from './attacks.ts';
import { evidenceOf, type Moment } from './evidence.ts';
import { withoutKernel } from './log-surgery.ts';
import { narrowPolicy, ran, revokedFile, rulesOfRuntime } from './runtime-attacks.ts';

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
  runtime,
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
    policy: policyOf(boot, runtime),
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
  const isOfUsual = folder in written || folder in several;
  const [recorded = '', made] = (isOfUsual ? usual : folder).split('+');
  return made === undefined ? recordedLog(recorded) : withMadeFiles(recordedLog(recorded));
}

function policyOf(rule: string | undefined, runtime: readonly string[] | undefined): string {
  return [
    'apiVersion: assay.dev/v1',
    'kind: Policy',
    'groups:',
    '  - name: workers',
    '    nodes: ["worker-*"]',
    `    require: [${runtime === undefined ? 'boot' : 'boot, runtime'}]`,
    '    boot:',
    '      references: [good]',
    ...(rule === undefined ? [] : [`      ${rule}`]),
    ...(runtime === undefined ? [] : ['    runtime:', ...runtime.map((each) => `      ${each}`)]),
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
  'with-aggregate': () => ({ ...referenceOf(recordedLog(usual)), aggregate: 'required' }),
  'without-kernel': () => referenceOf(withoutKernel(recordedLog(usual))),
};

/** Folders with more than the reference of the boot. */
const several: Readonly<Record<string, () => readonly Reference[]>> = {
  'revoked-initrd': () => {
    const another = tamper(siblingLog(recordedLog(usual), { initrd: true }), 'kernel');
    return [{ ...referenceOf(another), name: 'old', state: 'revoked' }];
  },
  runtime: () => {
    const moment = { log: recordedLog(usual), ima: { shown: ran } };
    const bundle = parseBundle(JSON.stringify(evidenceOf(moment)));
    const [group] = parsePolicy(policyOf(undefined, [rulesOfRuntime]), 'policy.yaml').groups;
    if (group === undefined) throw new Error('the policy has no group');
    const proven = verifyBundleEvidence(bundle, null);
    const files = atOnce(captureRuntime(proven, { ...captured, name: 'files', group }));
    const { digest, path } = revokedFile;
    const old = DigestList.of([{ digest, path, package: 'once-good_1.0' }]);
    const covers = ['exec'] as const;
    const policy = {
      digest: narrowPolicy.digest.toString('hex'),
      covers: [...covers],
      description: 'programs alone',
    };
    return [
      {
        ...files,
        runtime: { ...runtimeOf(DigestList.of([{ ...narrowPolicy, package: null }])), policies: [policy] },
        name: 'policies',
      },
      files,
      { ...files, runtime: runtimeOf(old), name: 'old', state: 'revoked' },
    ];
  },
};

function runtimeOf(list: DigestList): NonNullable<Reference['runtime']> {
  return { files: list.toBytes().toString('base64'), count: list.fileCount };
}

/** @param folder name of a folder of references: of a recorded boot, or of one of those above */
export function referencesIn(folder: string): readonly Reference[] {
  if (folder in several) return [referenceOf(recordedLog(usual)), ...(several[folder]?.() ?? [])];
  return [written[folder]?.() ?? referenceOf(baseLog(folder))];
}

const captured = { state: 'active', by: 'token:operator', node: 'worker-1', at: capturedAt } as const;

/** What a person captures who vouches for this boot. */
export function referenceOf(log: Buffer): Reference {
  const values = replayedValues(log, 'sha256');
  const bank: PcrValues = { bank: 'sha256', mask: 0xffffff, values };
  const files = [...filesOf(log).values()].map((file) => knownFile(file));
  const boot = replayBoot(hashPart(log), [bank], null, { digest: null, files });
  return captureReference({ banks: [bank], boot }, { ...captured, name: 'good', group: 'workers' });
}
