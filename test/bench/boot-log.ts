import crypto, { hash } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { judgeAggregate } from '../../attest-server/policy/boot/aggregate.ts';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { hashPart } from '../../attest-server/verify/hashed-part.ts';
import { type MeasuredBoot, measureBoot } from '../../attest-server/verify/measured-boot.ts';
import type { Proven } from '../../attest-server/verify/proven.ts';
import type { QuotedBank } from '../../attest-server/verify/quote.ts';
import { parseRawLog } from '../../attest-server/verify/tpm/log-format.ts';
import { bankBytes, type PcrBank } from '../../attest-server/wire/messages.ts';
import { aggregateEntry } from '../../swtpm-fixtures/ima-list.ts';
import { bootPolicy } from '../attest-server/boot-policy.ts';
import { madeProof, replayedValues, verdictsBy } from '../attest-server/policy/made-proof.ts';
import { proved } from '../attest-server/verify/ima/made-list.ts';
import { bankByHand, provenByHand } from '../attest-server/verify/made-by-hand.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { at, captured, node } from './bench-node.ts';
import { interleaved } from './cpu-time.ts';
import { sized } from './sized.ts';

/** Milliseconds of CPU time, medians, on one core. */
export interface BootLogFigures {
  readonly file: string;
  readonly banks: readonly PcrBank[];
  readonly events: number;
  readonly bytes: number;
  /** Parsed, replayed, event data recomputed, and the boot's facts drawn from what is vouched for. */
  readonly cpu_ms: number;
  /** The hash calls alone that this makes, on the same bytes. */
  readonly bare_hash_ms: number;
  /** `bare_hash_ms` / `cpu_ms` */
  readonly ratio: number;
  /** The kernel's list of one entry, replayed onto PCR 10 of these banks, and its aggregate compared. Once a boot. */
  readonly aggregate_ms: number;
  /** `aggregate_ms` / `cpu_ms` */
  readonly aggregate_share: number;
  /** `cpu_ms`, and a policy's verdict on these facts, component by component against a reference. */
  readonly with_verdict_ms: number;
  /** The verdict where the log's digest is known: hashing the log, and appraising what is remembered. */
  readonly known_digest_ms: number;
}

export const logs: readonly (readonly [file: string, banks: readonly PcrBank[]])[] = [
  ['fedora41-locality-3', ['sha256']],
  ['fedora41-locality-3', ['sha1', 'sha256']],
  ['rhel8-padded', ['sha256']],
];
const rounds = sized(60, 1);
const repeats = sized(20, 1);

/** The 49 KB log that peers are measured with, in one bank and both, and the largest one with SHA-256 of the corpus. */
export async function benchBootLog(): Promise<readonly BootLogFigures[]> {
  const figures: BootLogFigures[] = [];
  for (const [file, banks] of logs) figures.push(await bench(file, banks));
  return figures;
}

async function bench(file: string, banks: readonly PcrBank[]): Promise<BootLogFigures> {
  const bytes = recordedLog(file);
  const quoted = banks.map((bank) =>
    bankByHand({ bank, mask: 0xffffff, values: replayedValues(bytes, bank) }),
  );
  const log = hashPart(bytes);
  const proof = madeProof({ log: bytes });
  const proofOf = (boot: MeasuredBoot): Proven => provenByHand(proof, { banks: quoted, boot });
  const facts = () => measureBoot(log, quoted);
  const remembered = facts();
  const references = [captureReference(proofOf(remembered), captured)];
  const appraiser = verdictsBy(bootPolicy, references, { remembers: false });
  const verdict = () => appraiser(proofOf(facts()), node, at);
  const calls = hashCallsOf(facts);
  const bare = () => {
    for (const [algorithm, data] of calls) hash(algorithm, data, 'latin1');
  };
  const remembering = verdictsBy(bootPolicy, references);
  const known = () => {
    if (hashPart(bytes).digest !== log.digest) throw new Error(`${file} has changed`);
    return remembering(proofOf(remembered), node, at);
  };
  const { list, quoted: started } = startedOn(quoted);
  const aggregate = () => {
    const { aggregate: shown } = proved(list, started);
    if (shown === null) throw new Error(`nothing is said of ${file}`);
    const { outcome } = judgeAggregate({ shown, gave: false, cause: '' }, started, null, () => null);
    if (outcome !== 'covered') throw new Error(`${file} is not covered: ${shown}`);
  };
  for (const { state } of [verdict(), known(), known()])
    if (state !== 'trusted') throw new Error(`${file} is ${state} by its own reference`);
  const [factsMs = 0, bareMs = 0, verdictMs = 0, knownMs = 0, aggregateMs = 0] = interleaved(
    [facts, bare, verdict, known, aggregate].map((work) => () => {
      for (let i = 0; i < repeats; i++) work();
    }),
    { warmUp: rounds, rounds },
  ).map((milliseconds) => milliseconds / repeats);
  return {
    file,
    banks,
    events: parseRawLog(bytes).count,
    bytes: bytes.length,
    cpu_ms: rounded(factsMs),
    bare_hash_ms: rounded(bareMs),
    ratio: rounded(bareMs / factsMs),
    aggregate_ms: rounded(aggregateMs),
    aggregate_share: rounded(aggregateMs / factsMs),
    with_verdict_ms: rounded(verdictMs),
    known_digest_ms: rounded(knownMs),
  };
}

/** The banks once a kernel has started, and its list. */
function startedOn(quoted: readonly QuotedBank[]) {
  const best = quoted.find(({ bank }) => bank === 'sha256') ?? quoted[0];
  if (best === undefined) throw new Error('no bank was quoted');
  const { bytes, digests } = aggregateEntry(best.bank, best.values);
  const started = quoted.map(({ bank, mask, values: before }) => {
    const values = Buffer.from(before);
    const pcr10 = values.subarray(10 * bankBytes[bank], 11 * bankBytes[bank]);
    hash(bank, Buffer.concat([pcr10, digests[bank]]), 'buffer').copy(pcr10);
    return bankByHand({ bank, mask, values });
  });
  return { list: bytes, quoted: started };
}

type HashCall = readonly [algorithm: string, data: Parameters<typeof hash>[1]];

/** Every call of crypto.hash that `work` makes, with copies of what it hashed. */
function hashCallsOf(work: () => unknown): readonly HashCall[] {
  const calls: HashCall[] = [];
  const real = crypto.hash;
  crypto.hash = new Proxy(real, {
    apply: (target, self, parameters: Parameters<typeof hash>) => {
      const [algorithm, data] = parameters;
      calls.push([algorithm, Buffer.isBuffer(data) ? Buffer.from(data) : data]);
      return Reflect.apply(target, self, parameters);
    },
  });
  syncBuiltinESMExports();
  try {
    work();
  } finally {
    crypto.hash = real;
    syncBuiltinESMExports();
  }
  return calls;
}

function rounded(milliseconds: number): number {
  return Number(milliseconds.toFixed(4));
}
