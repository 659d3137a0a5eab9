import assert from 'node:assert/strict';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { typeCheck, typeCheckEnvironment } from '../../compiler.ts';
import { endOf } from '../../swtpm-fixtures/end-of.ts';

const root = join(import.meta.dirname, '../../..');
const room = join(root, 'attest-server/verify');

/** What only the room itself makes, of bytes. */
const sealed = [
  'Proven',
  'MeasuredBoot',
  'QuotedBank',
  'QuotedPcrs',
  'SignedQuote',
  'Quote',
  'AttestationKey',
  'HashedPart',
  'Memory',
  'ProvenImaList',
  'ImaCheckpoint',
  'ReadInitrd',
  'ReadManifest',
  'KnownFile',
] as const;

/** Names that each line below may use: real ones, and what anybody can make by hand. */
const given = `
declare const proven: Proven; declare const otherProven: Proven; declare const bank: QuotedBank;
declare const pcrs: QuotedPcrs; declare const boot: MeasuredBoot; declare const signed: SignedQuote;
declare const quote: Quote; declare const ak: AttestationKey; declare const part: HashedPart;
declare const memory: Memory; declare const evidence: Evidence; declare const expected: ExpectedIdentity;
declare const carrier: QuoteEvidence; declare const bytes: Buffer; declare const replayed: ReplayedBoot;
declare const list: ProvenImaList; declare const checkpoint: ImaCheckpoint; declare const tail: ImaTail;
declare const reading: BootReading; declare const answer: SignedAnswer; declare const said: Facts; declare const file: KnownFile;
declare const initrd: ReadInitrd; declare const read: ReadManifest; declare const manifest: InitrdManifest;
declare const values: PcrValues; declare const parts: Parts; declare const bundle: Bundle;
const { banks, measuredDigest } = pcrs; const { digest } = part;
const handBank = { bank: values.bank, mask: values.mask, values: values.values, pcrDigest: '' };
const { akName, ekDigest, clock, firmwareVersion, facts } = proven;
`.replaceAll('\n', ' ');

/** By what it is an attack on: a type of the room, or one of its exported functions. One line, one forgery. */
const forgeries: readonly (readonly [of: string, line: string])[] = [
  [
    'Proven',
    'export const p: Proven = { akName, ekDigest, banks, measuredDigest, clock, firmwareVersion, facts, boot, parts: {} };',
  ],
  ['Proven', 'export const p: Proven = { ...proven };'],
  ['Proven', 'export const p: Proven = { ...proven, banks: otherProven.banks };'],
  ['Proven', 'export const p: Proven = { ...proven, boot: null };'],
  ['Proven', 'export const p: Proven = { ...proven, facts: null };'],
  ['Proven', "export const p: Proven = Object.defineProperty({ ...proven }, 'proven', {});"],
  ['QuotedBank', 'export const b: QuotedBank = handBank;'],
  ['QuotedBank', 'export const b: QuotedBank = { ...bank, values: values.values };'],
  ['QuotedBank', "export const b: QuotedBank = { ...values, pcrDigest: '' };"],
  ['QuotedPcrs', 'export const p: QuotedPcrs = { banks, measuredDigest };'],
  ['QuotedPcrs', 'export const p: QuotedPcrs = { ...pcrs, measuredDigest: otherProven.measuredDigest };'],
  ['MeasuredBoot', 'export const b: MeasuredBoot = replayed;'],
  ['MeasuredBoot', 'export const b: MeasuredBoot = { ...replayed, userSpaceDigest: null };'],
  ['MeasuredBoot', 'export const b: MeasuredBoot = { ...boot, problems: [] };'],
  ['SignedQuote', 'export const s: SignedQuote = { quote, ak };'],
  ['SignedQuote', 'export const s: SignedQuote = { ...signed, quote };'],
  ['Quote', 'export const q: Quote = { ...quote, pcrDigest: digest };'],
  ['AttestationKey', "export const k: AttestationKey = { ...ak, name: '000b' };"],
  ['HashedPart', 'export const h: HashedPart = { digest, bytes };'],
  ['HashedPart', 'export const h: HashedPart = { ...part, bytes };'],
  ['Memory', 'export const m = new Memory();'],
  ['Memory', 'export class Lying extends Memory { override boot() { return boot; } }'],
  [
    'Memory',
    'export const m: Memory = { part: () => part, keep() {}, pcrs: () => pcrs, boot: () => boot, forget() {} };',
  ],
  ['ProvenImaList', 'export const l: ProvenImaList = { ...list };'],
  ['ProvenImaList', 'export const l: ProvenImaList = { ...list, walk() {} };'],
  ['ImaCheckpoint', 'export const c: ImaCheckpoint = { ...checkpoint };'],
  ['ImaCheckpoint', 'export const c: ImaCheckpoint = { ...checkpoint, entries: 0 };'],
  ['ReadInitrd', 'export const i: ReadInitrd = manifest;'],
  ['ReadInitrd', 'export const i: ReadInitrd = { ...initrd, image: manifest.image };'],
  ['ReadManifest', 'export const m: ReadManifest = manifest;'],
  ['ReadManifest', 'export const m: ReadManifest = { ...read, entries: [] };'],
  ['knowingInitrds', 'knowingInitrds(boot, [manifest]);'],
  ['knowingInitrds', 'knowingInitrds(replayed, [initrd]);'],
  [
    'checkInitrds',
    'checkInitrds(undefined, new Map(), { initrds: () => ({ digest, manifests: [initrd], bytes: 0 }) });',
  ],
  [
    'initrdsAtOnce',
    'initrdsAtOnce(undefined, { initrds: () => ({ digest, manifests: [initrd], bytes: 0 }) });',
  ],
  ['Memory', 'memory.keepInitrds({ digest, manifests: [manifest], bytes: 0 });'],
  ['Memory', 'memory.keepManifest(digest, manifest);'],
  ['proveList', 'proveList(tail, [handBank], null);'],
  ['proveList', 'proveList(tail, [values], null);'],
  ['withoutTail', 'withoutTail([handBank], null);'],
  ['withoutTail', 'withoutTail(banks, { before: null, last: { ...checkpoint } });'],
  ['proveList', 'proveList(tail, banks, { before: null, last: { ...checkpoint, bytes: 0 } });'],
  ['verifyInSteps', 'verifyInSteps({ quotes: [carrier], facts: null, parts: {}, ima: list }, expected);'],
  ['Memory', 'memory.keepList(akName, clock, { before: null, last: { ...checkpoint } });'],
  ['Memory', 'memory.pcrs([{ quote, ak }], [carrier]);'],
  ['Memory', 'memory.boot({ digest, bytes }, pcrs, null);'],
  ['Memory', 'memory.boot(part, { banks, measuredDigest }, null);'],
  ['Memory', 'memory.boot(part, proven, null);'],
  ['Memory', 'memory.keep({ digest, bytes });'],
  ['Memory', "memory.ofKey(akName).facts('{}', said);"],
  ['Memory', "memory.facts(akName, { factsLength: 0, hasFacts: () => true, facts: () => said }, '{}');"],
  ['Memory', "memory.keepFile({ digests: { sha256: digest }, content: 'text', lines: null });"],
  ['Memory', "memory.keepFiles({ digest, files: [{ ...file, content: 'text' }] });"],
  ['KnownFile', "export const f: KnownFile = { digests: { sha256: digest }, content: 'text', lines: null };"],
  ['Verifier', 'new Verifier().verify({ quotes: [carrier], facts: null, parts: { boot } }, expected);'],
  [
    'verify',
    'verify({ quotes: [carrier], facts: null, bootLog: { digest, measure: () => boot } }, expected);',
  ],
  ['verify', 'verify({ quotes: [{ ...carrier, known: banks }], facts: null, parts: {} }, expected);'],
  ['verify', 'verify({ quotes: [carrier], facts: null, parts: { boot } }, expected);'],
  ['verify', "verify(evidence, { ...expected, ak: { ...ak, name: '000b' } });"],
  [
    'verify',
    'verify(evidence, expected, { part: () => part, keep() {}, pcrs: () => pcrs, boot: () => boot, forget() {} });',
  ],
  ['verify', 'verify(evidence, expected, { banks, boot });'],
  ['verifyBundleEvidence', 'verifyBundleEvidence({ ...bundle, banks }, null);'],
  ['verifyBundleInSteps', 'verifyBundleInSteps({ ...bundle, banks }, null);'],
  ['checkSignature', 'checkSignature({ ...quote, pcrDigest: digest }, carrier.signature, ak, true);'],
  ['checkSignature', "checkSignature(quote, carrier.signature, { ...ak, name: '000b' }, true);"],
  ['checkPcrs', 'checkPcrs([quote], [carrier]);'],
  ['checkPcrs', 'checkPcrs([parseQuote(bytes)], [carrier]);'],
  ['checkPcrs', 'checkPcrs([{ quote: parseQuote(bytes), ak }], [carrier]);'],
  ['checkPcrs', 'checkPcrs([signed], [carrier], { banks: [handBank], measuredDigest });'],
  ['checkSelection', 'checkSelection([quote], null);'],
  ['ownPart', 'ownPart({ digest, bytes });'],
  ['measureBoot', 'measureBoot(part, [handBank]);'],
  ['measureBoot', 'measureBoot(part, [values]);'],
  ['measureBoot', 'measureBoot({ digest, bytes }, banks);'],
  ['measureBoot', 'measureBoot(part, banks, { digest, bytes });'],
  ['measureBoot', 'export const b: MeasuredBoot = replayBoot(part, [values]);'],
  ['measureReading', 'measureReading(reading, [values], null, noFiles);'],
  [
    'measureReading',
    'measureReading({ digest, log: replayed.log, state: () => boot.state }, banks, null, noFiles);',
  ],
  ['BootReading', 'BootReading.of({ digest, bytes }, null);'],
  ['BootReading', 'export const r = new BootReading(part, null);'],
  ['SignedAnswer', 'export const a = new SignedAnswer(evidence, expected, null, [signed]);'],
  ['SignedAnswer', 'answer.provenInSteps({ parts: { boot } });'],
  ['SignedAnswer', 'export const a: SignedAnswer = { resetCount: 1, provenInSteps: () => proven };'],
  ['knowingSaid', "knowingSaid(replayed, 'ro quiet');"],
  ['checkParts', 'checkParts(parts, facts, { part: () => part, keep() {} });'],
  ['appraise', "appraise({ ...proven, banks }, policy, { name: 'n' }, [], 0);"],
];

/** The same names in good use: lines that must compile, else the test shows nothing. */
const good: readonly string[] = [
  'export const p: Proven = verify(evidence, expected);',
  'export const q: Proven = new Verifier().verify(evidence, expected);',
  'export const m: Memory = Memory.empty();',
  'export const b: MeasuredBoot = measureBoot(hashPart(bytes), proven.banks);',
  'export const s: SignedQuote = checkSignature(parseQuote(bytes), carrier.signature, checkAttestationKey(bytes), true);',
  'export const c: QuotedPcrs = checkPcrs([signed], [carrier]);',
  'export const l = proveList(tail, banks, { before: null, last: checkpoint });',
  'memory.keepList(akName, clock, { before: null, last: checkpoint });',
  'knowingInitrds(boot, [initrd]); checkInitrds(undefined, new Map(), memory); memory.keepManifest(digest, read);',
  'export const b: MeasuredBoot = measureReading(BootReading.of(hashPart(bytes), null), proven.banks, null, noFiles);',
  'export const a: Generator<void, Proven> = answer.provenInSteps({ parts });',
  'export const r: ReplayedBoot = replayBoot(hashPart(bytes), [values, handBank, bank]);',
];

describe('what the verifier proves', function () {
  this.timeout(120_000);
  const lines = [...forgeries.map(([, line]) => line), ...good];
  let folder: string;
  let faulty: ReadonlySet<number>;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-sealed-'));
    faulty = await faultyLines(folder, lines);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const [index, [of, line]] of forgeries.entries())
    it(`cannot be made by hand (${of}): ${line}`, () => assert.ok(faulty.has(index), 'it compiles'));

  it('can be made of bytes that a quote signed', () => {
    const refused = good.filter((_, index) => faulty.has(forgeries.length + index));
    assert.deepEqual(refused, []);
  });

  it('is attacked at each function of the room that gives it', () => {
    const attacked = new Set(forgeries.map(([of]) => of));
    const givers = exportsOf(room)
      .filter(({ gives }) => sealed.some((name) => new RegExp(`\\b${name}\\b`).test(gives)))
      .map(({ name }) => name);
    assert.ok(givers.includes('verify') && givers.includes('measureBoot'), `${givers}`);
    // These make one of bytes alone: that is no forgery.
    const ofBytes = ['parseQuote', 'checkAttestationKey', 'hashPart', 'knownFile'];
    // This one tells what it is given.
    const tells = ['isProvenList'];
    assert.deepEqual(
      givers.filter((name) => !attacked.has(name) && ![...ofBytes, ...tells].includes(name)),
      [],
    );
    assert.deepEqual(
      sealed.filter((name) => !attacked.has(name)),
      [],
    );
  });
});

/** Which lines the compiler refuses, with the options of this project; each stands in a module block of its own. */
async function faultyLines(folder: string, lines: readonly string[]): Promise<ReadonlySet<number>> {
  const from = (names: string, file: string) =>
    `import { ${names} } from '${relative(folder, join(root, 'attest-server', file))}';`;
  const head = [
    from('type AttestationKey, checkAttestationKey', 'verify/attestation-key.ts'),
    from('type Quote, parseQuote', 'verify/tpm/attest.ts'),
    from('hashPart, ownPart, type HashedPart', 'verify/hashed-part.ts'),
    from('checkParts', 'verify/parts.ts'),
    from(
      'type MeasuredBoot, type ReplayedBoot, measureBoot, measureReading, replayBoot, knowingSaid, knowingInitrds',
      'verify/measured-boot.ts',
    ),
    from('BootReading', 'verify/boot-reading.ts'),
    from('checkInitrds, initrdsAtOnce', 'verify/listed-initrds.ts'),
    from('type InitrdManifest', 'formats/initrd-manifest.ts'),
    from(
      'checkPcrs, checkSelection, checkSignature, type QuoteEvidence, type QuotedBank, type QuotedPcrs, type SignedQuote',
      'verify/quote.ts',
    ),
    from('type Proven', 'verify/proven.ts'),
    from('type ReadInitrd, type ReadManifest', 'verify/read-initrd.ts'),
    from('Memory', 'verify/memory.ts'),
    from('Verifier', 'verify/verifier.ts'),
    from('SignedAnswer, verify, verifyInSteps, type Evidence, type ExpectedIdentity', 'verify/verify.ts'),
    from('proveList, withoutTail, type ImaCheckpoint, type ImaTail', 'verify/ima/prove-list.ts'),
    from('type ProvenImaList', 'verify/ima/proven-list.ts'),
    from('verifyBundleEvidence, verifyBundleInSteps', 'verify/bundle-evidence.ts'),
    from('type PcrValues', 'wire/pcr-values.ts'),
    from('noFiles, type KnownFile', 'verify/boot/loader-files.ts'),
    from('type Facts', 'wire/facts.ts'),
    from('type Parts', 'wire/evidence.ts'),
    from('type Bundle', 'formats/bundle.ts'),
    from('appraise', 'policy/appraise.ts'),
    from('type Policy', 'policy/policy.ts'),
  ].join(' ');
  const text = [`${head} ${given} declare const policy: Policy;`];
  for (const [index, line] of lines.entries()) text.push(`namespace Line${index} { ${line} }`);
  writeFileSync(join(folder, 'attempts.mts'), `${text.join('\n')}\n`);
  const options = {
    extends: join(root, 'tsconfig.json'),
    // A namespace is the one wrapper in which each line may export and extend; it is not erasable.
    compilerOptions: { erasableSyntaxOnly: false, typeRoots: [join(root, 'node_modules/@types')] },
    include: [],
    files: [join(folder, 'attempts.mts')],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(options));
  const { stdout: printed } = await endOf(typeCheck(folder), typeCheckEnvironment);
  const faults = [...printed.matchAll(/^(\S*?)attempts\.mts\((\d+),\d+\): error (TS\d+)/gm)];
  const elsewhere = printed
    .split('\n')
    .filter((line) => /: error TS/.test(line) && !line.includes('attempts.mts('));
  assert.deepEqual(elsewhere, [], 'the faults are in the attempts alone');
  const found = new Set(faults.map(([, , line]) => Number(line) - 2));
  assert.ok(!found.has(-1), `the names that the lines use do not compile:\n${printed}`);
  // A misspelled name or a syntax error would refuse a line for the wrong reason.
  const typos = faults.filter(([, , , code]) => /^TS(1\d{3}|2304|2305|2552)$/.test(code ?? ''));
  assert.deepEqual(
    typos.map(([whole]) => whole),
    [],
  );
  return found;
}

/** Exported functions and classes, with what the functions and the methods give back. */
function exportsOf(folder: string): readonly { readonly name: string; readonly gives: string }[] {
  return globSync('**/*.ts', { cwd: folder }).flatMap((file) => {
    const source = readFileSync(join(folder, file), 'utf8');
    const functions = [...source.matchAll(/^export function\*? (\w+)[\s\S]*?\)(?:: ([^{]*?))? \{$/gm)];
    const classes = [...source.matchAll(/^export class (\w+)([\s\S]*?)^\}$/gm)];
    const methodsOf = (body: string) => [
      ...body.matchAll(/^ {2}(?:static )?\*?\w+\([\s\S]*?\)(?:: ([^{]*?))? \{$/gm),
    ];
    return [
      ...functions.map(([, name = '', gives = '']) => ({ name, gives })),
      ...classes.map(([, name = '', body = '']) => ({
        name,
        gives: methodsOf(body)
          .map(([, its = '']) => its)
          .join(' '),
      })),
    ];
  });
}
