import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { openInForce, type RulesInForce } from '../../../attest-server/in-force/open.ts';
import type { LatchedPolicy } from '../../../attest-server/in-force/ports.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { referenceOf } from '../http/api-fixture.ts';
import { openMadeStore } from '../store/made-store.ts';

const policyOf = (name: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: ${name}, nodes: ["*"]}\n`;

const noLatch: LatchedPolicy = { read: async () => null, keep: async () => assert.fail('there is no latch') };

describe('the rules in force', () => {
  let dir = '';
  let references: Reference[];
  let store: Store;
  let rules: RulesInForce;
  let changes = 0;
  let slow: Promise<void>;
  /** What each reading of the references waits for. */
  const reading: Promise<void>[] = [];
  const compared: unknown[] = [];
  const faults: unknown[] = [];
  const start = (startWithin = 10_000) =>
    openInForce({
      declared: () => null,
      trial: false,
      policy: join(dir, 'policy.yaml'),
      methods: ['pin'],
      store: {
        enrolment: {
          nodes: async () => {
            await slow;
            return [];
          },
          node: async () => null,
        },
        verdicts: { status: async () => null },
        policies: store.policies,
        references: {
          list: async () => {
            const read = [...references];
            await reading.shift();
            await setImmediate();
            return read;
          },
        },
      },
      presence: { present: (nodes) => nodes },
      latched: noLatch,
      bundle: async () => null,
      contextOf: keptContext,
      context: async () => null,
      labelsOf: () => ({}),
      refusedShare: 0.1,
      startWithin,
      now: () => 0,
      monotonic: () => 0,
      logger: pino({ level: 'silent' }),
      report: {
        policyInForce() {},
        notReloaded() {},
        policyCompared: ({ groups }, nodes) => void compared.push([groups[0]?.name, nodes.length]),
        fault: (error) => void faults.push(error),
      },
    });
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-rules-'));
    await writeFile(join(dir, 'policy.yaml'), policyOf('first'));
    [references, changes, slow] = [[], 0, Promise.resolve()];
    store = await openMadeStore(':memory:');
    compared.length = 0;
    rules = await start();
    rules.onChange(() => {
      changes += 1;
    });
  });
  afterEach(async () => {
    await rules[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    assert.deepEqual(faults, []);
    await rm(dir, { recursive: true });
  });

  const group = () => rules.policy().groups[0]?.name;
  const reloader = () =>
    rules.reloader({ declared() {}, roots() {}, certificate() {}, tokens() {}, webhook() {} });

  it('keep a policy that is read again where references change in the same moment', async () => {
    const reload = reloader();
    await writeFile(join(dir, 'policy.yaml'), policyOf('second'));
    await Promise.all([reload(), rules.readReferences()]);
    assert.equal(group(), 'second');
    await writeFile(join(dir, 'policy.yaml'), policyOf('third'));
    await Promise.all([rules.readReferences(), reload()]);
    assert.equal(group(), 'third');
    assert.equal(changes, 4);
  });

  it('are others once references change, and whoever judges by them is told', async () => {
    const before = rules.current();
    references.push(referenceOf('workers-1'));
    await rules.readReferences();
    assert.notEqual(rules.current(), before);
    assert.equal(changes, 1);
  });

  it('never fall back to references that were read before others were put in force', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    reading.push(promise);
    references.push(referenceOf('workers-1'));
    const early = rules.readReferences();
    const captured = { by: 'token:late', node: 'node-1', at: '2026-11-20T12:00:00Z' };
    references = [{ ...referenceOf('workers-1'), captured }];
    const late = rules.readReferences();
    await Promise.race([late, setImmediate().then(() => setImmediate())]);
    resolve();
    await Promise.all([early, late]);
    assert.equal(rules.affirmedBy('workers-1')?.by, 'token:late');
  });

  it('look at whom another policy changes before it is in force, and say so; and nothing of the same one', async () => {
    const reload = reloader();
    await reload();
    await writeFile(join(dir, 'policy.yaml'), policyOf('second'));
    const { promise, resolve } = Promise.withResolvers<void>();
    slow = promise;
    const reloaded = reload();
    while (rules.history.comparing() === null) await setImmediate();
    // Somebody revokes a reference meanwhile: that waits for nothing.
    await rules.readReferences();
    assert.deepEqual([group(), compared, changes], ['first', [], 2]);
    resolve();
    await reloaded;
    assert.deepEqual([group(), compared, rules.history.comparing()], ['second', [['second', 0]], null]);
  });

  it('wait at their end for what they compare, and say nothing of it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    slow = promise;
    const busy = rules.trials.observations({ limit: 1 });
    await writeFile(join(dir, 'policy.yaml'), policyOf('second'));
    const reloaded = reloader()().catch(({ name }: Error) => name);
    while (rules.history.comparing() === null) await setImmediate();
    const closed = rules[Symbol.asyncDispose]();
    resolve();
    await Promise.all([busy, closed]);
    assert.deepEqual([await reloaded, rules.faulty()], ['AbortError', []]);
    assert.deepEqual(compared, []);
  });

  it('are those of before where a start cannot wait for what the new ones do, and the new ones once that is known', async () => {
    await rules[Symbol.asyncDispose]();
    await writeFile(join(dir, 'policy.yaml'), policyOf('second'));
    slow = sleep(50);
    rules = await start(1);
    assert.deepEqual([group(), compared], ['first', []]);
    const reload = reloader();
    while (group() !== 'second') await setImmediate();
    assert.deepEqual([compared, rules.faulty()], [[['second', 0]], []]);
    await reload();
    assert.equal(group(), 'second');
  });

  it('answer so many questions at once and no more, and go on answering', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    slow = promise;
    const asked = Array.from({ length: 12 }, () => rules.trials.observations({ limit: 1 }));
    const settled = Promise.allSettled(asked);
    resolve();
    const refused = (await settled).flatMap((each) => (each.status === 'rejected' ? [each.reason.name] : []));
    assert.deepEqual(refused, Array(4).fill('TooManyTrials'));
    assert.deepEqual((await rules.trials.observations({ limit: 1 })).items, []);
  });
});
