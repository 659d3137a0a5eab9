import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type Bank, openTpm } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { simulateAnswer } from '../../attest-server/api/policy-api.ts';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import { capDigest, capPcr } from '../../attest-server/wire/cap.ts';
import type { Verdict } from '../../attest-server/wire/verdict.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { agentsOf, ekDigestOf, startAgent } from './real-agent.ts';
import { startTestServer, type TestServer } from './running-server.ts';

const node = 'node-1';
const log = recordedLog('debian13-shim-grub');
/** Those that a server asks for. */
const banks = ['sha256', 'sha384', 'sha512'] as const;
const policy = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - name: workers
    nodes: ["node-*"]
    require: [identity, disk]
    disk: {lease: required}
`;

/** Each test goes on where the one before it ended. */
describe('the cap of a TPM', function () {
  this.timeout(60_000);
  let machine: FixtureMachine;
  let world: TestServer;
  const resources = new AsyncDisposableStack();
  before(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-cap-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const file = join(dir, 'policy.yaml');
    await writeFile(file, policy);
    machine = await startMachine({ log });
    resources.defer(() => machine.dispose());
    world = resources.use(await startTestServer({ policy: file, challengeEvery: 0.05 }));
    await world.pin(node, await ekDigestOf(machine));
  });
  after(() => resources.disposeAsync());

  async function extend(...into: readonly Bank[]): Promise<void> {
    await using tpm = await openTpm({ tcti: machine.tpm.tcti });
    await tpm.extend(capPcr, Object.fromEntries(into.map((bank) => [bank, capDigest(bank)])));
  }

  async function tool(name: string, ...args: readonly string[]): Promise<string> {
    const env = { TPM2TOOLS_TCTI: machine.tpm.tcti };
    return (await run(name, args, { timeoutMs: 20_000, maxOutputBytes: 4096, env })).stdout.toString();
  }

  const clock = async () => Number(/clock: (\d+)/.exec(await tool('tpm2_readclock'))?.[1]);
  const resetCount = async () => Number(/reset_count: (\d+)/.exec(await tool('tpm2_readclock'))?.[1]);

  /** What the next answer of the real agent shows of the cap. */
  async function found(): Promise<readonly string[]> {
    const already = world.verdicts.length;
    await using _agent = await startAgent(machine, node, agentsOf(world));
    const { verdict } = await world.until(() =>
      world.verdicts.slice(already).find(({ verdict: { aspects } }) => aspects.disk !== undefined),
    );
    return capsIn(verdict);
  }
  /** The same by who has its evidence alone. */
  async function offline(): Promise<readonly string[]> {
    const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    return capsIn(verifyBundle(bundle, { now: Date.now() }).verdict);
  }

  const capsIn = ({ reasons }: Pick<Verdict, 'reasons'>) =>
    reasons.flatMap(({ code, actual }) => (code.startsWith('cap_') ? [`${code}: ${actual}`] : []));

  it('is not missed in a boot that began before the node was capped once', async () => {
    assert.deepEqual(await found(), []);
    await extend(...banks);
    assert.deepEqual(await found(), []);
  });

  it('is missed in the next boot after a minute of the TPM’s clock, and in each bank (row 91)', async () => {
    await machine.powerCycle(log);
    assert.deepEqual(await found(), []);
    await tool('tpm2_setclock', '-c', 'p', String((await clock()) + 61_000));
    const missing = ['cap_missing: sha256 open, sha384 open, sha512 open'];
    assert.deepEqual(await found(), missing);
    assert.deepEqual(await offline(), missing);
    const { items } = simulateAnswer.parse(
      await world.call('POST', '/v1/policy/simulate', { policy: policy.replace('required', 'none') }),
    );
    const sides = items.map(({ before, after }) => [before, after].map((side) => side && capsIn(side)));
    assert.deepEqual(sides, [[missing, []]]);
    await extend('sha256');
    assert.deepEqual(await found(), ['cap_missing: sha384 open, sha512 open']);
    await extend('sha384', 'sha512');
    assert.deepEqual(await found(), []);
  });

  it('is known to be gone where the TPM restarted and kept its count of resets (row 91)', async () => {
    const before = await resetCount();
    await tool('tpm2_shutdown');
    await machine.powerCycle(log);
    assert.equal(await resetCount(), before);
    const gone = 'cap_reverted: without the cap in sha256, sha384, sha512';
    assert.deepEqual(await found(), [gone, 'cap_missing: sha256 open, sha384 open, sha512 open']);
    assert.deepEqual(await offline(), [gone, 'cap_missing: sha256 open, sha384 open, sha512 open']);
    await extend(...banks);
    assert.deepEqual(await found(), [gone]);
  });

  it('is anew in the boot after that', async () => {
    await machine.powerCycle(log);
    await extend(...banks);
    assert.deepEqual(await found(), []);
  });
});
