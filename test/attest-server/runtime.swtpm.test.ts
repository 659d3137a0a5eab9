import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { imaLogPath } from '../../agent/collectors/ima-log.ts';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { measuredEntry } from '../../swtpm-fixtures/ima-list.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { recordedList, recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { trials } from '../trials.ts';
import { agentsOf, ekDigestOf, type RealAgent, startAgent } from './real-agent.ts';
import { startTestServer, type TestServer } from './running-server.ts';

const node = 'node-1';
const log = recordedLog('debian13-shim-grub');
const ran = recordedList('debian13-shim-grub');
/** How many answers in a row none of which may be less than trusted. */
const often = trials(10);
/** What a busy node reads without an end, and nobody vouches for. */
const spool = '/var/spool/busy';
/** The kernel of that boot measures no critical data: `ima_policy=tcb`. */
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["node-*"]
    require: [identity, boot, runtime]
    runtime:
      exclude: ["${spool}/**"]
      policy: {covers: [exec, mmap, modules, kexec, policy, rootReads]}
`;

const codesIn = ({ reasons }: Pick<Verdict, 'reasons'>) =>
  reasons.filter(({ severity }) => severity !== 'info').map(({ code }) => code);

/** Each test goes on where the one before it ended. */
describe('the real agent on a node whose kernel measures what it runs', function () {
  this.timeout(100_000);
  let dir = '';
  let machine: FixtureMachine;
  let world: TestServer;
  let agent: RealAgent;
  const resources = new AsyncDisposableStack();
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-runtime-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const file = join(dir, 'policy.yaml');
    await writeFile(file, policy);
    machine = resources.use(await startMachine({ log, ran }));
    world = resources.use(await startTestServer({ policy: file, challengeEvery: 0.1, answerWithin: 20 }));
    await world.pin(node, await ekDigestOf(machine));
    agent = await startAgent(machine, node, agentsOf(world));
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await resources.disposeAsync();
  });

  const becomes = (state: Verdict['state']) =>
    world.until(async () => {
      const status = await world.status(node);
      return status?.state === state ? status.verdict : null;
    }, 15_000);
  /** How each of the next answers was judged. */
  async function next(count: number): Promise<readonly Verdict[]> {
    const already = world.verdicts.length;
    await world.until(() => world.verdicts.length >= already + count, 90_000);
    return world.verdicts.slice(already, already + count).map(({ verdict }) => verdict);
  }
  const offline = async () => {
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    return verifyBundle(bundle, { now: Date.now() }).verdict;
  };

  it('is trusted with what it ran, once somebody vouches for that', async () => {
    const waiting = await becomes('pending');
    assert.ok(waiting.reasons.some(({ code, aspect }) => code === 'no_reference' && aspect === 'runtime'));
    for (const kind of ['boot', 'runtime'])
      await world.call('POST', '/v1/references', { node, name: kind, kind });
    const { aspects } = await becomes('trusted');
    assert.deepEqual(aspects.runtime, { status: 'affirming', source: 'tpm', references: ['runtime'] });
  });

  it('is trusted each time while its kernel measures without a pause (row 98)', async () => {
    let isBusy = true;
    let measured = 0;
    const busy = (async () => {
      while (isBusy) {
        await machine.measure(measuredEntry({ digest: randomBytes(32), name: `${spool}/${measured}` }));
        measured++;
        // What a TPM of hardware takes for it.
        await sleep(10);
      }
    })();
    const verdicts = await next(often).finally(() => {
      isBusy = false;
    });
    await busy;
    assert.deepEqual([...new Set(verdicts.map(({ state }) => state))], ['trusted']);
    assert.deepEqual(
      verdicts.filter(({ aspects }) => aspects.runtime?.status !== 'affirming'),
      [],
    );
    assert.ok(measured >= often, `${measured} entries`);
    const { state, aspects } = await offline();
    assert.deepEqual([state, aspects.runtime?.status], ['trusted', 'affirming']);
  });

  it('is untrusted by the first answer to a challenge that comes after an unknown program ran (row 49)', async () => {
    await machine.run('/usr/local/bin/miner', 'mine');
    // One answer may have been quoted before.
    const [, second] = await next(2);
    assert.deepEqual([second?.state, second && codesIn(second)], ['untrusted', ['ima_unknown_file']]);
    const found = second?.reasons.find(({ code }) => code === 'ima_unknown_file');
    assert.match(`${found?.text} ${found?.actual}`, /\/usr\/local\/bin\/miner.*sha256:[0-9a-f]{12}/s);
    assert.deepEqual(codesIn(await offline()), ['ima_unknown_file']);
  });

  it('is trusted again once this one file is allowed', async () => {
    const only = ['/usr/local/bin/miner'];
    const reason = 'it may mine';
    await world.call('POST', '/v1/references', { node, name: 'miner', kind: 'runtime', only, reason });
    const { aspects } = await becomes('trusted');
    assert.equal(aspects.runtime?.status, 'affirming');
  });

  it('starts anew with the list of the next boot', async () => {
    await agent[Symbol.asyncDispose]();
    await machine.powerCycle(log);
    assert.deepEqual(await readFile(join(machine.sysroot, imaLogPath)), ran);
    const from = world.verdicts.length;
    agent = await startAgent(machine, node, agentsOf(world));
    await world.until(
      () => world.verdicts.slice(from).some(({ verdict }) => verdict.state === 'trusted'),
      30_000,
    );
    const { state, aspects } = await offline();
    assert.deepEqual([state, aspects.runtime?.status], ['trusted', 'affirming']);
  });
});
