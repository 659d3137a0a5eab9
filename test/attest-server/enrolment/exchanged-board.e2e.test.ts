import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { agentsOf, ekDigestOf, type RealAgent, startAgent } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const patience = 60_000;
const log = recordedLog('debian13-shim-grub');

/** As docs/first-node.md says it, with real TPMs. Each test goes on where the one before it ended. */
describe('a board that is exchanged', () => {
  let world: TestServer;
  let old: FixtureMachine;
  let fresh: FixtureMachine;
  let agent: RealAgent | null = null;
  let digest = '';
  before(async () => {
    [world, old, fresh] = await Promise.all([
      startTestServer({ policy: 'observe', challengeEvery: 0.5, answerWithin: 0.5, unknownAfter: 2 }),
      startMachine({ log }),
      startMachine({ log }),
    ]);
    digest = await ekDigestOf(fresh);
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await world?.[Symbol.asyncDispose]();
    await Promise.all([old?.dispose(), fresh?.dispose()]);
  });

  const run = (...args: string[]) =>
    runAssay(args, {
      env: world.env(),
    });
  /** The command lines of an answer that begin so, as a shell would take them. */
  const commandsIn = (text: string, begin: string) =>
    text.split('\n').flatMap((line) => {
      const found = line.indexOf(`assay ${begin}`);
      if (found < 0) return [];
      const words = line.slice(found).match(/'[^']*'|\S+/g) ?? [];
      return [words.slice(1).map((word) => word.replaceAll("'", ''))];
    });

  it('shows what speaks for the node while it is the old one', async () => {
    await world.pin('node-1', await ekDigestOf(old));
    agent = await startAgent(old, 'node-1', agentsOf(world));
    await world.until(async () => (await world.status('node-1'))?.state === 'trusted', patience);
    const { code, out } = await run('why', 'node-1');
    assert.equal(code, 0);
    for (const word of [
      'affirmed identity',
      'connected',
      'with a pinned key, by token:admin',
      (await ekDigestOf(old)).slice(0, 12),
    ])
      assert.ok(out.includes(word), `${word}\n${out}`);
    await agent[Symbol.asyncDispose]();
  });

  it('tells that another TPM claims its name, and the commands that let it in (row 86)', async () => {
    agent = await startAgent(fresh, 'node-1', agentsOf(world));
    const out = await world.until(async () => {
      const why = await run('why', 'node-1', '-o', 'json');
      const [first, second] = JSON.parse(why.out).reasons;
      return first?.code === 'ek_already_bound' && second?.code === 'evidence_overdue' ? first.next : null;
    }, patience);
    const [revoke = []] = commandsIn(out, 'enrol revoke');
    const [approve = []] = commandsIn(out, 'enrol approve');
    assert.deepEqual(approve, ['enrol', 'approve', 'node-1', '--ek', digest]);
    // In the other order it says what comes first.
    const tooSoon = await run(...approve);
    assert.equal(tooSoon.code, 1);
    assert.deepEqual(commandsIn(tooSoon.err, 'enrol'), [revoke, approve]);
    assert.equal((await run(...revoke, '--yes')).code, 0);
    assert.equal((await run('why', 'node-1')).code, 11);
    assert.equal((await run(...approve)).code, 0);
    await world.until(async () => (await world.status('node-1'))?.state === 'trusted', patience);
    const { out: listed } = await run('get', 'enrolments', '-o', 'wide');
    assert.match(listed, new RegExp(`^node-1 +${digest} +approval +token:admin`, 'm'));
  });
});
