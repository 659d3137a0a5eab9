import { hash } from 'node:crypto';
import { DigestList } from '../../attest-server/formats/digest-list.ts';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { type ListProof, proveList } from '../../attest-server/verify/ima/prove-list.ts';
import { isProvenList } from '../../attest-server/verify/ima/proven-list.ts';
import type { Proven } from '../../attest-server/verify/proven.ts';
import type { QuotedBank, QuoteEvidence } from '../../attest-server/verify/quote.ts';
import { Verifier } from '../../attest-server/verify/verifier.ts';
import type { Part } from '../../attest-server/wire/evidence.ts';
import { aggregateEntry, measuredEntry } from '../../swtpm-fixtures/ima-list.ts';
import { bootPolicy } from '../attest-server/boot-policy.ts';
import { replayedValues, verdictsBy } from '../attest-server/policy/made-proof.ts';
import {
  asciiOf,
  binaryOf,
  digestField,
  extendedTo,
  listIn,
  madeEntry,
  proved,
  text,
} from '../attest-server/verify/ima/made-list.ts';
import { akOf, madeQuote } from '../attest-server/verify/made-quote.ts';
import { softwareKey } from '../attest-server/verify/software-key.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { at, captured, node } from './bench-node.ts';
import { cpuMs, interleaved, median } from './cpu-time.ts';
import { benchDigestList, type DigestListFigures } from './digest-list.ts';
import { sized } from './sized.ts';

/** Milliseconds are CPU time of one core, medians, unless a name says otherwise. */
export interface ImaFigures {
  readonly lines: number;
  readonly known_digests: number;
  /** New lines parsed, replayed onto the quoted PCR 10 in SHA-256, and each digest looked up; a peer takes 15 ms. */
  readonly binary_ms: number;
  readonly ascii_ms: number;
  /** The hash calls alone that a replay of one bank makes, on the same bytes. */
  readonly bare_hash_ms: number;
  /** `bare_hash_ms` / `binary_ms`, and / `ascii_ms` */
  readonly ratio: number;
  readonly ascii_ratio: number;
  readonly long: LongFigures;
  /** An answer whose PCR 10 moved by one line, over one whose did not: quote, unchanged boot log, and the verdict. */
  readonly moving_over_still: number;
  readonly digest_list: DigestListFigures;
}

interface LongFigures {
  readonly lines: number;
  readonly ms: number;
  /** The longest step, which is how long it holds the event loop. */
  readonly longest_step_ms: number;
  /** Time a line, over that of a list of a fifth of the lines. */
  readonly growth: number;
  /** Bytes of memory a line beyond the list itself, while all of its proof is held. */
  readonly heap_per_line: number;
}

const newLines = sized(2000, 100);
const knownDigests = sized(200_000, 1_000);
const longLines = sized(500_000, 5_000);

/** The list of the running kernel, as a node sends it. */
export function benchIma(): ImaFigures {
  const list = madeList(newLines);
  const known = knownFiles(list.digests);
  const looked = (bytes: Buffer) => () => {
    let found = 0;
    listIn(proved(bytes, [list.quoted])).walk(({ digest }) => {
      if (known.find(digest) >= 0) found++;
    });
    if (found !== newLines) throw new Error(`${found} of ${newLines} lines are known`);
  };
  const scratch = Buffer.alloc(64);
  const bare = () => {
    for (const data of list.hashed) {
      scratch.write(hash('sha256', data, 'latin1'), 32, 'latin1');
      scratch.write(hash('sha256', scratch, 'latin1'), 0, 'latin1');
    }
  };
  const works = [looked(list.binary), looked(list.ascii), bare];
  const [binary = 0, ascii = 0, bareMs = 0] = interleaved(works, {
    warmUp: sized(40, 0),
    rounds: sized(60, 1),
  });
  return {
    lines: newLines,
    known_digests: knownDigests,
    binary_ms: rounded(binary),
    ascii_ms: rounded(ascii),
    bare_hash_ms: rounded(bareMs),
    ratio: rounded(bareMs / binary),
    ascii_ratio: rounded(bareMs / ascii),
    long: benchLong(),
    moving_over_still: benchMoving(),
    digest_list: benchDigestList(),
  };
}

interface MadeList {
  readonly binary: Buffer;
  readonly ascii: Buffer;
  readonly digests: readonly Buffer[];
  readonly hashed: readonly Buffer[];
  readonly quoted: QuotedBank;
}

/** Lines of the template ima-ng, with paths as long as those of a node are. */
function madeList(lines: number): MadeList {
  const digests = Array.from({ length: lines }, (_, i) => hash('sha256', `file ${i}`, 'buffer'));
  const entries = digests.map((digest, i) => {
    const name = i === 0 ? 'boot_aggregate' : `${folders[i % folders.length]}${i}`;
    return madeEntry({ template: 'ima-ng', fields: [digestField(digest), text(name)] });
  });
  return {
    binary: binaryOf(entries),
    ascii: asciiOf(entries),
    digests,
    hashed: entries.map(({ hashed }) => hashed),
    quoted: extendedTo(entries),
  };
}

const folders = [
  '/usr/lib/x86_64-linux-gnu/libsome.so.',
  '/usr/bin/program-',
  '/usr/lib/modules/6.12.63+deb13-amd64/kernel/drivers/net/',
  '/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs/usr/lib/',
  '/opt/cni/bin/',
];

/** The files of the list, among many others. */
function knownFiles(digests: readonly Buffer[]): DigestList {
  const others = knownDigests - digests.length;
  const files = [
    ...digests,
    ...Array.from({ length: others }, (_, i) => hash('sha256', `other ${i}`, 'buffer')),
  ];
  return DigestList.of(
    files.map((digest, i) => ({ digest, path: `/usr/lib/package/file-${i}`, package: null })),
  );
}

function benchLong(): LongFigures {
  const [short, long] = [longLines / 5, longLines].map(madeBytes);
  if (short === undefined || long === undefined) throw new Error('no list');
  inSteps(short);
  const shortMs = median(Array.from({ length: sized(5, 1) }, () => cpuMs(() => inSteps(short))));
  const runs = Array.from({ length: sized(5, 1) }, () => {
    let longest = 0;
    return { ms: cpuMs(() => (longest = inSteps(long).longest)), longest };
  });
  const ms = median(runs.map((run) => run.ms));
  globalThis.gc?.();
  const before = memory();
  const { proof } = inSteps(long);
  globalThis.gc?.();
  const grown = memory() - before;
  if (listIn(proof).entries !== longLines) throw new Error('the list is not proven');
  return {
    lines: longLines,
    ms: rounded(ms),
    longest_step_ms: rounded(median(runs.map(({ longest }) => longest))),
    growth: rounded(ms / longLines / (shortMs / (longLines / 5))),
    heap_per_line: rounded(Math.max(0, grown) / longLines),
  };
}

function memory(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** In chunks of as many bytes as travel at once. */
function madeBytes(lines: number): { readonly chunks: readonly Buffer[]; readonly quoted: QuotedBank } {
  const { binary, quoted } = madeList(lines);
  const chunks: Buffer[] = [];
  for (let at = 0; at < binary.length; at += chunkBytes) chunks.push(binary.subarray(at, at + chunkBytes));
  return { chunks, quoted };
}

const chunkBytes = 1024 * 1024;
const entriesInStep = 4096;

/** Proven and walked through, in steps; `longest`: milliseconds of one. */
function inSteps({ chunks, quoted }: ReturnType<typeof madeBytes>): { proof: ListProof; longest: number } {
  const proving = proveList({ from: 0, chunks }, [quoted], null);
  let longest = 0;
  const timed = <T>(step: () => T): T => {
    const before = process.cpuUsage();
    const result = step();
    const { user, system } = process.cpuUsage(before);
    longest = Math.max(longest, (user + system) / 1000);
    return result;
  };
  let step = timed(() => proving.next());
  while (!step.done) step = timed(() => proving.next());
  const proof = step.value;
  let bytes = 0;
  const walk = listIn(proof)
    .walkInSteps(({ digest }) => (bytes += digest.length), entriesInStep)
    [Symbol.iterator]();
  while (!timed(() => walk.next()).done);
  if (bytes !== listIn(proof).entries * 32) throw new Error('a digest is missing');
  return { proof, longest };
}

/** What the answers of a node cost whose PCR 10 moves by a line each, over those of one whose does not: with a boot log and a verdict. */
function benchMoving(): number {
  const log = recordedLog('fedora41-locality-3');
  const digest = hash('sha256', log);
  const started = replayedValues(log, 'sha256');
  const entries = [
    aggregateEntry('sha256', started),
    ...files.map((name) => measuredEntry({ digest: hash('sha256', name, 'buffer'), name })),
  ];
  const list = Buffer.concat(entries.map(({ bytes }) => bytes));
  const key = softwareKey('rsa2048');
  const expected = {
    ak: akOf(key),
    ekDigest: 'e0'.repeat(32),
    judgeHierarchy: true,
    binding: { qualifyingData: '' },
    selection: null,
  } as const;
  const values = Buffer.from(started);
  const pcr10 = values.subarray(10 * 32, 11 * 32);
  let end = 0;
  let first: Buffer | null = null;
  const answers = entries.map(({ bytes, digests }, i) => {
    hash('sha256', Buffer.concat([pcr10, digests.sha256]), 'buffer').copy(pcr10);
    const from = end;
    end += bytes.length;
    const quoteOf = (held: Buffer) => madeQuote(key, nothing, { pcrs: { sha256: held }, clock: BigInt(i) });
    const moved = Buffer.from(values);
    first ??= moved;
    return { moving: quoteOf(moved), still: quoteOf(first), from, end };
  });
  const boot = { digest, bytes: log };
  const prove = (verifier: Verifier, quote: QuoteEvidence, part: Part, from: number, to: number): Proven => {
    const ima = { from, chunks: [list.subarray(from, to)] };
    const proven = verifier.verify({ quotes: [quote], facts: null, parts: { boot: part }, ima }, expected);
    if (!isProvenList(proven.ima)) throw new Error('the list is not proven');
    return proven;
  };
  const [begun] = answers;
  if (begun === undefined) throw new Error('no answers');
  const reference = captureReference(prove(new Verifier(), begun.moving, boot, 0, begun.end), captured);
  const appraise = verdictsBy(bootPolicy, [reference]);
  const judged = (isMoving: boolean) => () => {
    const verifier = new Verifier();
    prove(verifier, begun.moving, boot, 0, begun.end);
    for (const { moving, still, from, end: to } of answers.slice(1)) {
      const named = { digest, bytes: null };
      const proven = isMoving
        ? prove(verifier, moving, named, from, to)
        : prove(verifier, still, named, begun.end, begun.end);
      if (appraise(proven, node, at).state !== 'trusted') throw new Error('a good boot is refused');
    }
  };
  const [movingMs = 0, stillMs = 0] = interleaved([judged(true), judged(false)], {
    warmUp: sized(10, 0),
    rounds: sized(20, 1),
  });
  return rounded(movingMs / stillMs);
}

const nothing = Buffer.alloc(0);
const files = Array.from({ length: 300 }, (_, i) => `/usr/bin/program-${i}`);

function rounded(value: number): number {
  return Number(value.toFixed(3));
}
