import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { keptContext } from '../../../attest-server/evidence/pack.ts';
import { openInForce, type RulesInForce } from '../../../attest-server/in-force/open.ts';
import type { LatchedPolicy } from '../../../attest-server/in-force/ports.ts';
import type { Reference } from '../../../attest-server/protocol/reference.ts';
import { referenceOf } from '../http/api-fixture.ts';

const policyOf = (name: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: ${name}, nodes: ["*"]}\n`;

const noLatch: LatchedPolicy = { read: async () => null, keep: async () => assert.fail('there is no latch') };

describe('the rules in force', () => {
  let dir = '';
  let references: Reference[];
  let rules: RulesInForce;
  let changes = 0;
  let slow: Promise<void>;
  /** What each reading of the references waits for. */
  const reading: Promise<void>[] = [];
  const compared: unknown[] = [];
  const faults: unknown[] = [];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-rules-'));
    await writeFile(join(dir, 'policy.yaml'), policyOf('first'));
    [references, changes, slow] = [[], 0, Promise.resolve()];
    compared.length = 0;
    rules = await openInForce({
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
      now: () => 0,
      logger: pino({ level: 'silent' }),
      report: {
        policyInForce() {},
        notReloaded() {},
        policyCompared: ({ groups }, nodes) => void compared.push([groups[0]?.name, nodes.length]),
        fault: (error) => void faults.push(error),
      },
    });
    rules.onChange(() => {
      changes += 1;
    });
  });
  afterEach(async () => {
    await rules[Symbol.asyncDispose]();
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

  it('say whom another policy changes, once it is in force, and nothing of the same one', async () => {
    const reload = reloader();
    await reload();
    await writeFile(join(dir, 'policy.yaml'), policyOf('second'));
    const { promise, resolve } = Promise.withResolvers<void>();
    slow = promise;
    await reload();
    assert.deepEqual([group(), compared], ['second', []]);
    resolve();
    while (compared.length === 0) await setImmediate();
    assert.deepEqual(compared, [['second', 0]]);
  });

  it('wait at their end for what they compare, and say nothing of it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    slow = promise;
    const busy = rules.trials.observations({ limit: 1 });
    await writeFile(join(dir, 'policy.yaml'), policyOf('second'));
    await reloader()();
    const closed = rules[Symbol.asyncDispose]();
    resolve();
    await Promise.all([busy, closed]);
    assert.deepEqual(compared, []);
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
