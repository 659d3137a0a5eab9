import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { Answer } from '../../../../attest-server/attest/answer.ts';
import { Attestation } from '../../../../attest-server/attest/attestation.ts';
import type { AttestPorts } from '../../../../attest-server/attest/ports.ts';
import {
  type GivenInitrd,
  givenInitrd,
  withInitrds as withGivenInitrds,
} from '../../../../attest-server/cli/offline/verify/given-initrds.ts';
import { verifyBundle } from '../../../../attest-server/cli/offline/verify/verify.ts';
import { keptContext } from '../../../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../../../attest-server/evidence/unpack.ts';
import { atOnce } from '../../../../attest-server/formats/in-steps.ts';
import { InForce } from '../../../../attest-server/in-force/in-force.ts';
import type { Store } from '../../../../attest-server/store/open.ts';
import { verifyBundleEvidence } from '../../../../attest-server/verify/bundle-evidence.ts';
import {
  packManifest,
  parsePackedManifest,
} from '../../../../attest-server/verify/initrd/packed-manifest.ts';
import type { ReadInitrd } from '../../../../attest-server/verify/read-initrd.ts';
import { initrdList } from '../../../../attest-server/wire/initrd-list.ts';
import { madeInitrd, withInitrds } from '../../../../swtpm-fixtures/initrd.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { policyOf, replayedValues } from '../../policy/made-proof.ts';
import { madeEvent } from '../../store/made-records.ts';
import { openMadeStore } from '../../store/made-store.ts';
import { type MadeMachine, madeMachine, madePorts } from '../made-machine.ts';

const policy = policyOf('require: [boot]', 'boot: {scope: {initrd: contents}}');
const base = recordedLog('fedora41-locality-3');
const imageOf = (text: string) => madeInitrd({ init: Buffer.from(text), 'bin/sh': Buffer.alloc(3000, text) });
const digestOf = (image: Buffer) => hash('sha256', image, 'hex');
const minute = 60_000;
const entriesOf = ({ whole }: Pick<ReadInitrd, 'whole'>) => atOnce(whole()).entries;

interface Said {
  /** Bytes of the image in this answer; null where the node does not find it. */
  readonly came?: Buffer | null;
  readonly more?: boolean;
  readonly speaks?: boolean;
}

describe('the initrds that nodes booted', () => {
  let store: Store;
  let attestation: Attestation;
  let machines: readonly MadeMachine[];
  let called: string[];
  let now: number;
  let clock: number;
  /** Of each machine: the image that it booted last, and how often it booted. */
  let booted: { image: Buffer; count: number }[];

  beforeEach(async () => {
    [now, clock] = [0, 0];
    booted = [];
    store = await openMadeStore(':memory:');
    machines = [1, 2, 3, 4].map((which) => madeMachine(`node-${which}`));
    for (const { record, node } of machines)
      await store.enrolment.enrol(record, madeEvent('enrol', node.name));
    await open();
  });
  afterEach(async () => {
    await attestation.idle();
    await store[Symbol.asyncDispose]();
  });

  async function open(change: Partial<AttestPorts> = {}): Promise<void> {
    called = [];
    const inForce = new InForce(policy, [], keptContext);
    const ports = madePorts(store, {
      now: () => now,
      monotonic: () => clock,
      inForce: () => inForce,
      askAgain: (node) => called.push(node),
      ...change,
    });
    attestation = await Attestation.open(ports, null);
  }

  /** An answer to what the node is asked for at present. */
  function judge(which: number, image: Buffer, { came, more = false, speaks = true }: Said = {}) {
    const machine = machines[which - 1] ?? assert.fail();
    const bootLog = withInitrds(base, [image]);
    now += minute;
    const before = booted[which];
    const boot = before?.image.equals(image) ? before : { image, count: (before?.count ?? 0) + 1 };
    booted[which] = boot;
    const made = machine.answer(now, {
      occasion: { bootLog },
      pcrs: { sha256: replayedValues(bootLog, 'sha256') },
      resetCount: boot.count,
    });
    const asked = placeOf(which);
    const answer: Answer = {
      ...made,
      supplements: speaks
        ? {
            initrds: {
              asked: asked && { of: [asked.digest ?? ''], from: asked.from, bootId: null },
              came: asked === null || came == null ? null : { from: asked.from, more, pieces: [came] },
            },
          }
        : {},
    };
    return attestation.judge(machine.node, answer);
  }

  const placeOf = (which: number) => {
    const { initrds: place } = attestation.supplements.ask(`node-${which}`, Buffer.alloc(0));
    return place === undefined ? null : { digest: place.of[0], from: place.from };
  };
  const whole = async (which: number, image: Buffer) => {
    await judge(which, image);
    await judge(which, image, { came: image });
  };
  const textsOf = (which: number) =>
    (attestation.status(`node-${which}`)?.verdict?.reasons ?? [])
      .filter(({ code }) => code === 'facts_unavailable')
      .map(({ text }) => text);
  const bundleOf = async (which: number) => {
    await store.verdicts.settled();
    const digest = attestation.status(`node-${which}`)?.evidenceDigest ?? '';
    const bundle = await unpackEvidence(digest, (each) => store.evidence.read(each, `node-${which}`));
    return bundle ?? assert.fail('nothing is kept');
  };
  const bootOf = async (which: number) =>
    verifyBundleEvidence(await bundleOf(which), null).boot ?? assert.fail();

  it('are sent for before there is a verdict, and what is in them is kept with it', async () => {
    const image = imageOf('one');
    assert.deepEqual(await judge(1, image), { again: true });
    assert.deepEqual(placeOf(1), { digest: digestOf(image), from: 0 });
    assert.ok('state' in (await judge(1, image, { came: image })));
    assert.equal(placeOf(1), null);
    const { initrds } = await bootOf(1);
    assert.deepEqual(
      initrds.map(({ image: { sha256 }, whole }) => [sha256, entriesOf({ whole }).map(({ path }) => path)]),
      [[digestOf(image), ['init', 'bin/sh']]],
    );
  });

  it('come once: not again of the node, nor of one that booted the same, nor after a restart', async () => {
    const image = imageOf('one');
    await whole(1, image);
    for (const which of [2, 1]) {
      assert.ok('state' in (await judge(which, image)));
      assert.equal(placeOf(which), null);
    }
    await attestation.idle();
    await open();
    for (const which of [3, 1]) {
      assert.ok('state' in (await judge(which, image)));
      assert.deepEqual([placeOf(which), called], [null, []]);
      assert.equal((await bootOf(which)).initrds.flatMap(entriesOf).length, 2);
    }
  });

  it('go on where they stopped, also from another node', async () => {
    const image = imageOf('one');
    await judge(1, image);
    await judge(1, image, { came: image.subarray(0, 1000), more: true });
    assert.deepEqual(placeOf(1), { digest: digestOf(image), from: 1000 });
    await judge(2, image);
    // The first is not heard of again; the second has its turn.
    clock += minute;
    await judge(1, image, { came: null });
    assert.deepEqual(placeOf(2), { digest: digestOf(image), from: 1000 });
    await judge(2, image, { came: image.subarray(1000) });
    assert.equal((await bootOf(2)).initrds.length, 1);
  });

  it('wait for their turn, and their nodes say their place', async () => {
    const images = ['one', 'two', 'three', 'four'].map(imageOf);
    for (const [index, image] of images.entries()) await judge(index + 1, image);
    assert.deepEqual([placeOf(3), placeOf(4)], [null, null]);
    assert.equal(attestation.status('node-4')?.state, 'pending');
    assert.match(textsOf(4).join(), /place 2 of 2/);
    const [first] = images;
    await judge(1, first ?? assert.fail(), { came: first ?? null });
    assert.deepEqual(called, ['node-1', 'node-2', 'node-3']);
    assert.equal(placeOf(3)?.from, 0);
    assert.match(textsOf(4).join(), /place 2 of 2/);
    await judge(4, images[3] ?? assert.fail());
    assert.match(textsOf(4).join(), /place 1 of 1/);
  });

  it('of which one takes long do not keep their node from a verdict', async () => {
    const image = imageOf('one');
    await judge(1, image);
    clock += 21_000;
    const judged = await judge(1, image, { came: image.subarray(0, 10), more: true });
    assert.ok('state' in judged);
    assert.deepEqual([judged.state, judged.more], ['pending', true]);
    assert.match(textsOf(1).join(), /is being sent/);
  });

  it('with another digest than the measured one are not believed, and the node is left alone', async () => {
    const [image, other] = [imageOf('one'), imageOf('two')];
    await judge(1, image);
    await judge(1, image, { came: other });
    assert.deepEqual((await bootOf(1)).initrds, []);
    assert.deepEqual([placeOf(1), attestation.status('node-1')?.state], [null, 'pending']);
    assert.match(textsOf(1).join(), /another digest/);
    // The image that it did send helps nobody who booted that.
    await judge(2, other);
    assert.deepEqual(placeOf(2), { digest: digestOf(other), from: 0 });
    clock += minute;
    await judge(1, image);
    assert.deepEqual(placeOf(1), { digest: digestOf(image), from: 0 });
  });

  it('of which a liar sent the begin come from whoever goes on, from the begin', async () => {
    const image = imageOf('one');
    await judge(1, image);
    await judge(2, image);
    await judge(1, image, { came: Buffer.alloc(1000), more: true });
    await judge(1, image, { came: null });
    assert.equal(placeOf(2)?.from, 1000);
    await judge(2, image, { came: image.subarray(1000) });
    assert.deepEqual(placeOf(2), { digest: digestOf(image), from: 0 });
    await judge(2, image, { came: image });
    assert.equal((await bootOf(2)).initrds.length, 1);
  });

  it('that the node does not find are named with why, and another node may have them', async () => {
    const image = imageOf('one');
    await judge(1, image);
    await judge(1, image, { came: null });
    assert.match(textsOf(1).join(), /sent nothing of it/);
    assert.equal(placeOf(1), null);
    await judge(2, image);
    assert.notEqual(placeOf(2), null);
  });

  it('are asked of no agent that does not understand it', async () => {
    assert.ok('state' in (await judge(1, imageOf('one'), { speaks: false })));
    assert.equal(placeOf(1), null);
    assert.match(textsOf(1).join(), /update it/);
  });

  it('are asked of no node in a group whose policy goes by their digest', async () => {
    const plain = new InForce(policyOf('require: [boot]'), [], keptContext);
    await open({ inForce: () => plain });
    await judge(1, imageOf('one'));
    assert.equal(placeOf(1), null);
  });

  it('of one node are so many an hour', async () => {
    for (let count = 0; count < 8; count++) await whole(1, imageOf(`image ${count}`));
    await judge(1, imageOf('one more'));
    await judge(1, imageOf('one more'), { came: imageOf('one more') });
    assert.match(textsOf(1).join(), /many images/);
    clock += 61 * minute;
    await whole(1, imageOf('one more'));
    assert.equal((await bootOf(1)).initrds.length, 1);
  });

  it('are read from the image offline, where that is at hand, and not taken from the bundle', async () => {
    const [image, other] = [imageOf('one'), imageOf('two')];
    await whole(1, image);
    const bundle = await bundleOf(1);
    const [, packed] = Object.entries(bundle.files ?? {})[0] ?? assert.fail();
    const said = atOnce(parsePackedManifest(Buffer.from(packed, 'base64')));
    const lie = await packManifest({ ...said, entries: said.entries.slice(1) });
    const list = initrdList([digestOf(lie)]);
    const lying = {
      ...bundle,
      files: { [digestOf(lie)]: lie.toString('base64') },
      parts: { ...bundle.parts, initrds: { digest: digestOf(list), bytes: list.toString('base64') } },
    };
    const notesOf = (text: object, initrds: readonly GivenInitrd[]) =>
      (verifyBundle(JSON.stringify(text), { now: 0, initrds }).verdict.notes ?? []).filter((note) =>
        /initrd|image/.test(note),
      );
    const given = await givenInitrd('initrd.img', [image]);
    assert.match(notesOf(bundle, []).join(), /word of the exporter/);
    assert.deepEqual(notesOf(bundle, [given]), []);
    assert.match(notesOf(lying, [given]).join(), /^The bundle says something else/);
    const proven = verifyBundleEvidence(withGivenInitrds(lying, [given]).bundle, null);
    assert.equal(proven.boot?.initrds.flatMap(entriesOf).length, said.entries.length);
    const [unmeasured] = notesOf(bundle, [await givenInitrd('other.img', [other])]);
    assert.match(unmeasured ?? '', /No initrd that this boot measured is other.img/);
  });

  it('are kept within a budget, of which those go first that nobody boots', async () => {
    await whole(1, imageOf('one'));
    const [kept] = await store.initrds.all();
    await open({ initrdManifests: (kept?.bytes ?? 0) * 2 + 20 });
    await judge(1, imageOf('one'));
    await whole(2, imageOf('two'));
    await whole(3, imageOf('three'));
    assert.match(textsOf(3).join(), /no room/);
    now += 61 * minute;
    await judge(2, imageOf('two'));
    clock += 2 * minute;
    await whole(3, imageOf('three'));
    const left = (await store.initrds.all()).map(({ image: { sha256 } }) => sha256);
    assert.deepEqual(left.sort(), ['two', 'three'].map((name) => digestOf(imageOf(name))).sort());
  });
});
