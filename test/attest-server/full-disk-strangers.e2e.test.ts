import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { trials } from '../trials.ts';
import { dial, enrolledNode, introduce } from './attacker.ts';
import { forgedTpm } from './forged-tpm.ts';
import { startTestServer, type TestServer } from './running-server.ts';
import { type SmallDisk, smallDisk } from './small-disk.ts';

const policy = join(tmpdir(), `assay-full-disk-${process.pid}.yaml`);
const groups = `apiVersion: assay.dev/v1
kind: Policy
groups:
  - {name: lab, nodes: ["lab-*"], mode: observe, require: [identity], enrolment: [first-use]}
  - {name: others, nodes: ["*"], mode: observe, require: [identity], enrolment: [pin]}
`;

describe('strangers at a server whose disk is full', function () {
  this.timeout(300_000);
  let disk: SmallDisk;
  let world: TestServer;

  before(async function () {
    const made = await smallDisk(2);
    if (made === null) {
      console.log('      skipped: only root may mount a file system of 2 MiB');
      this.skip();
    }
    disk = made;
    writeFileSync(policy, groups);
    world = await startTestServer({ policy, within: disk.path });
    await enrolledNode(world, forgedTpm(), 'stolen');
    disk.fill();
    // As long as the database has pages that nobody uses, it needs no room: somebody uses them up.
    await world.until(async () => {
      await world.joinToken('node-8');
      return (await ready()) === 503;
    }, 15_000);
  });
  after(async () => {
    rmSync(policy, { force: true });
    try {
      await world?.[Symbol.asyncDispose]();
    } finally {
      await disk?.[Symbol.asyncDispose]();
    }
  });

  const ready = async () => (await fetch(`http://127.0.0.1:${world.server.metricsPort}/readyz`)).status;
  const source = (each: number) => `127.${Math.floor(each / 200)}.${1 + (each % 200)}.1`;
  const admin = () => readFileSync(join(world.stateDir, 'admin.token'), 'utf8').trim();

  it('use up nothing of the room that is kept for people: not by first use, and not by what they are refused for (row 75)', async () => {
    const [before, nodes] = [(await world.audit()).length, (await world.store.enrolment.nodes()).length];
    // A token takes some 11 KiB of the 256 that are kept.
    for (let each = 0; each < trials(60); each += 1) {
      const [tpm, node] = [forgedTpm(), `lab-${each}`];
      const peer = await introduce(world, tpm, node, { from: source(each) });
      const { hello, channel } = peer;
      for (let next = await peer.peek(); next !== null; next = await peer.peek())
        if (next.type !== 'challenge') await peer.receive();
        else peer.send(tpm.evidence(await peer.challenge(), { node, hello, channel }));
      // Nobody vouched for this one: it waits for a person, and that is remembered.
      const waiting = await introduce(world, forgedTpm(), `waits-${each}`, { from: source(each) });
      assert.equal(await waiting.refusal(), 'enrolment_pending');
      const other = await dial(world, { from: source(each) });
      other.send('no message');
      await other.refusal();
      // However quick the machine: the door lets in no more newcomers a second.
      await sleep(5);
    }
    assert.equal(await ready(), 503);
    const revoked = await world.ask('POST', '/v1/enrolments/stolen/revoke', admin(), {
      reason: 'it is stolen',
    });
    assert.equal(revoked.status, 201, revoked.text);
    assert.equal(await world.store.enrolment.node('stolen'), null);
    assert.equal((await world.store.enrolment.nodes()).length, nodes - 1);
    // The revocation, and nothing of theirs.
    assert.equal((await world.audit()).length, before + 1);
  });

  it('are told of once there is room again', async () => {
    disk.empty();
    await world.until(async () => (await ready()) === 200, 15_000);
    await world.until(async () => (await world.audit()).some(({ action }) => action === 'refuse'));
    await enrolledNode(world, forgedTpm(), 'honest');
  });
});
