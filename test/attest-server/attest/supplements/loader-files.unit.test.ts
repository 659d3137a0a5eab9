import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import type { Answer } from '../../../../attest-server/attest/answer.ts';
import { Attestation } from '../../../../attest-server/attest/attestation.ts';
import { keptContext } from '../../../../attest-server/evidence/pack.ts';
import { unpackEvidence } from '../../../../attest-server/evidence/unpack.ts';
import { InForce } from '../../../../attest-server/in-force/in-force.ts';
import type { Store } from '../../../../attest-server/store/open.ts';
import { verifyBundleEvidence } from '../../../../attest-server/verify/bundle-evidence.ts';
import { limits } from '../../../../attest-server/wire/limits.ts';
import { parseFileList } from '../../../../attest-server/wire/loader-files.ts';
import { filesOf, withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof, policyOf, replayedValues } from '../../policy/made-proof.ts';
import { madeEvent } from '../../store/made-records.ts';
import { openMadeStore } from '../../store/made-store.ts';
import { partOf } from '../../verify/made-by-hand.ts';
import { type MadeMachine, madeMachine, madePorts } from '../made-machine.ts';

const log = withMadeFiles(recordedLog('fedora41-locality-3'));
const files = [...filesOf(log).values()];
const other = siblingLog(log, { configuration: true });
const policy = policyOf('require: [boot]');

describe('the files of a node’s loader', () => {
  let store: Store;
  let attestation: Attestation;
  let machines: readonly MadeMachine[];
  let now = 0;

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    machines = [madeMachine('node-1'), madeMachine('node-2')];
    for (const { record, node } of machines)
      await store.enrolment.enrol(record, madeEvent('enrol', node.name));
    await open();
  });
  afterEach(() => store[Symbol.asyncDispose]());

  async function open() {
    const references = [capturedFrom(madeProof({ log }), { node: 'another' })];
    const inForce = new InForce(policy, references, keptContext);
    const held = new Map<string, Buffer>();
    const ports = madePorts(store, { now: () => now, inForce: () => inForce });
    const evidence = {
      ...ports.evidence,
      hold: (digest: string, bytes: Buffer) => void held.set(digest, bytes),
      readPart: async (digest: string, node: string) =>
        held.get(digest) ?? (await store.evidence.readShared(digest, node)),
    };
    attestation = await Attestation.open({ ...ports, evidence }, null);
  }

  /** @param came null from an agent that does not understand to be asked */
  function judge(which: number, asked: readonly string[], came: readonly Buffer[] | null, bootLog = log) {
    const machine = machines[which] ?? assert.fail();
    now += 60_000;
    const made = machine.answer(now, {
      occasion: { bootLog },
      pcrs: { sha256: replayedValues(bootLog, 'sha256') },
    });
    const answered = {
      asked: { of: asked, from: 0, bootId: null },
      came: came === null || came.length === 0 ? null : { from: 0, more: false, pieces: came },
    };
    const answer: Answer = came === null ? made : { ...made, supplements: { loaderFiles: answered } };
    return attestation.judge(machine.node, answer);
  }

  async function askedFor(which: number, bootLog = log): Promise<readonly string[]> {
    assert.deepEqual(await judge(which, [], [], bootLog), { again: true });
    return wantedOf(which);
  }

  function wantedOf(which: number): readonly string[] {
    const { name } = (machines[which] ?? assert.fail()).node;
    const { loaderFiles } = attestation.supplements.ask(name, Buffer.alloc(32, 7));
    return loaderFiles?.of ?? assert.fail('nothing is asked for');
  }

  const bundleOf = async (node: string) => {
    const digest = attestation.status(node)?.evidenceDigest ?? '';
    return (await unpackEvidence(digest, (each) => store.evidence.read(each, node))) ?? assert.fail();
  };

  it('are asked for before there is a verdict, and are judged and kept with it', async () => {
    const wanted = await askedFor(0);
    assert.deepEqual([...wanted].sort(), [...new Set(files.map((file) => partOf(file).digest))].sort());
    assert.equal(attestation.status('node-1')?.verdict, null);
    const verdict = await judge(0, wanted, files);
    assert.ok('state' in verdict);
    assert.equal(verdict.state, 'trusted');
    await attestation.idle();
    const bundle = await bundleOf('node-1');
    assert.deepEqual(Object.keys(bundle.files ?? {}).sort(), [...wanted].sort());
    const { state } = verifyBundleEvidence(bundle, null).boot ?? assert.fail();
    assert.deepEqual(state.unexplained, []);
  });

  it('are asked for once: not again of the node, nor of others, nor after a restart', async () => {
    const verdict = await judge(0, await askedFor(0), files);
    assert.ok('state' in verdict);
    for (const which of [0, 1, 1]) assert.ok('state' in (await judge(which, [], [])), `node ${which + 1}`);
    await attestation.idle();
    await open();
    for (const which of [0, 1]) {
      const again = await judge(which, [], []);
      assert.ok('state' in again);
      assert.equal(again.state, 'trusted');
    }
    const [one, other] = await Promise.all(['node-1', 'node-2'].map(bundleOf));
    assert.deepEqual(one?.files, other?.files);
  });

  it('are judged as missing where the node does not have them, and it is asked once (row 137)', async () => {
    const wanted = await askedFor(0, other);
    const verdict = await judge(0, wanted, [], other);
    assert.ok('state' in verdict);
    assert.deepEqual([verdict.state, verdict.codes], ['untrusted', ['bootloader_unknown']]);
    assert.ok('state' in (await judge(0, [], [], other)));
  });

  it('are asked for also where the firmware leaves another bank alone', async () => {
    const machine = machines[0] ?? assert.fail();
    const pcrs = { sha256: replayedValues(log, 'sha256'), sha384: Buffer.alloc(24 * 48) };
    const selection = [
      [0x0b, 'ffffff'],
      [0x0c, 'ffffff'],
    ] as const;
    const made = machine.answer(60_000, { occasion: { bootLog: log }, pcrs, selection });
    const { sha256: every = [] } = made.selection;
    const supplements = { loaderFiles: { asked: null, came: null } };
    const answer = { ...made, selection: { sha256: every, sha384: every }, supplements };
    assert.deepEqual(await attestation.judge(machine.node, answer), { again: true });
  });

  it('may come in several answers', async () => {
    const wanted = await askedFor(0);
    const [half, rest] = [files.slice(0, 2), files.slice(2)];
    const second = await judge(0, wanted, half);
    assert.deepEqual(second, { again: true });
    const left = wantedOf(0);
    assert.equal(left.length, wanted.length - new Set(half.map((file) => partOf(file).digest)).size);
    const third = await judge(0, left, rest);
    assert.ok('state' in third);
    assert.equal(third.state, 'trusted');
  });

  it('are not asked of an agent that does not understand it (row 137)', async () => {
    const verdict = await judge(0, [], null, other);
    assert.ok('state' in verdict);
    assert.deepEqual([verdict.state, verdict.codes], ['untrusted', ['bootloader_unknown']]);
  });

  it('that explain nothing are not kept', async () => {
    const wanted = await askedFor(0);
    const block = Buffer.from('# GRUB Environment Block\nof=another\n'.padEnd(1024, '#'));
    assert.ok('state' in (await judge(0, wanted, [block, ...files])));
    await attestation.idle();
    const list = attestation.status('node-1')?.parts.loaderFiles ?? '';
    const listed = parseFileList((await store.evidence.readShared(list, 'node-1')) ?? assert.fail());
    assert.deepEqual([...listed], [...wanted].sort());
    assert.equal(await store.evidence.readShared(partOf(block).digest, 'node-1'), null);
  });

  it('that nobody asked for are refused, before anybody looks at them', async () => {
    const wanted = await askedFor(0);
    await assert.rejects(judge(0, wanted, [...files, Buffer.from('MZ and more')]), { code: 'malformed' });
    const blocks = Array.from({ length: limits.filesInAnswer.blocks + 1 }, (_, each) =>
      Buffer.alloc(1024, each),
    );
    await assert.rejects(judge(0, wanted, blocks), { code: 'malformed' });
    assert.equal(attestation.status('node-1')?.verdict, null);
  });

  it('that two nodes share travel once: the second waits for the answer of the first', async () => {
    const wanted = await askedFor(0);
    const second = judge(1, [], []);
    assert.ok('state' in (await judge(0, wanted, files)));
    const verdict = await second;
    assert.ok('state' in verdict);
    assert.equal(verdict.state, 'trusted');
  });

  it('of a sibling are its own', async () => {
    assert.ok('state' in (await judge(0, await askedFor(0), files)));
    const wanted = await askedFor(1, other);
    const verdict = await judge(1, wanted, [...filesOf(other).values()], other);
    assert.ok('state' in verdict);
    assert.equal(verdict.state, 'trusted');
  });
});
