import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'mocha';
import { openTpm, ToolError } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { openChannel } from '../../agent/channel.ts';
import { startConversation } from '../../agent/conversation.ts';
import { readIdentity } from '../../agent/identity.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { trials } from '../trials.ts';
import { agentsOf, startAgent, vouchFor } from './real-agent.ts';
import { startTestServer } from './running-server.ts';

const log = recordedLog('debian13-shim-grub');
/** How many answers in a row none of which may be less than trusted. */
const often = trials(10);

describe('the real agent on a node that does not hold still', () => {
  let machine: FixtureMachine;
  before(async () => {
    machine = await startMachine({ log });
  });
  after(() => machine?.dispose());

  it('is trusted each time while PCR 10 is extended without a pause (row 98)', async function () {
    this.timeout(100_000);
    await using world = await startTestServer({ challengeEvery: 0.02, answerWithin: 20 });
    await vouchFor(world, machine, 'node-1');
    let busy = true;
    let extensions = 0;
    const extending = (async () => {
      while (busy) {
        const digest = `10:sha256=${randomBytes(32).toString('hex')}`;
        const options = {
          timeoutMs: 20_000,
          maxOutputBytes: 4096,
          env: { TPM2TOOLS_TCTI: machine.tpm.tcti },
        };
        await run('tpm2_pcrextend', [digest], options);
        extensions++;
      }
    })();
    const already = world.verdicts.length;
    const agent = await startAgent(machine, 'node-1', agentsOf(world));
    try {
      await world.until(() => world.verdicts.length >= already + often, 90_000);
    } finally {
      busy = false;
      await extending;
      await agent[Symbol.asyncDispose]();
    }
    const states = world.verdicts.slice(already, already + often).map(({ verdict }) => verdict.state);
    assert.deepEqual([...new Set(states)], ['trusted']);
    const raced = agent.states.filter((each) => each.phase === 'sent' && each.what === 'evidence_raced');
    // A round that is lost four times in a row is no evidence, and is asked again: seldom, or the node would age.
    assert(
      extensions >= often && raced.length <= often / 3,
      `${extensions} extensions, ${raced.length} raced`,
    );
  });

  it('ages to unknown where it is raced for ever, and the server counts that (row 98)', async () => {
    // What was extended before is in no list of IMA.
    await machine.powerCycle(log);
    await using world = await startTestServer({ challengeEvery: 0.1, answerWithin: 5, unknownAfter: 1 });
    await vouchFor(world, machine, 'node-1');
    await using tpm = await openTpm({ tcti: machine.tpm.tcti });
    const raced = new ToolError('a PCR was extended during the quote', {
      code: 'pcrs_moved',
      tool: 'tpm2_quote',
    });
    let quotes = 0;
    const ended = new AbortController();
    const channel = await openChannel({
      server: { host: '127.0.0.1', port: world.server.agentPort },
      authority: await readFile(world.server.caFile, 'utf8'),
      takes: new Map(),
      signal: ended.signal,
    });
    const conversation = startConversation(channel, {
      node: 'node-1',
      program: '0.0.0',
      identity: await readIdentity(tpm),
      joinToken: null,
      clusterToken: null,
      tpm: {
        activateCredential: (credential) => tpm.activateCredential(credential),
        // It proves itself once: who never did may report nothing.
        quote: (request) => (quotes++ === 0 ? tpm.quote(request) : Promise.reject(raced)),
      },
      readNode: async () => ({
        bootId: machine.bootId ?? '',
        host: null,
        parts: new Map([['boot', log]]),
        unavailable: {},
        readGrowing: async () => ({ parts: new Map() }),
      }),
      signal: ended.signal,
      on: { sent: () => {}, verdict: () => {}, accepted: () => {}, refused: () => {}, fault: () => {} },
    });
    const status = await world.until(async () => {
      const now = await world.status('node-1');
      return now?.state === 'unknown' ? now : null;
    });
    assert.equal(status.verdict?.reasons[0]?.code, 'evidence_overdue');
    // A busy machine may be slower to lose rounds than the node is to age.
    const counted = await world.until(async () => {
      const count = await world.metric('assay_refusals_total{code="evidence_raced"}');
      return count >= 2 ? count : null;
    });
    assert(quotes > 4 * counted, `${quotes} quotes`);
    const entries = (await world.audit()).filter(({ code }) => code === 'evidence_raced');
    assert.deepEqual([entries.length, entries[0]?.subject], [1, 'node-1']);
    ended.abort();
    await conversation.closed;
  });

  it('is trusted again after each of three power losses in a row (row 115)', async function () {
    this.timeout(60_000);
    await using world = await startTestServer();
    await vouchFor(world, machine, 'node-1');
    for (let loss = 1; loss <= 3; loss++) {
      const before = world.verdicts.length;
      await machine.powerCycle(log);
      await using _agent = await startAgent(machine, 'node-1', agentsOf(world));
      await world.until(() => world.verdicts.length >= before + 2, 10_000);
      const told = world.verdicts
        .slice(before)
        .map(({ verdict }) => [verdict.state, verdict.reasons[0]?.code]);
      assert.deepEqual(told[0], ['pending', 'rebooted']);
      assert.equal(told[1]?.[0], 'trusted');
    }
  });
});
