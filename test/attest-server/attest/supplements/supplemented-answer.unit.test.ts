import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { Attestation } from '../../../../attest-server/attest/attestation.ts';
import { keptContext } from '../../../../attest-server/evidence/pack.ts';
import { InForce } from '../../../../attest-server/in-force/in-force.ts';
import type { Store } from '../../../../attest-server/store/open.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { SignedAnswer } from '../../../../attest-server/verify/verify.ts';
import { limits } from '../../../../attest-server/wire/limits.ts';
import { parseFileList } from '../../../../attest-server/wire/loader-files.ts';
import type {
  AnsweredSupplement,
  AnsweredSupplements,
  ArrivedSupplement,
  SupplementName,
  SupplementPlaces,
} from '../../../../attest-server/wire/supplements.ts';
import { supplementNames } from '../../../../attest-server/wire/supplements.ts';
import { madeInitrd, withInitrds } from '../../../../swtpm-fixtures/initrd.ts';
import { filesOf, withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { policyOf, replayedValues } from '../../policy/made-proof.ts';
import { madeEvent } from '../../store/made-records.ts';
import { openMadeStore } from '../../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts } from '../made-machine.ts';

const image = madeInitrd({ init: Buffer.from('init'), 'bin/sh': Buffer.alloc(3000, 'sh') });
const withFiles = withMadeFiles(recordedLog('fedora41-locality-3'));
const bootLog = withInitrds(withFiles, [image]);
const files = new Map([...filesOf(withFiles).values()].map((bytes) => [hash('sha256', bytes, 'hex'), bytes]));
const policy = policyOf('require: [boot]', 'boot: {scope: {initrd: contents}}');

/** A node whose boot lacks everything: files of its loader, an initrd, and its list, which grows. */
describe('an answer with its supplements', () => {
  let store: Store;
  let machine: MadeMachine;
  let attestation: Attestation;
  let now: number;
  let list: Buffer;
  let verified = 0;
  let latest: Proven | null = null;
  /** Digest of what cannot be read of what is kept. */
  let lost: string | null = null;
  const { provenInSteps } = SignedAnswer.prototype;

  beforeEach(async () => {
    now = 0;
    list = Buffer.from('no list that leads to PCR 10');
    [latest, lost] = [null, null];
    SignedAnswer.prototype.provenInSteps = function* (...args) {
      verified += 1;
      latest = yield* provenInSteps.apply(this, args);
      return latest;
    };
    store = await openMadeStore(':memory:');
    machine = madeMachine('node-1');
    await store.enrolment.enrol(machine.record, madeEvent('enrol', 'node-1'));
    await open();
  });
  afterEach(async () => {
    SignedAnswer.prototype.provenInSteps = provenInSteps;
    await attestation.idle();
    await store[Symbol.asyncDispose]();
  });

  async function open(): Promise<void> {
    const inForce = new InForce(policy, [], keptContext);
    const ports = madePorts(store, { now: () => now, monotonic: () => now, inForce: () => inForce });
    const { readPart } = ports.evidence;
    const evidence: typeof ports.evidence = {
      ...ports.evidence,
      readPart: async (digest, node) => (digest === lost ? null : readPart(digest, node)),
    };
    attestation = await Attestation.open({ ...ports, evidence }, null);
  }

  /** What the node has of what it is asked for. */
  function found(places: SupplementPlaces): AnsweredSupplements {
    const has: Readonly<Record<SupplementName, (name: SupplementName) => ArrivedSupplement>> = {
      loaderFiles: (name) => ({ from: 0, more: false, pieces: (places[name]?.of ?? []).map(fileOf) }),
      initrds: (name) => ({ from: 0, more: false, pieces: [image.subarray(places[name]?.from)] }),
      ima: (name) => ({ from: 0, more: false, pieces: [list.subarray(places[name]?.from)] }),
    };
    const answered: Partial<Record<SupplementName, AnsweredSupplement>> = {};
    for (const name of supplementNames) {
      const asked = places[name] ?? null;
      answered[name] = { asked, came: asked === null ? null : has[name](name) };
    }
    return answered;
  }

  /** How often each answer was verified, until there is a verdict. */
  async function verifications(brings = found): Promise<readonly number[]> {
    const counts: number[] = [];
    for (;;) {
      now += 1000;
      const made = machine.answer(now, {
        occasion: { bootLog },
        pcrs: { sha256: replayedValues(bootLog, 'sha256') },
      });
      const supplements = brings(attestation.supplements.ask('node-1', made.channel));
      verified = 0;
      const judged = await attestation.judge(machine.node, { ...made, supplements });
      counts.push(verified);
      if ('state' in judged) return counts;
    }
  }

  it('is verified twice at most, however much of it came, was kept, or is lacking (row 374)', async () => {
    const first = await verifications();
    assert.ok(first.length > 1 && first.every((count) => count <= 2), first.join());
    const { parts } = attestation.status('node-1') ?? assert.fail();
    assert.deepEqual(
      supplementNames.filter((name) => parts[name] === undefined),
      [],
    );
    list = Buffer.concat([list, Buffer.from('more')]);
    now += 3_600_000;
    assert.deepEqual(await verifications(), [2]);
    await attestation.idle();
    await open();
    const again = await verifications();
    assert.ok(
      again.every((count) => count <= 2),
      again.join(),
    );
  });

  it('is verified once where nothing is added to what was known before', async () => {
    await verifications();
    const nothing = () => ({});
    assert.deepEqual(await verifications(nothing), [1]);
  });

  it('is judged without what its node does not send, and says why for a person', async () => {
    const nothing = (places: SupplementPlaces): AnsweredSupplements =>
      Object.fromEntries(supplementNames.map((name) => [name, { asked: places[name] ?? null, came: null }]));
    const counts = await verifications(nothing);
    assert.ok(counts.every((count) => count <= 2) && counts.length < 8, counts.join());
    const { verdict } = attestation.status('node-1') ?? assert.fail();
    assert.match((verdict?.reasons ?? []).map(({ text }) => text).join(), /sent nothing of it/);
  });

  it('is judged with a file that was lost here and came again, by a list that is the one before', async () => {
    const withoutList = (places: SupplementPlaces): AnsweredSupplements => {
      const { ima: _, ...others } = found(places);
      return others;
    };
    await verifications(withoutList);
    const before = attestation.status('node-1')?.parts.loaderFiles;
    assert.equal(unexplained(latest), 0);
    await attestation.idle();
    [lost = null] = parseFileList((await store.evidence.readShared(before ?? '', 'node-1')) ?? assert.fail());
    await open();
    await verifications(() => ({}));
    const lacking = latest?.boot?.filesDigest;
    assert.ok((unexplained(latest) ?? 0) > 0);
    const counts = await verifications(withoutList);
    assert.ok(counts.length > 1 && counts.every((count) => count <= 2), counts.join());
    assert.equal(attestation.status('node-1')?.parts.loaderFiles, before);
    assert.equal(unexplained(latest), 0);
    assert.notEqual(latest?.boot?.filesDigest, lacking, 'judgements on these two are remembered as one');
  });

  it('brings no more of a file than a node may send', async () => {
    const tooMuch = (places: SupplementPlaces): AnsweredSupplements => ({
      ...found(places),
      loaderFiles: {
        asked: places.loaderFiles ?? null,
        came: { from: 0, more: false, pieces: [Buffer.alloc(limits.loaderFiles.each, 'x')] },
      },
    });
    await assert.rejects(verifications(tooMuch), { code: 'malformed' });
  });
});

function unexplained(proven: Proven | null): number | undefined {
  return proven?.boot?.state.unexplained.length;
}

function fileOf(digest: string): Buffer {
  return files.get(digest) ?? assert.fail(`${digest} is no file of its loader`);
}
