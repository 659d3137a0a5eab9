import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { AttestPorts, HistoryEntry } from '../../../attest-server/attest/ports.ts';
import { NodeBudgets } from '../../../attest-server/evidence/node-budgets.ts';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { InForce } from '../../../attest-server/in-force/in-force.ts';
import { strictPolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { formatCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { partNames } from '../../../attest-server/wire/evidence.ts';
import { type Machine, model, populate } from '../../bench/population.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { madeAuditKey, madeOrigin } from '../formats/made-audit-key.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { openMadeStore } from '../store/made-store.ts';
import { madeMachine, madePorts } from './made-machine.ts';

/** How its answers differ from one another. */
export type Flap = 'states' | 'reasons';

/** A node of which each answer has another verdict than the one before, by a clock that does not wait. */
export interface FlappingNode extends AsyncDisposable {
  readonly store: Store;
  readonly attestation: () => Attestation;
  readonly recorded: readonly HistoryEntry[];
  /** From its next answer on. */
  boots(what: 'another system' | 'as before'): void;
  /** Judges one answer; `turn` says which. */
  answer(at: number, turn: number): Promise<string>;
  /** Has its latest parts leave room for so many bytes of what is kept with changes. */
  fill(at: number, left: number): void;
  /** What a server does by itself: it looks each second, and signs each minute. */
  passTo(at: number): Promise<void>;
  /** A server that starts anew. @param killed it had no time to write anything */
  restart(killed: boolean): Promise<void>;
  /** Bytes of history, audit log and checkpoints on the disk. */
  forGood(): number;
}

/** As the disk budget has it. */
const mostAtOnce = 4 * 1024 * 1024;
const other = recordedLog('centos9-shim-grub');
const boots = [
  { log: model.log, sha256: model.sha256 },
  { log: other, sha256: replayedValues(other, 'sha256') },
] as const;
/** As long as the node's word on what it could not read may be. */
const longest = 'x'.repeat(200);

/** @param share bytes that may be kept of it: default 256 MiB */
export async function flappingNode(
  stateDir: string,
  how: Flap,
  share = 256 * 1024 * 1024,
): Promise<FlappingNode> {
  const [{ name, tpm }] = (await populate(stateDir, 1, 'p256')) as [Machine];
  const machine = madeMachine(name, tpm);
  const store = await openMadeStore(join(stateDir, 'assay.db'));
  const recorded: HistoryEntry[] = [];
  let now = 0;
  let isOther = false;
  let resets = 7;
  const inForce = new InForce(strictPolicy, await store.references.list(), keptContext);
  const made = madePorts(store, {
    now: () => now,
    monotonic: () => now,
    inForce: () => inForce,
    recorded: (entry) => recorded.push(entry),
    share,
  });
  const budgets = new NodeBudgets(name, 60_000);
  const ports: AttestPorts = { ...made, evidence: { ...made.evidence, budgetsOf: () => budgets } };
  let attestation = await Attestation.open(ports, null);
  /** No other record comes that those of this answer could be written with. */
  const atOnce = async <T>(judged: Promise<T>) => {
    let isJudged = false;
    const end = () => {
      isJudged = true;
    };
    judged.then(end, end);
    for (; !isJudged; await setImmediate()) await store.verdicts.settled();
    return judged;
  };
  const key = madeAuditKey();
  const sign = () =>
    store.audit.addCheckpoint(({ size, head }) => formatCheckpoint({ origin: madeOrigin, size, head }, key));
  return {
    store,
    attestation: () => attestation,
    recorded,
    boots(what) {
      isOther = what === 'another system';
      resets += 1;
    },
    async answer(at, turn) {
      now = at;
      const isOdd = turn % 2 === 1;
      const boot = boots[isOther || (how === 'states' && isOdd) ? 1 : 0];
      // What was found once and cannot be read again stays held against a node.
      const unread = how === 'states' ? [] : partNames.filter((_, index) => (index % 2 === 1) === isOdd);
      const resetCount = resets + (how === 'states' ? turn : 0);
      const occasion = {
        bootId: `6f9619ff-8b86-d011-b42d-${resetCount.toString().padStart(12, '0')}`,
        bootLog: boot.log,
        ...(unread.length > 0 && {
          unavailable: Object.fromEntries([...unread, 'host'].map((part) => [part, `${part} ${longest}`])),
        }),
      };
      const answer = machine.answer(at, { pcrs: { sha256: boot.sha256 }, resetCount, occasion });
      const judged = await atOnce(attestation.judge(machine.node, answer));
      return 'state' in judged ? judged.state : 'asked for files';
    },
    fill(at, left) {
      budgets.answers.take(mostAtOnce - left, at);
    },
    async passTo(at) {
      now = at;
      await attestation.sweep();
      if (at % 60_000 === 0) await sign();
    },
    async restart(killed) {
      if (!killed) await attestation.idle();
      attestation = await Attestation.open(ports, null);
    },
    forGood() {
      const database = new DatabaseSync(join(stateDir, 'assay.db'), { timeout: 5_000 });
      try {
        database.exec('pragma wal_checkpoint(truncate)');
        const rows = database.prepare('select name, sum(pgsize) as bytes from dbstat group by name').all();
        return rows
          .filter(({ name }) => /^(history|audit|checkpoints|transitions)/.test(String(name)))
          .reduce((sum, { bytes }) => sum + Number(bytes), 0);
      } finally {
        database.close();
      }
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}
