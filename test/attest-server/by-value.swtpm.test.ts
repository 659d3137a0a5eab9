import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { bootLogPath } from '../../agent/collectors/boot-log.ts';
import { referenceView } from '../../attest-server/api/api.ts';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { rewriteLog } from '../../swtpm-fixtures/rewrite-log.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { eventsWhere, without } from '../vectors/log-surgery.ts';
import { runAssay } from './cli/cli-fixture.ts';
import { agentsOf, ekDigestOf, startAgent } from './real-agent.ts';
import { startTestServer, type TestServer } from './running-server.ts';

const node = 'node-1';
/** What the firmware measures; what it logs lacks one of these events. */
const whole = recordedLog('debian13-shim-grub');
const blob = eventsWhere(whole, ({ pcr, type }) => pcr === 0 && type === 'EV_EFI_PLATFORM_FIRMWARE_BLOB')[0]!
  .index;
const updated = rewriteLog(
  whole,
  new Map([[blob, { digest: { sha256: 'ab'.repeat(32), sha384: 'cd'.repeat(48) } }]]),
);

const policy = (boot: string) => `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["node-*"]
    require: [identity, boot]
    boot: ${boot}
`;

/** Each test goes on where the one before it ended. */
describe('the real agent on a machine whose firmware does not log all of PCR 0', function () {
  this.timeout(60_000);
  let dir = '';
  let machine: FixtureMachine;
  let world: TestServer;
  const resources = new AsyncDisposableStack();
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-by-value-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    await writeFile(join(dir, 'policy.yaml'), policy('{}'));
    machine = resources.use(await startMachine({ log: whole }));
    world = resources.use(
      await startTestServer({ policy: join(dir, 'policy.yaml'), challengeEvery: 0.1, answerWithin: 20 }),
    );
    await world.pin(node, await ekDigestOf(machine));
  });
  after(() => resources.disposeAsync());

  /** Boots with a log that lacks the event; the next verdict that no later answer changes. */
  async function bootsAs(log: Buffer): Promise<Verdict> {
    await machine.powerCycle(log);
    await writeFile(join(machine.sysroot, bootLogPath), without(log, [blob]));
    return answers();
  }

  async function answers(): Promise<Verdict> {
    const already = world.verdicts.length;
    await using _agent = await startAgent(machine, node, agentsOf(world));
    const { verdict } = await world.until(() => world.verdicts.slice(already).find(isOfBoot));
    return verdict;
  }

  /** Between the reset and the proof of what booted, that alone is told. */
  const isOfBoot = ({ verdict }: { readonly verdict: Verdict }) =>
    verdict.reasons.some(({ code }) => code !== 'rebooted');
  const assay = (...words: readonly string[]) =>
    runAssay(words, {
      cwd: dir,
      env: world.env(),
    });
  const failing = ({ state, reasons }: Verdict) => {
    const codes = reasons.filter(({ severity }) => severity === 'fail').map(({ code }) => code);
    return [state, ...new Set(codes)].join(' ');
  };

  it('is told that its log does not replay, and cannot be captured: the answer has the rule', async () => {
    assert.equal(failing(await bootsAs(whole)), 'untrusted log_replay_mismatch no_reference');
    await assert.rejects(
      world.call('POST', '/v1/references', { node, name: 'first' }),
      /409.*byValue: \[0\]/s,
    );
  });

  it('is captured with its value and trusted by it, also offline, once the policy compares that', async () => {
    await writeFile(join(dir, 'policy.yaml'), policy('{byValue: [0]}'));
    await world.restart();
    assert.equal(failing(await answers()), 'pending no_reference');
    const made = await world.call('POST', '/v1/references', { node, name: 'first' });
    const { byValue, unseen } = referenceView.parse(made);
    assert.deepEqual(byValue, [0]);
    // Its loader's files were asked for as of any machine.
    assert.equal(unseen, undefined);
    const verdict = await answers();
    assert.equal(failing(verdict), 'trusted');
    assert.deepEqual(
      verdict.reasons.filter(({ code }) => code === 'unverified_event').map(({ severity }) => severity),
      ['info'],
    );
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    assert.deepEqual(verifyBundle(bundle, { now: Date.now() }).verdict.state, 'trusted');
  });

  it('is told of other firmware that measures into PCR 0 what the log lacks (row 176)', async () => {
    assert.equal(failing(await bootsAs(updated)), 'untrusted firmware_unknown');
    await world.call('POST', '/v1/references', { node, name: 'second', reason: 'this update is ours' });
    assert.equal(failing(await bootsAs(whole)), 'trusted');
    const list = await assay('reference', 'list');
    assert.deepEqual(
      list.out
        .trim()
        .split('\n')
        .map((row) => row.split(/ {2,}/))
        .map((row) => [row[0], row.at(-1)]),
      [
        ['NAME', 'BY VALUE'],
        ['first', 'PCR 0'],
        ['second', 'PCR 0'],
      ],
    );
    const diff = await assay('reference', 'diff', 'first', 'second', '-o', 'json');
    assert.equal(diff.code, 10);
    const { pcrs, events } = JSON.parse(diff.out);
    assert.deepEqual([pcrs.map(({ pcr }: { pcr: number }) => pcr), events], [[0, 0], []]);
    assert.equal((await assay('reference', 'diff', 'first', 'first')).code, 0);
  });
});
