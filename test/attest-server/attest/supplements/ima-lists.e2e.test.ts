import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { simulateAnswer } from '../../../../attest-server/api/policy-api.ts';
import { simulateBundle } from '../../../../attest-server/cli/offline/policy/simulate-bundle.ts';
import { verifyBundle } from '../../../../attest-server/cli/offline/verify/verify.ts';
import { bundle as bundleSchema } from '../../../../attest-server/formats/bundle.ts';
import { parsePolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { isImaIndex, parseImaIndex } from '../../../../attest-server/wire/ima-pieces.ts';
import { limits } from '../../../../attest-server/wire/limits.ts';
import {
  type AskedSupplement,
  binaryFrame,
  supplementFrame,
} from '../../../../attest-server/wire/messages.ts';
import { entriesIn, type MeasuredEntry, measuredEntry } from '../../../../swtpm-fixtures/ima-list.ts';
import { recordedList, recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from '../../attacker.ts';
import { forgedTpm } from '../../forged-tpm.ts';
import { replayedValues } from '../../policy/made-proof.ts';
import { type ServerSettings, startTestServer } from '../../running-server.ts';
import { madeQuote } from '../../verify/made-quote.ts';

const node = 'node-1';
const policyFile = join(import.meta.dirname, 'runtime-policy.yaml');
const log = recordedLog('debian13-shim-grub');
const booted = entriesIn(recordedList('debian13-shim-grub'));
const bootId = '11111111-8b86-d011-b42d-00cf4fc964ff';

/** A program that the machine ran when it was taken as a model, under another name each time. */
const known = (count: number) =>
  measuredEntry({ digest: hash('sha256', 'known', 'buffer'), name: `/usr/bin/${count}` });
const unknown = measuredEntry({
  digest: hash('sha256', 'unknown', 'buffer'),
  name: '/usr/local/bin/unknown',
});

/** A machine that runs one program after the other. */
class Machine {
  entries: MeasuredEntry[] = [...booted];
  bootId = bootId;
  resetCount = 7;
  #clock = 0n;
  #pcr10 = { entries: 0, value: Buffer.alloc(32) };

  get list(): Buffer {
    return Buffer.concat(this.entries.map(({ bytes }) => bytes));
  }

  run(count: number): void {
    for (let left = count; left > 0; left -= 1) this.entries.push(known(this.entries.length));
  }

  reboot(): void {
    this.entries = [...booted];
    this.resetCount += 1;
    this.bootId = `22222222-8b86-d011-b42d-${String(this.resetCount).padStart(12, '0')}`;
    this.#pcr10 = { entries: 0, value: Buffer.alloc(32) };
  }

  /** A quote over all that ran until now. */
  quote(key: ReturnType<typeof forgedTpm>['ak'], data: Buffer) {
    let { entries, value } = this.#pcr10;
    for (; entries < this.entries.length; entries += 1)
      value = hash(
        'sha256',
        Buffer.concat([value, this.entries[entries]?.digests.sha256 ?? value]),
        'buffer',
      );
    this.#pcr10 = { entries, value };
    const sha256 = replayedValues(log, 'sha256');
    value.copy(sha256, 10 * 32);
    this.#clock += 1000n;
    const { resetCount } = this;
    return madeQuote(key, data, { pcrs: { sha256 }, resetCount, restartCount: 1, clock: this.#clock });
  }
}

/** A server, and a node whose agent answers it. */
async function attested(settings: Pick<ServerSettings, 'imaListMiB' | 'policy'> = {}) {
  const world = await startTestServer({
    challengeEvery: 0.02,
    policy: policyFile,
    ...settings,
  });
  let peer: (Peer & { readonly hello: string }) | null = null;
  const tpm = forgedTpm();
  const machine = new Machine();
  machine.run(1);
  await world.pin(node, tpm.ekDigest);
  await connect();

  async function connect(): Promise<void> {
    await peer?.close();
    peer = await introduce(world, tpm, node, { hello: { speaks: ['parts', 'codes', 'supplements'] } });
  }

  /** Answers challenges as an agent does until there is a verdict. */
  async function answer(shown: { from?: number; list?: Buffer | null; meanwhile?: () => void } = {}) {
    const asked: AskedSupplement[] = [];
    if (peer === null) return assert.fail('it is not connected');
    for (;;) {
      const challenge = await peer.challenge();
      const { ima, loaderFiles } = challenge.supplements ?? {};
      // What its loader read is asked for first, in vain: nothing of the answer before was taken.
      if (loaderFiles !== undefined) asked.length = 0;
      if (ima !== undefined) asked.push(ima);
      if (!challenge.holds.includes(hash('sha256', log))) peer.send(binaryFrame('part', log));
      const occasion = {
        node,
        hello: peer.hello,
        channel: peer.channel,
        bootLog: log,
        bootId: machine.bootId,
      };
      const message = tpm.evidenceOfParts(challenge, occasion, {}, (data) => machine.quote(tpm.ak, data));
      shown.meanwhile?.();
      const list = shown.list === undefined ? machine.list : shown.list;
      if (ima === undefined || list === null) peer.send(message);
      else {
        const from = shown.from ?? (ima.bootId === machine.bootId && ima.from <= list.length ? ima.from : 0);
        const sent = list.subarray(from, from + ima.most);
        const pieces: string[] = [];
        for (let at = 0; at < sent.length; at += limits.ima.piece) {
          const piece = sent.subarray(at, at + limits.ima.piece);
          peer.send(supplementFrame('ima', piece));
          pieces.push(hash('sha256', piece));
        }
        const brought = { from, more: from + sent.length < list.length, pieces };
        peer.send({ ...message, supplements: { ima: brought } });
      }
      const next = await peer.peek();
      if (next?.type === 'challenge') continue;
      const { state, codes } = await peer.verdict();
      return { asked, told: [state, ...codes].join(', ') };
    }
  }

  /** What its exported evidence is found to be, without a server. */
  async function offline(): Promise<{ readonly told: string; readonly list: Buffer | null }> {
    const text = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
    const { state, reasons } = verifyBundle(text, { now: 0 }).verdict;
    const { parts, files = {} } = bundleSchema.parse(JSON.parse(text));
    const index = Buffer.from(parts.ima?.bytes ?? '', 'base64');
    const list = isImaIndex(index)
      ? Buffer.concat(parseImaIndex(index).map(({ digest }) => Buffer.from(files[digest] ?? '', 'base64')))
      : null;
    return { told: [state, ...reasons.map(({ code }) => code)].join(', '), list };
  }

  /** Asserts that the exported bundle shows all of the list, and is judged as the server judged it. */
  async function assertSameOffline(told: string, list = machine.list): Promise<void> {
    const found = await offline();
    assert.equal(found.told, told);
    assert.ok(found.list?.equals(list));
  }

  /** References of what the machine booted and ran until now. */
  async function becomeModel(): Promise<void> {
    await world.call('POST', '/v1/references', { node, name: 'boot' });
    await world.call('POST', '/v1/references', { node, name: 'files', kind: 'runtime' });
  }

  return { world, machine, connect, answer, offline, assertSameOffline, becomeModel };
}

/** Each test goes on where the one before it ended. */
describe('what a node ran, over a real connection', function () {
  this.timeout(60_000);
  let served: Awaited<ReturnType<typeof attested>>;
  before(async () => {
    served = await attested();
  });
  after(() => served?.world[Symbol.asyncDispose]());

  it('is missed until a reference knows it', async () => {
    const { answer, assertSameOffline, becomeModel } = served;
    const { told, asked } = await answer();
    assert.match(told, /^pending, .*no_reference/);
    assert.deepEqual(asked, [{ of: [], from: 0, bootId: null, most: limits.parts.ima }]);
    await assertSameOffline(told);
    await becomeModel();
    assert.equal((await answer()).told, 'trusted');
    await assertSameOffline('trusted');
  });

  it('goes on from where it was proven, and is judged offline as it was', async () => {
    const { machine, answer, assertSameOffline } = served;
    for (const count of [0, 3, 500, 1, 0]) {
      const begin = machine.list.length;
      machine.run(count);
      const { asked, told } = await answer();
      assert.deepEqual([told, asked.map(({ from }) => from)], ['trusted', [begin]]);
      await assertSameOffline('trusted');
    }
  });

  it('is judged up to the quote, where it grew while that was made', async () => {
    const { machine, answer, assertSameOffline } = served;
    const quoted = machine.list;
    assert.equal((await answer({ meanwhile: () => machine.run(2) })).told, 'trusted');
    await assertSameOffline('trusted', quoted);
    const { asked } = await answer();
    assert.deepEqual(
      asked.map(({ from }) => from),
      [quoted.length],
    );
  });

  it('comes over several answers where it grew by more than one may bring', async () => {
    const { machine, answer, assertSameOffline } = served;
    machine.run(5_000);
    const { asked, told } = await answer();
    assert.ok(asked.length > 1);
    assert.equal(told, 'trusted');
    await assertSameOffline('trusted');
  });

  it('is gone on with by a server that starts again, in the middle of it', async () => {
    const { machine, connect, answer, assertSameOffline, world } = served;
    machine.run(400);
    assert.equal((await answer()).told, 'trusted');
    const before = machine.list.length;
    await world.restart();
    machine.run(10);
    await connect();
    const { asked, told } = await answer();
    assert.equal(told, 'trusted');
    const [first] = asked;
    assert.ok(first !== undefined && first.from > before - 32 * 1024 && first.from <= before);
    await assertSameOffline('trusted');
  });

  it('is judged by other policies as it is kept, by the server and without one', async () => {
    const { world } = served;
    const policy = readFileSync(policyFile, 'utf8');
    // The names of programs that the machine ran since it was taken as a model are not those of then.
    const strict = policy.replace('policy:', 'paths: exact\n      policy:');
    for (const [text, state] of [
      [policy, 'trusted'],
      [strict, 'untrusted'],
    ] as const) {
      const request = { policy: text, file: 'a.yaml' };
      const simulated = simulateAnswer.parse(await world.call('POST', '/v1/policy/simulate', request));
      const bundle = JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`));
      const offline = simulateBundle(bundle, 'a.json', parsePolicy(text, 'a.yaml'), null, 0);
      assert.deepEqual([simulated.items[0]?.after?.state, offline.after?.state], [state, state]);
    }
  });

  it('is proven still while PCR 10 stands, where the node cannot read it', async () => {
    const { answer, assertSameOffline } = served;
    const { told } = await answer({ list: null });
    assert.equal(told, 'trusted');
    await assertSameOffline('trusted');
  });

  it('cannot be proven where it branches, and is asked for from its begin', async () => {
    const { machine, answer, offline, assertSameOffline } = served;
    const forged = Buffer.concat([machine.list, unknown.bytes]);
    machine.run(1);
    const { told } = await answer({ list: forged });
    assert.match(told, /ima_incomplete/);
    assert.equal((await offline()).told, told);
    const { asked, told: after } = await answer();
    assert.deepEqual([asked.map(({ from }) => from)[0], after], [0, 'trusted']);
    await assertSameOffline('trusted');
  });

  it('is untrusted where it names what nobody knows, and trusted after a reboot', async () => {
    const { machine, connect, answer, assertSameOffline } = served;
    machine.entries.push(unknown);
    const { told } = await answer();
    assert.match(told, /^untrusted, ima_unknown_file/);
    await assertSameOffline(told);
    machine.reboot();
    await connect();
    await answer();
    assert.equal((await answer()).told, 'trusted');
    await assertSameOffline('trusted');
  });

  it('is untrusted where a file nobody knows has the bare name of the kernel’s own entries (row 330)', async () => {
    const { machine, answer, assertSameOffline } = served;
    machine.entries.push(
      measuredEntry({ digest: hash('sha256', 'unknown', 'buffer'), name: 'boot_aggregate' }),
    );
    const { told } = await answer();
    assert.match(told, /ima_unknown_file/);
    await assertSameOffline(told);
  });
});

describe('a list that goes on while a taint waits', function () {
  this.timeout(60_000);
  it('is judged by the earlier rules to its end, which find what nobody knows (row 378)', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-turned-'));
    await using stack = new AsyncDisposableStack();
    stack.defer(() => rm(dir, { recursive: true }));
    const policy = join(dir, 'policy.yaml');
    const text = readFileSync(policyFile, 'utf8');
    await writeFile(policy, text);
    const { world, machine, answer, becomeModel, connect } = await attested({ policy });
    stack.use(world);
    await answer();
    await becomeModel();
    assert.equal((await answer()).told, 'trusted');
    const turned = async () => (await world.status(node))?.trustedBy?.turned?.as ?? null;
    const isTurned = (as: string | null) => world.until(async () => (await turned()) === as);
    // It asks for no list any more, and for a word that nobody boots with.
    const wrong = text
      .replace(', runtime]', ']')
      .replace(/ {4}runtime:[\s\S]*$/, '    boot: { cmdline: { require: [missing] } }\n');
    await writeFile(policy, wrong);
    await world.server.reload();
    for (const count of [0, 5, 300]) {
      machine.run(count);
      assert.match((await answer()).told, /^untrusted, cmdline_policy/);
      await isTurned('trusted');
    }
    await world.restart();
    await connect();
    machine.run(3);
    assert.match((await answer()).told, /^untrusted, cmdline_policy/);
    await isTurned('trusted');
    machine.entries.push(unknown);
    assert.match((await answer()).told, /^untrusted, cmdline_policy/);
    await isTurned(null);
  });
});

describe('a list that is longer than what the server keeps', function () {
  this.timeout(60_000);
  it('is not taken any further in this boot, and judged offline as it was', async () => {
    await using served = await attested({ imaListMiB: 1 }).then((its) => ({
      ...its,
      [Symbol.asyncDispose]: () => its.world[Symbol.asyncDispose](),
    }));
    const { machine, answer, offline, becomeModel, connect } = served;
    await answer();
    await becomeModel();
    assert.equal((await answer()).told, 'trusted');
    machine.run(12_000);
    const { told } = await answer();
    assert.match(told, /ima_incomplete/);
    assert.deepEqual(await offline(), { told, list: null });
    assert.deepEqual(await answer(), { asked: [], told });
    machine.reboot();
    await connect();
    await answer();
    assert.equal((await answer()).told, 'trusted');
  });
});
