import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { getHeapSnapshot } from 'node:v8';
import { after, before, describe, it } from 'mocha';
import type { Answer } from '../../../attest-server/attest/answer.ts';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { AttestPorts } from '../../../attest-server/attest/ports.ts';
import { keptContext, Packer } from '../../../attest-server/evidence/pack.ts';
import { InForce } from '../../../attest-server/in-force/in-force.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { madeInitrd, withInitrds } from '../../../swtpm-fixtures/initrd.ts';
import { withMadeFiles } from '../../../swtpm-fixtures/loader-files.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { recordedPart } from '../policy/disk/made-disk.ts';
import { policyOf, replayedValues } from '../policy/made-proof.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';
import { partOf } from '../verify/made-by-hand.ts';
import { type MadeMachine, madeMachine, madePorts } from './made-machine.ts';

const minute = 60_000;
const policy = policyOf('require: [boot]', 'boot: {scope: {initrd: contents}}');
const log = recordedLog('fedora41-locality-3');
const bootLog = withInitrds(log, [madeInitrd({ init: Buffer.from('made') })]);
const logOfFiles = withMadeFiles(log);
const firewall = Buffer.from('rules');

/** Its rules are those that it sent before. */
const naming = {
  parts: { boot: partOf(bootLog), firewall: { digest: partOf(firewall).digest, bytes: null } },
};

/** Name and endorsement key of a node, as bytes that are in no heap: a look for them does not find them here. */
type HiddenNode = readonly Buffer[];

const unasked = { asked: null, came: null };

describe('a node that the server forgets', () => {
  let store: Store;
  let ports: AttestPorts;
  let attestation: Attestation;
  let now: number;
  let disk: Buffer;
  let inForce: InForce;
  let areGone: boolean;
  let isRead: Promise<void>;

  /** The server of each life: what one holds is found, though the next one goes on. */
  const attestations: Attestation[] = [];
  const packing: AttestPorts['evidence'][] = [];
  /** By what became of them, the lives of which something is left. */
  let left: Readonly<Record<keyof typeof ends, readonly string[]>>;

  before(async function () {
    this.timeout(60_000);
    disk = Buffer.from(JSON.stringify(await recordedPart('01-luks2')));
    store = await openMadeStore(':memory:');
    [now, inForce] = [0, new InForce(policy, [], keptContext)];
    // A snapshot takes long: one shows what is left of all of them.
    const hidden = [await live(ends.revoked), await live(ends.archived), await live(ends.nothing)];
    const found = await nodesLeft(hidden.flat());
    const [revoked = [], archived = [], nothing = []] = hidden.map((_, index) =>
      Object.keys(lives).filter((_, life) => found.has(index * Object.keys(lives).length + life)),
    );
    left = { revoked, archived, nothing };
  });
  after(() => store?.[Symbol.asyncDispose]());

  async function restart(): Promise<void> {
    await store.verdicts.settled();
    const { evidence, ...made } = madePorts(store, { now: () => now, monotonic: () => now, fault: () => {} });
    const { readPart } = evidence;
    ports = {
      ...made,
      inForce: () => inForce,
      evidence: {
        ...evidence,
        async readPart(digest, node) {
          await isRead;
          return areGone ? null : readPart(digest, node);
        },
      },
    };
    attestation = await Attestation.open(ports, null);
  }

  /** Of other rooms, which are bounded by number and have tests of their own. */
  function forgetCaches(): void {
    inForce = new InForce(policy, [], keptContext);
    for (const evidence of packing) Object.assign(evidence, { packer: new Packer() });
  }

  async function enrolled(): Promise<MadeMachine> {
    const machine = madeMachine(`node-${randomBytes(12).toString('hex')}`);
    await store.enrolment.enrol(machine.record, madeEvent('enrol', machine.record.name));
    return machine;
  }

  /** @param change of the answer */
  function judge(machine: MadeMachine, change: Partial<Answer> = {}, reset = 1, as = bootLog) {
    now += minute;
    const made = machine.answer(now, {
      occasion: { bootLog: as },
      pcrs: { sha256: replayedValues(as, 'sha256') },
      resetCount: reset,
      firewall,
    });
    return attestation.judge(machine.node, { ...made, ...change });
  }

  /** Judged by a server that was started again since: of what it showed only digests are known. */
  const known: readonly string[] = ['named a part that is gone', 'is still answering'];

  /** What each leaves behind, which the server has to forget with the node; some give what comes after that. */
  const lives: Readonly<Record<string, (machine: MadeMachine) => Promise<unknown>>> = {
    // First: once others have shown the same, the server knows it.
    'named a part that is gone': async (machine) => {
      areGone = true;
      await assert.rejects(judge(machine, naming), { code: 'malformed' });
      areGone = false;
      assert.equal(attestation.heldParts(machine.record.name).firewall, undefined);
    },
    'is still answering': async (machine) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      [areGone, isRead] = [true, promise];
      const judged = assert.rejects(judge(machine, naming), { code: 'malformed' });
      return async () => {
        resolve();
        await judged;
        areGone = false;
      };
    },
    'is to be asked for files once those of others are read': async (machine) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      isRead = promise;
      const judged = judge(machine, { supplements: { loaderFiles: unasked } }, 1, logOfFiles);
      await setImmediate();
      return async () => {
        resolve();
        assert.deepEqual(await judged, { again: true });
      };
    },
    'was judged': (machine) => judge(machine),
    'says its machine, which others may be': (machine) =>
      attestation.judge(
        machine.node,
        machine.answer(now, {
          occasion: { bootLog, host: { systemUuid: '4c4c4544-0042-3510-8052-b4c04f4d5132' } },
          pcrs: { sha256: replayedValues(bootLog, 'sha256') },
        }),
      ),
    'has a volume, which others may have': (machine) =>
      attestation.judge(machine.node, machine.answer(now, { disk })),
    'waits to send its initrd': (machine) => judge(machine, { supplements: { initrds: unasked } }),
    'was asked for files of its loader': (machine) =>
      judge(machine, { supplements: { loaderFiles: unasked } }, 1, logOfFiles),
    'sent a part of its list': (machine) =>
      judge(machine, {
        supplements: { ima: { asked: null, came: { from: 0, more: true, pieces: [Buffer.alloc(64, 'a')] } } },
      }),
    'changes all the time': async (machine) => {
      for (let reset = 1; reset < 12; reset += 1) {
        await judge(machine, {}, reset);
        now -= minute - 1;
      }
    },
    'failed by a fault of ours': async (machine) => {
      await judge(machine);
      attestation.failed(machine.record.name, new TypeError('x is not a function'));
    },
    'has a verdict on its way to the disk': async (machine) => {
      await judge(machine);
      await judge(machine);
    },
    'is overdue, which cannot be stored': async (machine) => {
      await judge(machine);
      attestation.failed(machine.record.name, new TypeError('x is not a function'));
      now += 10 * minute;
      await attestation.sweep();
    },
    'answers once more': async (machine) => {
      await judge(machine);
      return () => judge(machine).catch((error: unknown) => assert.ok(error instanceof Rejection));
    },
    'never showed anything good': async (machine) => {
      areGone = true;
      await assert.rejects(judge(machine, naming), { code: 'malformed' });
      areGone = false;
    },
  };

  /** Of which of them something is on the heap; a snapshot is taken of what is reachable alone. */
  async function nodesLeft(hidden: readonly HiddenNode[]): Promise<ReadonlySet<number>> {
    await store.verdicts.settled();
    forgetCaches();
    // The store's compiler of queries holds the parameters of the last one.
    await store.enrolment.enrol(madeMachine('nobody').record, madeEvent('enrol', 'nobody'));
    await setImmediate();
    const found = new Set<number>();
    let before = Buffer.alloc(0);
    for await (const chunk of getHeapSnapshot()) {
      const text = Buffer.concat([before, chunk as Buffer]);
      hidden.forEach((words, index) => {
        if (words.some((word) => text.includes(word))) found.add(index);
      });
      before = text.subarray(-100);
    }
    return found;
  }

  /** By a server of its own, and each in a frame of its own, so that the test holds none of them. */
  async function live(end: (machine: MadeMachine) => Promise<void>): Promise<readonly HiddenNode[]> {
    [areGone, isRead] = [false, Promise.resolve()];
    await restart();
    const machines: MadeMachine[] = [];
    for (const what of Object.keys(lives)) {
      const machine = await enrolled();
      machines.push(machine);
      if (known.includes(what)) await judge(machine);
    }
    await restart();
    attestations.push(attestation);
    packing.push(ports.evidence);
    const hidden: HiddenNode[] = [];
    for (const life of Object.values(lives)) {
      const machine = machines.shift() ?? assert.fail();
      const later = await life(machine);
      await end(machine);
      if (typeof later === 'function') await later();
      const { name, ekDigest } = machine.record;
      // The key as a whole string: the store remembers pairs of it and what it keeps, for some of them.
      hidden.push([name, JSON.stringify(ekDigest)].map((word) => Buffer.from(word)));
    }
    return hidden;
  }

  const ends = {
    revoked: (machine) =>
      attestation.lives.release(machine.record.name, () => revoke(machine), machine.record.akName),
    archived: async ({ record: { name, ekDigest, akName } }) => {
      const event = madeEvent('node.archive', 'nodes');
      await attestation.lives.archive([`not ${name}`, name], async () => {
        await store.presence.noteNodes([ekDigest]);
        await store.presence.leave([{ ekDigest, missingSince: now, goneAt: now, audit: event }]);
        await store.presence.archive([ekDigest], now, event, () => event);
        return [name];
      });
      // What was proven of a key is remembered by the key, for many of them.
      await attestation.lives.release('another', async () => {}, akName);
    },
    nothing: async () => {},
  } satisfies Record<string, (machine: MadeMachine) => Promise<void>>;

  it('leaves nothing behind, whatever it did, once it is no node any more', () => {
    assert.deepEqual(left.revoked, []);
  });

  it('leaves nothing behind, whatever it did, once its record is archived', () => {
    // It is enrolled, and comes back by that.
    assert.deepEqual(left.archived, ['answers once more']);
  });

  it('is found where it is not forgotten: this test can fail', () => {
    assert.deepEqual(left.nothing, Object.keys(lives));
  });

  async function revoke({ record: { name, ekDigest } }: MadeMachine): Promise<void> {
    const revoked = { name, ekDigest, at: now, reason: 'made' };
    await store.enrolment.revoke(revoked, madeEvent('enrol.revoke', name));
  }
});
