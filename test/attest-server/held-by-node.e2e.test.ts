import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import { binaryFrame } from '../../attest-server/wire/messages.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from './attacker.ts';
import { runAssay } from './cli/cli-fixture.ts';
import { type ForgedTpm, forgedTpm } from './forged-tpm.ts';
import { replayedValues } from './policy/made-proof.ts';
import { startTestServer, type TestServer } from './running-server.ts';
import { type SmallDisk, smallDisk } from './small-disk.ts';
import { madeQuote } from './verify/made-quote.ts';

const mebibyte = 1024 * 1024;
const log = recordedLog('debian13-shim-grub');

/** All PCRs of the SHA-256 bank, as a boot with this log leaves them. */
const valuesOf = (booted: Buffer) => replayedValues(booted, 'sha256');
/** Firmware pads its log, and nothing measures how far. */
const padded = (size: number) => longest.subarray(0, size);
const longest = Buffer.concat([log], 2 * mebibyte);

/** A machine whose root boots it as often as he likes, and shows another boot log each time. */
function rebooting(world: TestServer, tpm: ForgedTpm, node: string, boots = 7) {
  let peer: (Peer & { readonly hello: string }) | null = null;
  let resetCount = boots;
  const answer = async (bootLog: Buffer, more: number): Promise<string> => {
    resetCount += more;
    peer ??= await introduce(world, tpm, node);
    const { hello, channel } = peer;
    const challenge = await peer.challenge();
    const digest = hash('sha256', bootLog, 'hex');
    if (!challenge.holds.includes(digest)) peer.send(binaryFrame('part', bootLog));
    const quote = (data: Buffer) =>
      madeQuote(tpm.ak, data, { pcrs: { sha256: valuesOf(bootLog) }, resetCount });
    const bootId = `6f9619ff-8b86-d011-b42d-${String(resetCount).padStart(12, '0')}`;
    peer.send(tpm.evidence(challenge, { node, hello, channel, bootId, bootLog }, { quote }));
    for (;;) {
      const message = await peer.receive();
      if (message?.type === 'verdict') return String(message.state);
      if (message?.type === 'challenge') continue;
      await peer.close();
      peer = null;
      return String(message?.code ?? 'ended');
    }
  };
  return {
    answer,
    /** One boot, in which it shows so many logs of 2 MiB that nobody has seen. */
    async boot(logs = 8): Promise<readonly string[]> {
      const said: string[] = [];
      for (let shown = 0; shown < logs; shown += 1)
        said.push(await answer(padded(2 * mebibyte - 8 * (resetCount % 1000) - shown), shown === 0 ? 1 : 0));
      return said;
    },
    async close() {
      await peer?.close();
      peer = null;
    },
  };
}

describe('enrolled nodes that would fill the disk, a file system of 160 MiB', function () {
  this.timeout(120_000);
  let disk: SmallDisk;
  let world: TestServer;
  const [bad, honest] = [forgedTpm(), forgedTpm()];
  before(async function () {
    const made = await smallDisk(160);
    if (made === null) {
      console.log('      skipped: only root may mount a file system of 160 MiB');
      this.skip();
    }
    disk = made;
    world = await startTestServer({ challengeEvery: 0.02, within: disk.path });
    for (const [node, tpm] of [
      ['bad', bad],
      ['honest', honest],
    ] as const)
      await world.pin(node, tpm.ekDigest);
  });
  after(async () => {
    try {
      await world?.[Symbol.asyncDispose]();
    } finally {
      await disk?.[Symbol.asyncDispose]();
    }
  });

  /** It boots and shows logs until none is judged any more, and once more. @returns what it is told */
  async function untilRefused(machine: ReturnType<typeof rebooting>): Promise<ReadonlySet<string>> {
    const told: string[] = [];
    for (let boot = 0; boot < 12 && !told.includes('too_large'); boot += 1)
      told.push(...(await machine.boot()));
    told.push(...(await machine.boot(2)));
    await machine.close();
    return new Set(told);
  }
  const databaseBytes = () => statSync(join(world.stateDir, 'assay.db')).size;
  const full = 'assay_server_fault{cause="disk_full"}';
  const bundleOf = (node: string, evidence: string | null) =>
    world.ask('GET', `/v1/nodes/${node}/bundle?evidence=${evidence}`, adminToken());
  const adminToken = () => readFileSync(join(world.stateDir, 'admin.token'), 'utf8').trim();
  const assay = (line: string, answer?: string) =>
    runAssay(line.split(' '), {
      env: world.env(),
      cwd: world.stateDir,
      ask: answer === undefined ? null : async () => answer,
    });
  const evidenceOf = async (node: string, state: string) =>
    (await world.store.verdicts.history(node, { limit: 500 })).find(({ verdict }) => verdict.state === state)
      ?.evidenceDigest ?? assert.fail(`${node} was never ${state}`);
  const erasures = async () =>
    (await world.audit()).filter(({ action, subject }) => action === 'evidence_erased' && subject === 'bad');

  it('one that boots at will holds a twentieth of it, and washes away nothing of what it did (row 350) (row 351)', async () => {
    const machine = rebooting(world, bad, 'bad');
    assert.equal(await machine.answer(log, 0), 'pending');
    await world.call('POST', '/v1/references', { node: 'bad', name: 'good' });
    assert.equal(await machine.answer(log, 0), 'trusted');
    const good = rebooting(world, honest, 'honest');
    await good.answer(log, 0);
    await world.call('POST', '/v1/references', { node: 'honest', name: 'honest', reason: 'it is good' });
    assert.equal(await good.answer(log, 0), 'trusted');
    assert.equal(await machine.answer(tamper(log, 'kernel'), 1), 'untrusted');
    assert.equal(await machine.answer(log, 1), 'trusted');
    const caught = await evidenceOf('bad', 'untrusted');
    const before = databaseBytes();
    const said = await untilRefused(machine);
    assert.deepEqual([...said].toSorted(), ['too_large', 'trusted']);
    await good.close();
    // As a server that starts again sees it, the budget of logs is new, and the share is not.
    await world.restart();
    const again = rebooting(world, bad, 'bad');
    assert((await untilRefused(again)).has('too_large'));
    assert.equal(await good.answer(log, 1), 'trusted');
    await good.close();
    const grown = databaseBytes() - before;
    assert(grown <= 9 * mebibyte, `the database grew by ${grown} bytes`);
    assert(disk.free() >= 100 * mebibyte, `${disk.free()} bytes are free`);
    const { status, text } = await bundleOf('bad', caught);
    assert.equal(status, 200);
    assert.equal(verifyBundle(text, { now: 0 }).verdict.state, 'untrusted');
    assert((await erasures()).length > 0);
    assert.equal(await world.metric(full), 0);
  });

  it('is freed of it by a person with the role admin, who is asked, and what others name stays (row 352)', async () => {
    const operator = await world.ask('POST', '/v1/tokens', adminToken(), {
      name: 'op',
      role: 'operator',
      ttlSeconds: null,
    });
    const { token } = JSON.parse(operator.text);
    const body = { reason: 'it was owned', eraseEvidence: true };
    const denied = await world.ask('POST', '/v1/enrolments/bad/revoke', token, body);
    assert.equal(denied.status, 403);
    assert.notEqual(await world.store.enrolment.node('bad'), null);
    const caught = await evidenceOf('bad', 'untrusted');
    const line = 'enrol revoke bad --reason owned --erase-evidence';
    assert.equal((await assay(line, 'n')).code, 1);
    const before = world.store.free();
    const { code, out } = await assay(line, 'y');
    assert.equal(code, 0);
    assert.match(out, /its evidence is erased: [3-8]\.\d MiB/);
    assert(world.store.free() - before > 3 * mebibyte);
    const named = (await erasures()).flatMap(({ detail }) => String(detail.digests).split(' '));
    assert(named.includes(caught));
    assert((await erasures()).at(-1)?.actor.startsWith('token:'));
    // The log that both booted with is that of the other one, too.
    const { status, text } = await bundleOf('honest', await evidenceOf('honest', 'trusted'));
    assert.equal(status, 200);
    assert.equal(verifyBundle(text, { now: 0 }).rejected, false);
    // There is nothing left, and who was revoked before can be named as well.
    assert.match((await assay(`${line} --yes`)).out, /: 0\.0 MiB/);
  });

  it('all of them together leave people room, who make room for the others (row 353)', async () => {
    // So that few nodes fill what is left.
    disk.fillUpTo(56 * mebibyte);
    const tpms = Array.from({ length: 30 }, (_, index) => [`many-${index}`, forgedTpm()] as const);
    for (const [node, tpm] of tpms) await world.pin(node, tpm.ekDigest);
    const said = new Set<string>();
    for (const [index, [node, tpm]] of tpms.entries()) {
      // Else they would show the same logs, which are kept once.
      const machine = rebooting(world, tpm, node, 100 + 10 * index);
      // Nobody enrols, and nobody is judged, on a disk without room.
      for (const each of await machine.boot(3).catch(() => ['server_fault'])) said.add(each);
      await machine.close();
      if (said.has('server_fault')) break;
    }
    assert(said.has('server_fault'), [...said].join());
    assert.equal(await world.metric(full), 1);
    assert(disk.free() >= 16 * mebibyte, `${disk.free()} bytes are free`);
    assert.equal((await assay('token create --name night --role reader')).code, 0);
    assert.equal((await assay('enrol revoke many-0 --reason owned --erase-evidence --yes')).code, 0);
    assert.equal((await assay('enrol revoke many-1 --reason owned --erase-evidence --yes')).code, 0);
    await world.until(async () => (await world.metric(full)) === 0);
    const good = rebooting(world, honest, 'honest');
    assert.equal(await good.answer(log, 2), 'trusted');
    await good.close();
  });

  it('is counted as it is kept: the sums agree, and somebody holds each blob that counts', () => {
    const database = new DatabaseSync(join(world.stateDir, 'assay.db'), { readOnly: true });
    const rows = (text: string) => database.prepare(text).all();
    assert.deepEqual(
      rows(
        `select held.ek_digest from held where blobs <> (
           select coalesce(sum(bytes), 0) from held_blobs where held_blobs.ek_digest = held.ek_digest
         ) or answers <> (
           select coalesce(sum(answers.held), 0) from answers join history using (id)
           where history.ek_digest = held.ek_digest
         )`,
      ),
      [],
    );
    assert.deepEqual(
      rows('select digest from evidence where counted = 1 and digest not in (select digest from held_blobs)'),
      [],
    );
    assert.deepEqual(
      rows('select digest from held_blobs where digest not in (select digest from evidence)'),
      [],
    );
    database.close();
  });
});
