import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import { SharedVolumes } from '../../../attest-server/attest/shared-volumes.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import type { DiskPart } from '../../../attest-server/wire/disk.ts';
import { inspectedOf, recordedPart, seenOtherwise } from '../policy/disk/made-disk.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts } from './made-machine.ts';

describe('volumes that several nodes show', () => {
  it('are told to each of them, with the names of the others, and bounded', () => {
    const volumes = new SharedVolumes();
    for (let node = 0; node < 20; node++) volumes.claim(`n${node}`, ['uuid:1', `key:${node}`]);
    const [shared, ...others] = volumes.sharedBy('n0');
    assert.deepEqual([shared?.mark, shared?.nodes.length, others], ['uuid:1', 8, []]);
    for (let node = 1; node < 20; node++) volumes.release(`n${node}`);
    assert.deepEqual(volumes.sharedBy('n0'), []);
  });

  it('are those that it shows now', () => {
    const volumes = new SharedVolumes();
    volumes.claim('a', ['uuid:1']);
    volumes.claim('b', ['uuid:1']);
    volumes.claim('b', ['uuid:2']);
    assert.deepEqual([volumes.sharedBy('a'), volumes.sharedBy('b')], [[], []]);
    assert.deepEqual(volumes.marksOf('b'), ['uuid:2']);
  });
});

const policy = parsePolicy(
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: all\n    nodes: ["*"]\n    require: [disk]\n',
  'p',
);

describe('a header on two nodes', () => {
  let good: DiskPart;
  before(async () => {
    good = await recordedPart('01-luks2');
  });
  const bytes = (part: DiskPart) => Buffer.from(JSON.stringify(part));
  /** The header with another UUID, and the mapping that it opened. */
  const renamed = (part: DiskPart): DiskPart => {
    const [header] = inspectedOf(part).headers;
    const old = header?.uuid ?? '';
    const uuid = old.replace(/^a/, 'b');
    const text = JSON.stringify(part)
      .replaceAll(old, uuid)
      .replaceAll(old.replaceAll('-', ''), uuid.replaceAll('-', ''));
    return JSON.parse(text);
  };
  /** With another volume key, too. */
  const rekeyed = (part: DiskPart): DiskPart =>
    seenOtherwise(renamed(part), {
      headers: inspectedOf(renamed(part)).headers.map((header) => ({
        ...header,
        metadata: header.metadata?.replace(/"digest":"[A-Za-z0-9]/, '"digest":"/') ?? null,
      })),
    });

  it('makes both untrusted, whatever its UUID says, over a restart too, until one goes (row 55)', async () => {
    for (const copy of [good, renamed(good)]) {
      await using store = await openMadeStore(':memory:');
      const machines: MadeMachine[] = [];
      for (const name of ['node-1', 'node-2']) {
        const machine = madeMachine(name);
        await store.enrolment.enrol(machine.record, madeEvent('enrol', machine.record.name));
        machines.push(machine);
      }
      const [first, second] = machines;
      assert.ok(first !== undefined && second !== undefined);
      let now = 0;
      const open = () => Attestation.open(madePorts(store, { policy, now: () => now }), null);
      let attestation = await open();
      const judge = async (machine: MadeMachine, part: DiskPart) => {
        now += 1_000;
        const judged = await attestation.judge(machine.node, machine.answer(now, { disk: bytes(part) }));
        assert.ok('state' in judged);
        return [judged.state, ...judged.codes.filter((code) => code.startsWith('luks_'))];
      };
      assert.deepEqual(await judge(first, good), ['trusted']);
      assert.deepEqual(await judge(second, copy), ['untrusted', 'luks_key_shared']);
      assert.deepEqual(await judge(first, good), ['untrusted', 'luks_key_shared']);
      await attestation.idle();
      attestation = await open();
      assert.deepEqual(await judge(first, good), ['untrusted', 'luks_key_shared']);
      assert.deepEqual(await judge(second, rekeyed(good)), ['trusted']);
      assert.deepEqual(await judge(first, good), ['trusted']);
      assert.deepEqual(await judge(second, copy), ['untrusted', 'luks_key_shared']);
      await attestation.lives.release('node-2', async () => {});
      assert.deepEqual(await judge(first, good), ['trusted']);
      await attestation.idle();
    }
  });

  it('is remembered of a node that shows no headers any more', async () => {
    await using store = await openMadeStore(':memory:');
    const machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', machine.record.name));
    const attestation = await Attestation.open(madePorts(store, { policy }), null);
    await attestation.judge(machine.node, machine.answer(1_000, { disk: bytes(good) }));
    const seen = JSON.stringify(attestation.status('node-1')?.memory.disk);
    assert.match(seen, /"key:[0-9a-f]{32}"/);
    const hidden = { ...good, inspected: { cause: 'none' } };
    await attestation.judge(machine.node, machine.answer(2_000, { disk: bytes(hidden) }));
    assert.equal(attestation.status('node-1')?.state, 'pending');
    assert.equal(JSON.stringify(attestation.status('node-1')?.memory.disk), seen);
    await attestation.idle();
  });
});
