import type { Reference } from '../../attest-server/formats/reference.ts';
import { createAppraiser, noPast } from '../../attest-server/policy/appraise.ts';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { gatherCandidates } from '../../attest-server/references/candidates.ts';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { siblingLog } from '../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { madeProof, policyOf } from '../attest-server/policy/made-proof.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { rounded } from './attestation.ts';
import { sized } from './sized.ts';

/** Of 5,000 nodes, each of which boots what no reference has: what is asked for, and its answer as JSON. */
export interface CandidatesFigures {
  readonly nodes: number;
  /** Four kernels. */
  readonly alike: Cost;
  /** An initrd each, so that no two are alike. */
  readonly each_its_own: Cost;
}

interface Cost {
  readonly candidates: number;
  readonly ms: { readonly p50: number; readonly max: number };
  readonly kb: number;
}

const nodes = sized(5000, 50);
const runs = sized(21, 1);
const log = recordedLog('debian13-shim-grub');
const policy = policyOf('require: [identity, boot]');

export async function benchCandidates(): Promise<CandidatesFigures> {
  const base = { name: 'base', group: 'workers', state: 'active', by: 'bench', node: 'n', at: 0 } as const;
  const reference = captureReference(madeProof({ log }), base);
  const appraise = createAppraiser(policy, [reference]);
  const memoryOf = (boot: Buffer) => {
    const { verdict, next } = appraise(madeProof({ log: boot }), { name: 'n', past: noPast }, 0);
    // As a store gives them: each node has its own.
    return () => structuredClone({ verdict, memory: next.memory });
  };
  const kernels = [
    tamper(log, 'kernel'),
    tamper(log, 'cmdline'),
    siblingLog(log, { initrd: true }),
    siblingLog(tamper(log, 'kernel'), { initrd: true }),
  ].map(memoryOf);
  const initrd = memoryOf(siblingLog(log, { initrd: true }));
  return {
    nodes,
    alike: await cost((index) => kernels[index % kernels.length]!(), [reference]),
    each_its_own: await cost(
      (index) => {
        const { verdict, memory } = initrd();
        const text = JSON.stringify(memory).replace(
          /"set":"[0-9a-f]{16}"/,
          `"set":"${index.toString(16).padStart(16, '0')}"`,
        );
        return { verdict, memory: JSON.parse(text) };
      },
      [reference],
    ),
  };
}

async function cost(
  known: (index: number) => { readonly verdict: Verdict; readonly memory: Readonly<Record<string, unknown>> },
  references: readonly Reference[],
): Promise<Cost> {
  const at = Date.now();
  const statuses = Array.from({ length: nodes }, (_, index) => ({
    name: `worker-${index}`,
    verifiedAt: at,
    ...known(index),
  }));
  const took: number[] = [];
  let candidates = 0;
  let bytes = 0;
  for (let run = 0; run < runs; run++) {
    const started = performance.now();
    const found = await gatherCandidates({
      statuses: () => statuses,
      store: { list: async () => references },
      directory: null,
      policy: () => policy,
      now: () => at,
      unknownAfter: 180_000,
    });
    bytes = JSON.stringify(found).length;
    took.push(performance.now() - started);
    candidates = found.items.length + found.more.candidates;
    if (found.unknown !== nodes) throw new Error(`${found.unknown} nodes of ${nodes}`);
  }
  took.sort((a, b) => a - b);
  const ms = {
    p50: rounded(took[Math.floor(runs / 2)] ?? Number.NaN),
    max: rounded(took.at(-1) ?? Number.NaN),
  };
  return { candidates, ms, kb: rounded(bytes / 1000) };
}
