import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { ekDigestOf } from '../attest-server/real-agent.ts';
import { commandsIn, fallNight, goodBoot, investigate, type Night, node, type } from './night.ts';

describe('incidents: a node is silent', function () {
  this.timeout(120_000);
  let night: Night;
  let board: FixtureMachine;
  before(async () => {
    [night, board] = await Promise.all([fallNight(), startMachine({ log: goodBoot })]);
  });
  after(async () => {
    await night?.[Symbol.asyncDispose]();
    await board?.dispose();
  });

  it('says of a dead agent since when, from where it last came, and what to look at', async () => {
    await night.killAgent();
    await night.reaches('unknown', 'evidence_overdue');
    await investigate(night, {
      steps: [['why', node]],
      cause: ['evidence_overdue', '127.0.0.1'],
      next: [/^(sudo )?systemctl status assay-agent/],
    });
    await night.startAgent();
    await night.reaches('trusted');
  });

  it('says of a silent node that another TPM claims its name, and leads to its enrolment (row 402)', async () => {
    await night.killAgent();
    await night.startAgent(board);
    await night.reaches('unknown');
    const digest = await ekDigestOf(board);
    await night.world.until(
      async () => JSON.stringify(await night.world.call('GET', '/v1/enrolments')).includes(digest),
      15_000,
    );
    const shown = await investigate(night, {
      steps: [['why', node]],
      cause: [/another TPM/i, digest.slice(0, 12), '127.0.0.1'],
      next: [`assay enrol revoke ${node} --reason`, `assay enrol approve ${node} --ek ${digest}`],
    });
    assert.equal(await night.world.metric('assay_nodes_silent_claimed'), 1);
    assert.match(
      await night.world.metrics(),
      /^assay_node_silence_info\{node="node-1",.*claimed="true"\} 1$/m,
    );
    assert(
      shown.search(/another TPM/i) < shown.indexOf('evidence_overdue') || !shown.includes('evidence_overdue'),
    );
    const commands = commandsIn(shown);
    const revoke = commands.find((line) => line.startsWith('assay enrol revoke')) ?? '';
    const approve = commands.find((line) => line.startsWith('assay enrol approve')) ?? '';
    const revoked = await type(night, `${revoke} --yes`);
    assert.equal(revoked.code, 0, revoked.stderr);
    const approved = await type(night, approve);
    assert.equal(approved.code, 0, approved.stderr);
    await night.reaches('trusted');
    assert.equal(await night.world.metric('assay_nodes_silent_claimed'), 0);
  });
});
