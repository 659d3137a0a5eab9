import { join } from 'node:path';
import { Attestation } from '../../attest-server/attest/attestation.ts';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import { keptContext } from '../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../attest-server/evidence/unpack.ts';
import type { Reference } from '../../attest-server/formats/reference.ts';
import { InForce } from '../../attest-server/in-force/in-force.ts';
import type { Policy } from '../../attest-server/policy/policy.ts';
import { strictPolicy } from '../../attest-server/policy/shipped/built-in.ts';
import type { Store } from '../../attest-server/store/open.ts';
import { formatCheckpoint } from '../../attest-server/wire/checkpoint.ts';
import { type Part, type PartName, type Parts, partNames } from '../../attest-server/wire/evidence.ts';
import { type MadeMachine, madeMachine, madePorts } from '../attest-server/attest/made-machine.ts';
import { bootPolicy } from '../attest-server/boot-policy.ts';
import { madeAuditKey, madeOrigin } from '../attest-server/formats/made-audit-key.ts';
import { openMadeStore } from '../attest-server/store/made-store.ts';
import { inFolder } from './attestation.ts';
import { model, populate } from './population.ts';
import { sized } from './sized.ts';
import { strictNodes } from './strict-node.ts';
import { kindOfTable, tableBytes } from './table-bytes.ts';

/** Bytes that the database grows by, for each node and each day, where every verdict is like the one before. */
interface Grown {
  readonly bytes_per_node_and_day: number;
  readonly history: number;
  /** Entries and checkpoints. */
  readonly audit: number;
  readonly answers: number;
  /** Bytes of parts, and what else many answers name. */
  readonly parts: number;
  /** Written over, not grown. */
  readonly statuses: number;
  /** Indices included. */
  readonly others: number;
  readonly seconds: number;
}

/**
 * Of nodes that send `boot` alone; under `strict`, where kube-proxy works on its rules all the time; and of these where
 * fail2ban bans an address a minute besides, so that each answer has other rules.
 */
export interface GrowthFigures {
  readonly boot: Grown;
  readonly strict: Grown;
  readonly bans: Grown;
}

/** For an hour each. */
const bans = 60;

const nodes = sized(100, 1);
const minute = 60_000;
/** Nodes begin within the first hour, each at a minute of its own; the day is counted from its end. */
const begins = 61;
const day = sized(24 * 60, 60);

export async function benchGrowth(): Promise<GrowthFigures> {
  const { host, node, reference } = await strictNodes();
  const strict = (banned: number) =>
    dayOf({
      policy: strictPolicy,
      references: [reference],
      answers(machine) {
        const parts = node(machine.node.name, banned);
        const occasion = { bootLog: model.log, host };
        return (now) => machine.answer(now, { ...quoted, occasion, ...parts(now) });
      },
    });
  return {
    boot: await dayOf({
      policy: bootPolicy,
      references: [],
      answers: (machine) => (now) => machine.answer(now, { ...quoted, occasion: { bootLog: model.log } }),
    }),
    strict: await strict(0),
    bans: await strict(bans),
  };
}

const quoted = { pcrs: { sha256: model.sha256 } };

interface Fleet {
  readonly policy: Policy;
  /** Besides that of their model. */
  readonly references: readonly Reference[];
  answers(machine: MadeMachine): (now: number) => ReturnType<MadeMachine['answer']>;
}

/** A day of a fleet that is asked each minute, by a clock that does not wait. */
async function dayOf({ policy, references, answers }: Fleet): Promise<Grown> {
  return await inFolder(async (stateDir) => {
    const machines = (await populate(stateDir, nodes, 'p256')).map(({ name, tpm }) => {
      const machine = madeMachine(name, tpm);
      return { machine, answer: answers(machine) };
    });
    const started = performance.now();
    await using store = await openMadeStore(join(stateDir, 'assay.db'));
    let now = 0;
    const inForce = new InForce(policy, [...(await store.references.list()), ...references], keptContext);
    const ports = madePorts(store, { now: () => now, monotonic: () => now, inForce: () => inForce });
    const attestation = await Attestation.open(ports, null);
    let before = new Map<string, number>();
    for (let round = 0; round <= begins + day; round += 1) {
      now = round * minute;
      for (const [index, { machine, answer }] of machines.entries()) {
        if (round < index % 60) continue;
        const { name } = machine.node;
        const whole = answer(now);
        const sent = { ...whole, parts: named(whole.parts, attestation.heldParts(name)) };
        const judged = await attestation.judge(machine.node, sent);
        if (!('state' in judged) || judged.state !== 'trusted')
          throw new Error(`${name} is not trusted: ${JSON.stringify(judged)}`);
      }
      await attestation.idle();
      await checkpoint(store);
      if (round === begins) before = tableBytes(stateDir);
    }
    for (const { machine } of machines.slice(0, 1)) await checkKept(store, machine.node.name);
    const grown = { history: 0, audit: 0, answers: 0, parts: 0, statuses: 0, others: 0 };
    for (const [name, bytes] of tableBytes(stateDir))
      grown[kindOfTable(name)] += (bytes - (before.get(name) ?? 0)) / nodes;
    const all = Object.values(grown).reduce((sum, bytes) => sum + bytes, 0);
    return {
      bytes_per_node_and_day: Math.round(all),
      history: Math.round(grown.history),
      audit: Math.round(grown.audit),
      answers: Math.round(grown.answers),
      parts: Math.round(grown.parts),
      statuses: Math.round(grown.statuses),
      others: Math.round(grown.others),
      seconds: Math.round((performance.now() - started) / 1000),
    };
  });
}

/** Of what is not kept nothing grows: each row's evidence must be there with all of its parts, and verify by itself. */
async function checkKept({ verdicts, evidence }: Store, name: string): Promise<void> {
  const rows = await verdicts.history(name, { limit: 100 });
  if (rows.length < day / 60) throw new Error(`${name} has ${rows.length} rows`);
  for (const { evidenceDigest } of rows) {
    const bundle = await unpackEvidence(evidenceDigest ?? '', (digest) => evidence.read(digest, name));
    const { verdict } = verifyBundle(JSON.stringify(bundle), { now: 0 });
    if (verdict.state !== 'trusted')
      throw new Error(`kept evidence is ${verdict.state}: ${verdict.reasons.map(({ code }) => code).join()}`);
  }
}

/** As the server signs each minute in which an entry was added. */
async function checkpoint({ audit }: Store): Promise<void> {
  await audit.addCheckpoint(({ size, head }) =>
    formatCheckpoint({ origin: madeOrigin, size, head }, madeAuditKey()),
  );
}

/** What the server holds is named alone. */
function named(parts: Parts, held: Readonly<Partial<Record<PartName, string>>>): Parts {
  const sent: Partial<Record<PartName, Part>> = {};
  for (const name of partNames) {
    const part = parts[name];
    if (part !== undefined) sent[name] = held[name] === part.digest ? { ...part, bytes: null } : part;
  }
  return sent;
}
