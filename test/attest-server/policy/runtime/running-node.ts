import { hash } from 'node:crypto';
import { DigestList } from '../../../../attest-server/formats/digest-list.ts';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import {
  type AppraisedNode,
  type Appraiser,
  appraise,
  noPast,
} from '../../../../attest-server/policy/appraise.ts';
import type { Policy } from '../../../../attest-server/policy/policy.ts';
import { type KnownList, proveList } from '../../../../attest-server/verify/ima/prove-list.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { aggregateEntry, entryOfFields } from '../../../../swtpm-fixtures/ima-list.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { bankByHand, provenByHand } from '../../verify/made-by-hand.ts';
import { type RuntimeChange, runtimeReference } from '../made-files.ts';
import { madeProof, policyOf, replayedValues } from '../made-proof.ts';

export const at = Date.parse('2026-11-25T12:00:00Z');

/** An entry of a list, as a kernel from 5.8 on writes and extends it. */
export interface Ran {
  readonly bytes: Buffer;
  /** Into PCR 10. */
  readonly extends: Buffer | null;
}

/** A file that was run or read, with this content. */
export function file(name: string, content = name): Ran {
  return entryOf('ima-ng', [digestField(hash('sha256', content, 'buffer')), text(name)]);
}

/** By a rule of the IMA policy with `pcr=11`: the list has it, and PCR 10 has not. */
export function elsewhere(ran: Ran): Ran {
  const bytes = Buffer.from(ran.bytes);
  bytes.writeUInt32LE(11);
  return { bytes, extends: null };
}

/** A file that was written to while it was measured. */
export function violated(name: string): Ran {
  const { bytes } = entryOf('ima-ng', [digestField(Buffer.alloc(32)), text(name)]);
  return { bytes: Buffer.from(bytes).fill(0, 4, 24), extends: Buffer.alloc(32, 0xff) };
}

/** What the kernel measures itself, under a name of its own. */
export function measured(name: string, data: string): Ran {
  return entryOf('ima-buf', [digestField(hash('sha256', data, 'buffer')), text(name), Buffer.from(data)]);
}

/** A file with what security.ima says of it. @param digest SHA-256 of its bytes */
export function signedFile(name: string, digest: Buffer, signature: Buffer): Ran {
  return entryOf('ima-sig', [digestField(digest), text(name), signature]);
}

export function digestOf(content: string): string {
  return hash('sha256', content);
}

function entryOf(template: string, fields: readonly Buffer[]): Ran {
  const { bytes, digests } = entryOfFields(template, fields);
  return { bytes, extends: digests.sha256 };
}

function digestField(digest: Buffer): Buffer {
  return Buffer.concat([Buffer.from('sha256:\0'), digest]);
}

function text(name: string): Buffer {
  return Buffer.from(`${name}\0`);
}

/** Its command line has `ima_policy=tcb`. */
const booted = recordedLog('debian13-shim-grub');
const base = madeProof({ log: booted });
const values = replayedValues(booted, 'sha256');

/** A machine that booted a recorded log, then runs what a test says. What its list proves is proven as in an answer. */
export class RunningNode {
  #pcr10 = Buffer.alloc(32);
  #list = Buffer.alloc(0);
  #known: KnownList | null = null;

  constructor() {
    this.kexec();
  }

  get list(): Buffer {
    return this.#list;
  }

  run(...entries: readonly Ran[]): this {
    for (const one of entries)
      if (one.extends !== null)
        this.#pcr10 = hash('sha256', Buffer.concat([this.#pcr10, one.extends]), 'buffer');
    this.#list = Buffer.concat([this.#list, ...entries.map(({ bytes }) => bytes)]);
    return this;
  }

  /** A kernel starts, and goes on with the list. */
  kexec(): this {
    const { bytes, digests } = aggregateEntry('sha256', values);
    return this.run({ bytes, extends: digests.sha256 });
  }

  /** The next answer. @param shown all of the list, what is new of it, or nothing */
  answer(shown: 'whole' | 'new' | 'nothing' = 'whole', list: Buffer = this.#list): Proven {
    const from = shown === 'new' ? (this.#known?.last.bytes ?? 0) : 0;
    const tail = shown === 'nothing' ? null : { from, chunks: [list.subarray(from)] };
    const held = Buffer.from(values);
    this.#pcr10.copy(held, 320);
    const bank = bankByHand({ bank: 'sha256', mask: 0xffffff, values: held });
    const { list: ima, aggregate, known } = atOnce(proveList(tail, [bank], this.#known));
    this.#known = known;
    return provenByHand(base, { ima, aggregate });
  }
}

/** A reference that knows files with these contents, by their paths. */
export function knowing(
  files: Readonly<Record<string, string>>,
  change: RuntimeChange = {},
  brings: string | null = null,
): Reference {
  const list = DigestList.of(
    Object.entries(files).map(([path, content]) => ({
      digest: hash('sha256', content, 'buffer'),
      path,
      package: brings,
    })),
  );
  return runtimeReference(list, { name: 'known', ...change });
}

/** As the kernel of the recorded boot measures. */
export const coversTcb = 'policy: {covers: [exec, mmap, modules, kexec, policy, rootReads]}';

/** Of one group that requires `runtime` alone. @param lines under its key, in place of what the kernel must cover */
export function runtimePolicy(...lines: readonly string[]): Policy {
  return policyOf('require: [runtime]', 'runtime:', ...[coversTcb, ...lines].map((line) => `  ${line}`));
}

/** The verdict on what a node ran, alone. */
export function judged(
  proven: Proven,
  references: readonly Reference[],
  policy: Policy = runtimePolicy(),
  node: Partial<AppraisedNode> = {},
  time = at,
): Verdict {
  return ofRuntime(
    appraise(proven, policy, { name: 'one', past: noPast, ...node }, references, time).verdict,
  );
}

/** Nothing else is asked of these nodes. */
function ofRuntime(verdict: Verdict): Verdict {
  return { ...verdict, reasons: verdict.reasons.filter(({ aspect }) => aspect === 'runtime') };
}

/** Judges one answer after the other, and remembers what it is told to. */
export function inTurn(
  appraiser: Appraiser,
  answers: readonly Proven[],
  times: readonly number[] = [],
): readonly Verdict[] {
  let past = noPast;
  return answers.map((proven, index) => {
    const { verdict, next } = appraiser(proven, { name: 'one', past }, times[index] ?? at);
    past = { ...past, memory: next.memory };
    return ofRuntime(verdict);
  });
}

/** `<code> <severity>` of each reason. */
export function codesOf({ reasons }: Verdict): readonly string[] {
  return reasons.map(({ code, severity }) => `${code} ${severity}`);
}
