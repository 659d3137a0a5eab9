import { hash } from 'node:crypto';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import {
  type AppraisedNode,
  appraise,
  createAppraiser,
  noPast,
} from '../../../attest-server/policy/appraise.ts';
import { type CaptureOptions, captureReference } from '../../../attest-server/policy/boot/capture.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import type { BootAggregate } from '../../../attest-server/verify/ima/boot-aggregate.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import { parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { verify } from '../../../attest-server/verify/verify.ts';
import { fileList } from '../../../attest-server/wire/loader-files.ts';
import { bankBytes, type PcrBank } from '../../../attest-server/wire/messages.ts';
import type { Verdict } from '../../../attest-server/wire/verdict.ts';
import { aggregateEntry } from '../../../swtpm-fixtures/ima-list.ts';
import { filesOf } from '../../../swtpm-fixtures/loader-files.ts';
import { partOf } from '../verify/made-by-hand.ts';
import { akOf, madeQuote } from '../verify/made-quote.ts';
import { softwareKey } from '../verify/software-key.ts';

const key = softwareKey('p256');
const algorithms: Readonly<Record<PcrBank, number>> = { sha1: 4, sha256: 11, sha384: 12, sha512: 13 };

export interface ProofOptions {
  readonly bank?: PcrBank;
  /** 24 values; default: what the log replays to. */
  readonly values?: Buffer;
  readonly log?: Buffer | null;
  /** Bit i: PCR i is quoted. Default all. */
  readonly mask?: number;
  readonly ekDigest?: string | null;
  /** That its loader read; default: those that are known of this log. */
  readonly files?: readonly Buffer[];
  /** The kernel's list. Default: its one entry, in PCR 10, where the values have nothing there; null: none. */
  readonly ima?: Buffer | null;
}

/** Proof as only `verify` makes it: a quote signed in software, over a bank as a log leaves it. */
export function madeProof(options: ProofOptions): Proven {
  const bank = options.bank ?? 'sha256';
  const log = options.log ?? null;
  const before = options.values ?? (log ? replayedValues(log, bank) : Buffer.alloc(24 * bankBytes[bank]));
  const started = options.ima === undefined ? kernelStarted(before, bank) : null;
  const { values: all, list: ima } = started ?? { values: before, list: options.ima ?? null };
  const mask = options.mask ?? 0xffffff;
  const values = picked(all, mask, bankBytes[bank]);
  const bitmap = Buffer.of(mask & 0xff, (mask >> 8) & 0xff, (mask >> 16) & 0xff).toString('hex');
  const quote = madeQuote(key, Buffer.alloc(0), {
    pcrs: { [bank]: values },
    selection: [[algorithms[bank], bitmap]],
  });
  const files = log === null ? [] : (options.files ?? [...filesOf(log).values()]);
  const byDigest = new Map(files.map((file) => [partOf(file).digest, file]));
  const list = files.length === 0 ? {} : { loaderFiles: partOf(fileList(byDigest.keys())) };
  return verify(
    {
      quotes: [quote],
      facts: null,
      parts: {
        ...(log !== null && { boot: partOf(log), ...list }),
        ...(ima !== null && { ima: partOf(ima) }),
      },
      files: byDigest,
    },
    {
      ak: akOf(key),
      ekDigest: options.ekDigest === undefined ? 'ab'.repeat(32) : options.ekDigest,
      judgeHierarchy: true,
      binding: { qualifyingData: '' },
      selection: null,
    },
  );
}

/** The same values once a kernel has started, and its list; null where PCR 10 holds something already. */
function kernelStarted(
  before: Buffer,
  bank: PcrBank,
): { readonly values: Buffer; readonly list: Buffer } | null {
  const size = bankBytes[bank];
  const values = Buffer.from(before);
  const pcr10 = values.subarray(10 * size, 11 * size);
  if (pcr10.some((byte) => byte !== 0)) return null;
  const { bytes, digests } = aggregateEntry(bank, values);
  hash(bank, Buffer.concat([pcr10, digests[bank]]), 'buffer').copy(pcr10);
  return { values, list: bytes };
}

/** What a kernel finds that starts when a bank has these values. */
export function aggregateOf(values: Buffer, bank: PcrBank, last: 7 | 9 = 9): BootAggregate {
  return `${bank}:${hash(bank, values.subarray(0, (last + 1) * bankBytes[bank]), 'hex')}`;
}

/** What a machine that booted with this log holds in one bank. */
export function replayedValues(log: Buffer, bank: PcrBank): Buffer {
  const replayed = parseEventLog(log).banks[bank] ?? {};
  const size = bankBytes[bank];
  return Buffer.concat(
    Array.from({ length: 24 }, (_, pcr) =>
      replayed[pcr] === undefined ? Buffer.alloc(size) : Buffer.from(replayed[pcr], 'hex'),
    ),
  );
}

function picked(values: Buffer, mask: number, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let pcr = 0; pcr < 24; pcr++)
    if ((mask & (1 << pcr)) !== 0) parts.push(values.subarray(pcr * size, (pcr + 1) * size));
  return Buffer.concat(parts);
}

/** The reference that a proven boot becomes: that of group `workers`, captured on node `n`, where nothing else is said. */
export function capturedFrom(proven: Proven, options: Partial<CaptureOptions> = {}): Reference {
  const taken = { name: 'ref', group: 'workers', state: 'active', by: 'me', node: 'n', at: 0 } as const;
  return captureReference(proven, { ...taken, ...options });
}

/** The verdict alone on one piece of evidence. */
export function verdictOn(...judged: Parameters<typeof appraise>): Verdict {
  return appraise(...judged).verdict;
}

/** Gives verdicts alone, and remembers what it judged. */
export function verdictsBy(
  ...made: Parameters<typeof createAppraiser>
): (proven: Proven, node: AppraisedNode, at: number) => Verdict {
  const judge = createAppraiser(...made);
  return (proven, node, at) => judge(proven, node, at).verdict;
}

/** What is remembered of a node that has sent a boot log before. */
export const sentLog = { ...noPast, sentParts: ['boot'] as const };

/** A policy of one group, `workers`, with what a test wants to be said of it. */
export function policyOf(...lines: readonly string[]): Policy {
  const group = ['  - name: workers', '    nodes: ["*"]', ...lines.map((line) => `    ${line}`)];
  return parsePolicy(
    ['apiVersion: assay.dev/v1', 'kind: Policy', 'groups:', ...group].join('\n'),
    'made.yaml',
  );
}

/** A reference as somebody writes it who knows PCR values alone, or as it was captured before components were. */
export function byValues(reference: Reference, log: Buffer, bank: PcrBank = 'sha256'): Reference {
  const values = replayedValues(log, bank);
  const size = bankBytes[bank];
  const pcrs = [0, 2, 4, 6, 7, 8, 9].map((pcr) => [
    String(pcr),
    values.toString('hex', pcr * size, (pcr + 1) * size),
  ]);
  return { ...reference, components: [], pcrs: { [bank]: Object.fromEntries(pcrs) } };
}
