import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { ContextTexts } from '../../../attest-server/evidence/kept-context.ts';
import { readContext } from '../../../attest-server/evidence/kept-context.ts';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { eraseOldEvidence } from '../../../attest-server/evidence/retention.ts';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { EarlierRules } from '../../../attest-server/in-force/earlier-rules.ts';
import { InForce } from '../../../attest-server/in-force/in-force.ts';
import { judgedNode } from '../../../attest-server/marking/judged-node.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof, policyOf, replayedValues } from '../policy/made-proof.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts, verdictOf } from './made-machine.ts';

const minute = 60_000;
const log = recordedLog('debian13-sdboot-uki');
const bad = tamper(log, 'kernel');
const reference = capturedFrom(madeProof({ log }), { node: 'another' });
const good = policyOf('mode: enforce', 'require: [identity, boot]');
/** No boot has this word. */
const wrong = policyOf(
  'mode: enforce',
  'require: [identity, boot]',
  'boot: { cmdline: { require: [missing] } }',
);
const wrongToo = policyOf(
  'mode: enforce',
  'require: [identity, boot]',
  'boot: { cmdline: { require: [other] } }',
);

interface Shown {
  readonly bootLog?: Buffer;
  readonly resetCount?: number;
  readonly clock?: bigint;
  readonly by?: 'agent' | 'gate';
  readonly disk?: Buffer;
  readonly kernel?: string;
  /** It sends no log. */
  readonly withheld?: true;
}

describe('a verdict that turns', () => {
  let store: Store;
  let machine: MadeMachine;
  let attestation: Attestation;
  let inForce: InForce;
  let now: number;
  let made: number;
  let faults: unknown[];
  let labels: Record<string, string>;
  let held: InForce[];

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    [now, made, faults, labels, held] = [0, 0, [], {}, []];
    inForce = new InForce(good, [reference], keptContext);
    await open();
    assert.equal(await judge(), 'trusted');
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const open = async (version = '1.0.0', gone = false) => {
    const earlier = new EarlierRules({
      async context(named, node): Promise<ContextTexts | null> {
        made += 1;
        return gone ? null : readContext(named, (digest) => store.evidence.readShared(digest, node));
      },
      contextOf: keptContext,
      asHeld: (policy) => policy,
      fault: (error) => faults.push(error),
    });
    const ports = madePorts(store, {
      now: () => now,
      monotonic: () => now,
      inForce: () => inForce,
      labelsOf: () => labels,
      earlier: {
        known: (named) => earlier.known(named),
        pathsOf: (...of) => earlier.pathsOf(...of),
        async read(...of) {
          const found = await earlier.read(...of);
          if (found !== null) held.push(found);
          return found;
        },
      },
      version,
    });
    attestation = await Attestation.open(ports, null);
  };
  const restart = async (version?: string, gone?: boolean) => {
    await attestation.idle();
    await open(version, gone);
  };
  const judge = async ({
    bootLog = log,
    by = 'agent',
    resetCount = 7,
    clock,
    disk,
    kernel,
    withheld,
  }: Shown = {}) => {
    now += minute;
    const sent = withheld === true ? {} : { bootLog };
    const answer = machine.answer(now, {
      occasion: {
        ...sent,
        bootId: `00000000-0000-4000-8000-${String(resetCount).padStart(12, '0')}`,
        ...(kernel !== undefined && { host: { kernel } }),
      },
      pcrs: { sha256: replayedValues(bootLog, 'sha256') },
      resetCount,
      ...(clock !== undefined && { clock }),
      ...(disk !== undefined && { disk }),
    });
    return (await verdictOf(attestation.judge(machine.node, { ...answer, by }))).state;
  };
  const rules = (policy = wrong, references: readonly Reference[] = [reference]) => {
    inForce = new InForce(policy, references, keptContext, now);
  };
  const turned = () => attestation.status('node-1')?.trustedBy?.turned ?? null;
  const drift = () => {
    const group = {
      name: 'workers',
      mode: 'enforce',
      tpm: 'required',
      require: ['identity', 'boot'],
    } as const;
    return judgedNode(attestation.status('node-1'), group, now);
  };

  it('by our policy waits, over restarts and a second wrong one, and is made ready once', async () => {
    rules();
    for (let round = 0; round < 3; round++) assert.equal(await judge(), 'untrusted');
    assert.deepEqual([turned()?.as, turned()?.isSame, turned()?.change], ['trusted', true, 'policy']);
    assert.equal(made, 1);
    const { code, value, isOurs } = drift().drift ?? {};
    assert.deepEqual(
      [code, value, isOurs],
      ['cmdline_policy', `policy ${wrong.name}@${wrong.revision}`, true],
    );
    await restart();
    assert.equal(turned()?.as, 'trusted');
    rules(wrongToo);
    assert.equal(await judge(), 'untrusted');
    assert.deepEqual(
      [turned()?.as, turned()?.by],
      ['trusted', `policy ${wrongToo.name}@${wrongToo.revision}`],
    );
    rules(good);
    assert.equal(await judge(), 'trusted');
    assert.equal(turned(), null);
  });

  it('is judged twice at the cost of the node, which is asked no more often for it (row 360)', async () => {
    const clock = performance.now;
    let spent = 0;
    performance.now = () => clock.call(performance) + spent;
    try {
      rules();
      assert.equal(await judge(), 'untrusted');
      assert.equal(attestation.proofs.wait('node-1'), 0);
      const before = held[0] ?? assert.fail('no earlier rules');
      const { appraise } = before;
      const slow = (...asked: Parameters<typeof appraise>) => {
        spent += 3_000;
        return appraise(...asked);
      };
      Object.assign(before, { appraise: Object.assign(slow, appraise) });
      assert.equal(await judge(), 'untrusted');
      assert.equal(turned()?.as, 'trusted');
      assert.notEqual(attestation.proofs.wait('node-1'), 0);
    } finally {
      performance.now = clock;
    }
  });

  it('costs nothing while nothing waits', async () => {
    rules(good, [reference, { ...reference, name: 'more', state: 'staged' }]);
    for (let round = 0; round < 3; round++) assert.equal(await judge(), 'trusted');
    assert.equal(made, 0);
  });

  it('by the node does not wait, neither beside a change of ours nor after it (row 378)', async () => {
    rules();
    assert.equal(await judge({ bootLog: bad, resetCount: 8 }), 'untrusted');
    assert.equal(attestation.status('node-1')?.trustedBy, null);
    assert.equal(drift().drift, null, 'the code of the policy beside the kernel: nothing waits');
    assert.equal(await judge({ resetCount: 9 }), 'untrusted');
    assert.equal(turned(), null, 'it was caught');
    rules(good);
    assert.equal(await judge({ resetCount: 9 }), 'trusted');
    rules();
    assert.equal(await judge({ resetCount: 9 }), 'untrusted');
    assert.equal(turned()?.as, 'trusted');
    assert.equal(await judge({ bootLog: bad, resetCount: 10 }), 'untrusted');
    assert.equal(turned(), null);
  });

  it('under the rules that trusted it does not wait, and none that follow hide it (row 378)', async () => {
    assert.equal(await judge({ bootLog: bad, resetCount: 8 }), 'untrusted');
    rules();
    assert.equal(await judge({ bootLog: bad, resetCount: 8 }), 'untrusted');
    assert.equal(turned(), null);
  });

  it('at a gate’s answer leaves a node that booted anew unproven, as before, and no more (row 379)', async () => {
    rules();
    assert.equal(await judge({ by: 'gate', resetCount: 8 }), 'untrusted');
    assert.equal(turned()?.as, 'pending');
    assert.equal(drift().isReproving, true);
    assert.equal(await judge({ resetCount: 8 }), 'untrusted');
    assert.equal(turned()?.as, 'trusted');
    assert.equal(drift().isReproving, false);
  });

  it('at a gate’s answer that shows another kernel does not wait (row 379)', async () => {
    rules();
    assert.equal(await judge(), 'untrusted');
    assert.equal(await judge({ by: 'gate', bootLog: bad, resetCount: 8 }), 'untrusted');
    assert.equal(turned(), null);
  });

  it('waits for a node that is silent for no longer than it answers, and its silence gives it nothing (row 379)', async () => {
    rules();
    assert.equal(await judge(), 'untrusted');
    now += 60 * minute;
    await attestation.sweep();
    assert.equal(attestation.status('node-1')?.state, 'untrusted');
    assert.equal(await judge({ bootLog: bad, resetCount: 8 }), 'untrusted');
    assert.equal(turned(), null);
  });

  it('does not wait where the counters of the TPM went back (row 378)', async () => {
    rules();
    assert.equal(await judge(), 'untrusted');
    assert.equal(await judge({ resetCount: 6 }), 'untrusted');
    assert.equal(turned(), null);
  });

  it('does not wait where the earlier rules are gone, and somebody is told once (row 383)', async () => {
    rules();
    await restart('1.0.0', true);
    assert.equal(await judge(), 'untrusted');
    assert.equal(attestation.status('node-1')?.trustedBy, null);
    assert.equal(faults.length, 1);
  });

  it('finds the earlier rules however long ago the node was trusted (row 383)', async () => {
    rules();
    assert.equal(await judge(), 'untrusted');
    const day = 24 * 60 * minute;
    now += 100 * day;
    assert.equal(await judge(), 'untrusted');
    await attestation.idle();
    now += 100 * day;
    const times = { evidenceFor: 30 * day, transitionEvidenceFor: 30 * day };
    const parts = {
      store: store.evidence,
      now: () => now,
      ...times,
      fault: (error: unknown) => faults.push(error),
    };
    await eraseOldEvidence(parts, new AbortController().signal);
    const erased = (await store.audit.entries({ limit: 100 })).filter(
      ({ action }) => action === 'evidence_erased',
    );
    assert.notEqual(erased.length, 0);
    await restart();
    assert.equal(await judge(), 'untrusted');
    assert.equal(turned()?.as, 'trusted');
    assert.deepEqual(faults, []);
  });

  it('by a version of the server alone waits while what is judged is the same, and no longer (row 381)', async () => {
    const same = () => new InForce(good, [reference], keptContext).context;
    inForce = new InForce(wrong, [reference], same);
    await restart('2.0.0');
    assert.equal(await judge(), 'untrusted');
    assert.deepEqual([turned()?.as, turned()?.change, turned()?.by], ['trusted', 'server', 'server 2.0.0']);
    assert.equal(await judge(), 'untrusted');
    assert.equal(turned()?.as, 'trusted');
    assert.equal(await judge({ resetCount: 8 }), 'untrusted');
    assert.equal(turned(), null, 'another boot: nobody can ask the server of before');
  });

  it('by a version of the server does not wait where the node shows something else at its first answer (row 381)', async () => {
    inForce = new InForce(wrong, [reference], () => new InForce(good, [reference], keptContext).context);
    await restart('2.0.0');
    assert.equal(await judge({ bootLog: bad, resetCount: 8 }), 'untrusted');
    assert.equal(turned(), null);
  });

  it('by a version of the server does not wait where the node leaves out what it showed (row 381)', async () => {
    inForce = new InForce(wrong, [reference], () => new InForce(good, [reference], keptContext).context);
    await restart('2.0.0');
    assert.notEqual(await judge({ withheld: true }), 'trusted');
    assert.equal(turned(), null);
  });

  it('by what was there already does not wait for a new version (row 381)', async () => {
    inForce = new InForce(wrong, [reference], () => new InForce(good, [reference], keptContext).context);
    assert.equal(await judge(), 'untrusted');
    await restart('2.0.0');
    assert.equal(await judge(), 'untrusted');
    assert.equal(turned(), null);
  });

  it('by its group alone does not wait: rules and server are those that trusted it (row 385)', async () => {
    const text = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: hard, nodes: ["*"], labels: { kind: hard }, mode: enforce, require: [identity, boot], boot: { cmdline: { require: [missing] } } }
  - { name: workers, nodes: ["*"], mode: enforce, require: [identity, boot] }
`;
    rules(parsePolicy(text, 'made.yaml'));
    assert.equal(await judge(), 'trusted');
    labels = { kind: 'hard' };
    assert.equal(await judge(), 'untrusted');
    assert.equal(turned(), null);
  });

  it('does not wait where its label gives it another group of the earlier rules, which asks for less (row 385)', async () => {
    const groups = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - { name: easy, nodes: ["*"], labels: { kind: easy }, mode: observe, require: [identity] }
  - { name: workers, nodes: ["*"], mode: enforce, require: [identity, boot] }
`;
    rules(parsePolicy(groups, 'made.yaml'));
    assert.equal(await judge(), 'trusted');
    await restart();
    rules(wrong);
    assert.equal(await judge(), 'untrusted');
    assert.equal(turned()?.as, 'trusted');
    labels = { kind: 'easy' };
    assert.equal(await judge({ bootLog: bad, resetCount: 8 }), 'untrusted');
    assert.equal(turned(), null);
  });

  it('of an archived node is what it was when it comes back', async () => {
    rules();
    assert.equal(await judge(), 'untrusted');
    await attestation.idle();
    const before = attestation.status('node-1')?.trustedBy;
    assert.deepEqual((await store.verdicts.status('node-1'))?.trustedBy, before);
  });
});
