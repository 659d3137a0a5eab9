import { hash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Reference } from '../../attest-server/formats/reference.ts';
import type { Proven } from '../../attest-server/verify/proven.ts';
import type { PcrBank } from '../../attest-server/wire/messages.ts';
import { bankByHand } from '../attest-server/verify/made-by-hand.ts';
import { at, node } from './bench-node.ts';
import { cpuMs } from './cpu-time.ts';

/** What both sides work on; bytes are base64. */
export interface SideInput {
  readonly messages: Readonly<Record<'rsa2048' | 'p256', readonly Message[]>>;
  /** The log of the messages' boot, and its reference. */
  readonly log: string;
  readonly reference: Reference;
  readonly logs: readonly {
    readonly name: string;
    readonly bytes: string;
    readonly banks: readonly { readonly bank: Bank; readonly values: string }[];
    readonly reference: Reference;
  }[];
}

type Bank = PcrBank;
interface Message {
  readonly ak: string;
  readonly nonce: string;
  readonly channel: string;
  readonly quote: Quote;
  /** Another answer to the same challenge, in which PCR 10 has moved. */
  readonly moved: Quote;
}

interface Quote {
  readonly attest: string;
  readonly signature: string;
  readonly pcrs: { readonly sha256: string };
}

/** The works of one tree, through its own modules. */
interface Works {
  /** True where the policy trusts the answer. `full`: a PCR moved since the last one; `unchanged`: none did. */
  quote(message: Message): { readonly full: () => boolean; readonly unchanged: () => boolean };
  /** `facts`: parsed, replayed, facts drawn; `verdict`: and appraised. */
  boot(log: SideInput['logs'][number]): { readonly facts: () => unknown; readonly verdict: () => boolean };
}

const ekDigest = 'e0'.repeat(32);
const selection = { sha256: Array.from({ length: 24 }, (_, pcr) => pcr) };
const [tree = '', inputFile = ''] = process.argv.slice(2);
const input: SideInput = JSON.parse(readFileSync(inputFile, 'utf8'));
const bursts = burstsOf(await worksOf(tree, input));
process.stdout.write(`${JSON.stringify([...bursts.keys()])}\n`);
for await (const name of createInterface({ input: process.stdin })) {
  const burst = bursts.get(name);
  process.stdout.write(`${burst === undefined ? Number.NaN : cpuMs(burst)}\n`);
}

/** By name, works of about ten milliseconds. */
function burstsOf(works: Works): ReadonlyMap<string, () => void> {
  const found = new Map<string, () => void>();
  const add = (name: string, times: number, each: () => void) =>
    found.set(name, () => {
      for (let i = 0; i < times; i++) each();
    });
  for (const kind of ['rsa2048', 'p256'] as const) {
    const messages = input.messages[kind].map((message) => works.quote(message));
    for (const what of ['full', 'unchanged'] as const)
      add(`quote ${kind} ${what}`, Math.ceil((kind === 'p256' ? 128 : 320) / messages.length), () => {
        for (const message of messages)
          if (!message[what]()) throw new Error(`a good ${kind} quote was refused`);
      });
  }
  for (const log of input.logs) {
    const { facts, verdict } = works.boot(log);
    add(`log ${log.name} facts`, 30, facts);
    add(`log ${log.name} verdict`, 20, () => {
      if (!verdict()) throw new Error(`${log.name} is not trusted by its own reference`);
    });
  }
  return found;
}

/** A commit has one interface or the other. */
function worksOf(from: string, given: SideInput): Promise<Works> {
  const isNew = existsSync(join(from, 'attest-server/verify/verifier.ts'));
  return isNew ? presentWorks(from, given) : formerWorks(from, given);
}

async function presentWorks(from: string, given: SideInput): Promise<Works> {
  const load = (file: string) => import(join(from, 'attest-server', file));
  const { Verifier }: typeof import('../../attest-server/verify/verifier.ts') =
    await load('verify/verifier.ts');
  const { hashPart }: typeof import('../../attest-server/verify/hashed-part.ts') =
    await load('verify/hashed-part.ts');
  const { measureBoot }: typeof import('../../attest-server/verify/measured-boot.ts') =
    await load('verify/measured-boot.ts');
  const { checkAttestationKey }: typeof import('../../attest-server/verify/attestation-key.ts') =
    await load('verify/attestation-key.ts');
  const appraisers = await loadAppraisers(load);
  const appraise = appraisers(given.reference, false);
  const remembering = appraisers(given.reference, true);
  const verifier = new Verifier();
  const log = hashPart(bytesOf(given.log));
  return {
    quote(message) {
      const ak = checkAttestationKey(bytesOf(message.ak));
      const expected = { ...expectedOf(message), ak };
      const prove = ({ attest, signature, pcrs }: Quote, bytes: Buffer | null = null) => {
        const quote = {
          attest: bytesOf(attest),
          signature: bytesOf(signature),
          pcrs: { sha256: bytesOf(pcrs.sha256) },
        };
        const parts = { boot: { digest: log.digest, bytes } };
        return verifier.verify({ quotes: [quote], facts: null, parts }, expected);
      };
      prove(message.quote, log.bytes);
      let last = message.quote;
      return {
        full() {
          last = last === message.quote ? message.moved : message.quote;
          return isTrusted(appraise, prove(last));
        },
        unchanged: () => isTrusted(remembering, prove(last)),
      };
    },
    boot({ bytes, banks, reference }) {
      const part = hashPart(bytesOf(bytes));
      const quoted = banks.map((bank) => bankByHand(quotedBank(bank)));
      const facts = () => measureBoot(part, quoted);
      const verdictOf = appraisers(reference, false);
      const proven = { ...proofOf(quoted), measuredDigest: '', ima: null, aggregate: null, parts: {} };
      const judge = (boot: ReturnType<typeof facts>) =>
        isTrusted(verdictOf, { ...proven, boot, cap: boot.cap });
      return { facts, verdict: () => judge(facts()) };
    },
  };
}

/** As it was until verification remembered by itself: the caller held what was known, and measured the log. */
interface Former {
  verify(evidence: object, expected: object): object;
  quotesOf(evidence: object, akName: string, before: object | undefined): object;
  latestBoot(proven: object, evidence: object, at: number, before: object | undefined): object;
  measureBoot(bytes: Buffer, digest: string, banks: readonly object[]): object;
  checkAttestationKey(publicArea: Buffer): { readonly name: string };
}

async function formerWorks(from: string, given: SideInput): Promise<Works> {
  const load = (file: string) => import(join(from, 'attest-server', file));
  const { verify }: Pick<Former, 'verify'> = await load('verify/verify.ts');
  const { quotesOf, latestBoot }: Pick<Former, 'quotesOf' | 'latestBoot'> = await load(
    'attest/latest-boot.ts',
  ).catch(() => load('attestation/latest-boot.ts'));
  const { measureBoot }: Pick<Former, 'measureBoot'> = await load('verify/measured-boot.ts');
  const { checkAttestationKey }: Pick<Former, 'checkAttestationKey'> =
    await load('verify/attestation-key.ts');
  const appraisers = await loadAppraisers(load);
  const appraise = appraisers(given.reference, false);
  const remembering = appraisers(given.reference, true);
  const log = bytesOf(given.log);
  const digest = hash('sha256', log);
  let measured: object | null = null;
  const bootLog = {
    digest,
    measure: (banks: readonly object[]) => {
      measured ??= measureBoot(log, digest, banks);
      return measured;
    },
  };
  return {
    quote(message) {
      const ak = checkAttestationKey(bytesOf(message.ak));
      const expected = { ...expectedOf(message), ak };
      let before: object | undefined;
      // What the verifier remembers now, its caller remembered.
      const prove = (quote: Quote, known?: object) => {
        const evidence = { quotes: [quote] };
        const proven = verify({ quotes: quotesOf(evidence, ak.name, known), facts: null, bootLog }, expected);
        before = latestBoot(proven, evidence, at, before);
        return proven;
      };
      prove(message.quote);
      let last = message.quote;
      return {
        full() {
          last = last === message.quote ? message.moved : message.quote;
          return isTrusted(appraise, prove(last, before));
        },
        unchanged: () => isTrusted(remembering, prove(last, before)),
      };
    },
    boot({ bytes: base64, banks, reference }) {
      const bytes = bytesOf(base64);
      const known = hash('sha256', bytes);
      const quoted = banks.map(quotedBank);
      const facts = () => measureBoot(bytes, known, quoted);
      const verdictOf = appraisers(reference, false);
      const proven = proofOf(quoted);
      return { facts, verdict: () => isTrusted(verdictOf, { ...proven, boot: facts() }) };
    },
  };
}

type Appraise = ReturnType<typeof import('../../attest-server/policy/appraise.ts').createAppraiser>;

/** Appraisers of either tree's policy, which remember verdicts or do not. */
async function loadAppraisers(
  load: (file: string) => Promise<object>,
): Promise<(reference: Reference, memo: boolean) => Appraise> {
  type Policies = typeof import('../../attest-server/policy/appraise.ts') &
    typeof import('../../attest-server/policy/file/policy-file.ts');
  const rooms = [await load('policy/appraise.ts'), await load('policy/file/policy-file.ts')];
  // One object of both rooms' exports.
  const { createAppraiser, parsePolicy }: Policies = Object.assign({}, ...rooms);
  const file = join(import.meta.dirname, '../attest-server/boot-policy.yaml');
  const policy = parsePolicy(readFileSync(file, 'utf8'), 'boot-policy');
  return (reference, remembers) => createAppraiser(policy, [reference], rememberedOr(remembers));
}

/** The proof is of either tree, and was made there. */
function isTrusted(appraise: Appraise, proven: object): boolean {
  const appraised: object = appraise(proven as Proven, node, at);
  const verdict: { readonly state?: unknown } =
    'verdict' in appraised ? Object(appraised.verdict) : appraised;
  return verdict.state === 'trusted';
}

/** The option has another name in the trees of before. */
function rememberedOr(remembers: boolean): { readonly remembers: boolean } {
  return Object.assign({ memo: remembers }, { remembers });
}

function expectedOf({ nonce, channel }: Message) {
  const binding = { nonce: bytesOf(nonce), channel: bytesOf(channel), claimedChannel: bytesOf(channel) };
  return { ekDigest, judgeHierarchy: true, binding: { ...binding, session: null }, selection };
}

function quotedBank({ bank, values }: { readonly bank: Bank; readonly values: string }) {
  const bytes = bytesOf(values);
  return { bank, mask: 0xffffff, values: bytes, pcrDigest: hash('sha256', bytes) };
}

function proofOf(banks: readonly object[]) {
  const clock = { clock: 0n, resetCount: 1, restartCount: 0, safe: true };
  return { akName: 'a0', ekDigest, banks, clock, firmwareVersion: '0'.repeat(16), facts: null };
}

function bytesOf(base64: string): Buffer {
  return Buffer.from(base64, 'base64');
}
