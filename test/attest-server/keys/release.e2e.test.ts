import assert from 'node:assert/strict';
import { hash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { armor, Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import pLimit from 'p-limit';
import { z } from 'zod';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { wrappingView } from '../../../attest-server/api/volume-api.ts';
import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import { reference as referenceSchema } from '../../../attest-server/formats/reference.ts';
import { Volumes } from '../../../attest-server/keys/volumes.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../../attest-server/policy/policy.ts';
import { capDigest, capPcr } from '../../../attest-server/wire/cap.ts';
import { keyReleaseKind, parseKeyRelease } from '../../../attest-server/wire/key-release.ts';
import { keyRequestOf } from '../../../attest-server/wire/key-request.ts';
import { parseLuksHeader } from '../../../attest-server/wire/luks-header.ts';
import { binaryFrame, headerFrame } from '../../../attest-server/wire/messages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { type SmallDisk, smallDisk } from '../small-disk.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { madeKeyRequest } from '../wire/made-keys.ts';

const good = recordedLog('debian13-sdboot-uki');

interface Asking {
  readonly node?: string;
  readonly bootLog?: Buffer;
  readonly resetCount?: number;
  /** Of the TPM, in milliseconds; default: another one in each boot. */
  readonly clock?: bigint;
  /** PCR 15 in place of what the log says. */
  readonly pcr15?: Buffer;
  readonly volume?: string;
  /** Address of the loopback that it asks from. */
  readonly from?: string;
}

const escrowed = z.object({ recovery: z.string(), header: z.string() });

type UnlockPeer = Peer & { readonly hello: string };

/** Nodes that ask for nothing but their own key. */
const others = Array.from({ length: 8 }, (_, at) => `node-${at + 5}`);

describe('the key of a disk', () => {
  let folder: string;
  /** Of the server; null where this user may mount none. */
  let disk: SmallDisk | null;
  let world: TestServer;
  let volumes: Volumes;
  let identity: string;
  const tpms: Readonly<Record<string, ForgedTpm>> = {
    'node-1': forgedTpm(),
    'node-2': forgedTpm(),
    'stock-1': forgedTpm(),
    'far-1': forgedTpm(),
    'plain-1': forgedTpm(),
    'node-3': forgedTpm(),
    'node-4': forgedTpm(),
    ...Object.fromEntries(others.map((node) => [node, forgedTpm()])),
  };
  const tpmOf = (node: string) => tpms[node] ?? assert.fail();

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-disk-keys-'));
    const wrappingKeyFile = join(folder, 'wrapping-key');
    writeFileSync(wrappingKeyFile, randomBytes(32).toString('base64'), { mode: 0o400 });
    identity = await generateIdentity();
    const recipient = await identityToRecipient(identity);
    const keys = (rules: string) => `{recoveryRecipients: [${recipient}], ${rules}}`;
    const group = (name: string, nodes: string, rules: string | null) =>
      `  - {name: ${name}, nodes: ["${nodes}"], mode: enforce, require: [identity, boot]${rules === null ? '' : `, keys: ${keys(rules)}`}}\n`;
    const text = [
      'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n',
      group('workers', 'node-*', 'allowUnmeasuredRoot: true'),
      group('stock', 'stock-*', 'allowUnmeasuredRoot: false'),
      group('far', 'far-*', 'allowUnmeasuredRoot: true, from: [127.0.0.2/32]'),
      group('plain', '*', null),
    ].join('');
    const policy = join(folder, 'policy.yaml');
    writeFileSync(policy, text);
    disk = await smallDisk(64);
    world = await startTestServer({ policy, wrappingKeyFile, ...(disk !== null && { within: disk.path }) });
    const wrapping = openWrappingKeys({ file: wrappingKeyFile, beside: [] });
    volumes = new Volumes({
      store: world.store.leases,
      wrapping,
      ownNode: 'own-1',
      now: () => Date.now(),
      rewrap: async () => 0,
      inTurn: pLimit(1),
      leased() {},
    });
    for (const [node, tpm] of Object.entries(tpms)) {
      await world.pin(node, tpm.ekDigest);
      await answerOfAgent(node);
      const parsed = groupOf(parsePolicy(text, 'keys'), node);
      if (parsed.keys !== undefined) await volume(node, parsed);
    }
    for (const node of ['node-1', 'stock-1', 'far-1'])
      await world.call('POST', '/v1/references', { nodes: [node], name: `like-${node}` });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await disk?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const named = new Map<string, string>();
  async function volume(
    node: string,
    group: Parameters<Volumes['add']>[0]['group'],
    tpm = node,
  ): Promise<void> {
    const { ekDigest } = tpmOf(tpm);
    const made = await volumes.add({
      node: { name: node, ekDigest, bound: 'pin' },
      group,
      name: 'docker',
      path: '/var/lib/docker',
      by: 'token:test',
    });
    assert(made !== null);
    named.set(node, made.uuid);
  }

  async function answerOfAgent(node: string, resetCount = 7): Promise<void> {
    const peer = await introduce(world, tpmOf(node), node);
    await answer(peer, { node, resetCount });
    await peer.verdict();
    await peer.close();
  }

  const nodeShown = z.object({ state: z.string(), expiresAt: z.string() });
  async function answer(peer: UnlockPeer, asking: Asking, keyRequest?: Buffer): Promise<void> {
    const { node = 'node-1', bootLog = good, resetCount = 7, pcr15 } = asking;
    const { clock = BigInt(resetCount * 100_000) } = asking;
    const tpm = tpmOf(node);
    const challenge = await peer.challenge();
    if (!challenge.holds.includes(hash('sha256', bootLog, 'hex'))) peer.send(binaryFrame('part', bootLog));
    const sha256 = replayedValues(bootLog, 'sha256');
    pcr15?.copy(sha256, capPcr * 32);
    const bootId = `6f9619ff-8b86-4011-b42d-${String(resetCount).padStart(12, '0')}`;
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog, bootId, keyRequest };
    const quote = (data: Buffer) => madeQuote(tpm.ak, data, { pcrs: { sha256 }, resetCount, clock });
    peer.send(
      tpm.evidence(
        challenge,
        keyRequest === undefined ? { ...occasion, keyRequest: Buffer.alloc(0) } : { ...occasion, keyRequest },
        { quote },
      ),
    );
  }

  async function unlocking(node: string, from?: string): Promise<UnlockPeer> {
    return introduce(world, tpmOf(node), node, {
      hello: { role: 'unlock' },
      ...(from !== undefined && { from }),
    });
  }

  /** Asks on a connection of its own: the release, or the code of its refusal. */
  async function ask(asking: Asking = {}) {
    const { node = 'node-1', from } = asking;
    const peer = await unlocking(node, from);
    const asked = keyRequestOf({
      ...madeKeyRequest(),
      volume: asking.volume ?? named.get(node) ?? assert.fail(),
    });
    await answer(peer, asking, asked);
    const { keyRefusal = null } = await peer.verdict();
    const frame = keyRefusal === null ? (await peer.receive())?.binary : null;
    await peer.close();
    if (keyRefusal !== null) return keyRefusal;
    assert(Buffer.isBuffer(frame));
    assert.equal(frame[0], keyReleaseKind);
    return parseKeyRelease(frame.subarray(1));
  }

  const entries = async (action: string) => (await world.audit()).filter((entry) => entry.action === action);

  it('goes to a boot that has just proven itself: counted, audited, and with its evidence kept', async () => {
    const release = await ask();
    assert(typeof release !== 'string');
    assert.deepEqual(
      [release.volume, release.resetCount, release.clockBefore],
      [named.get('node-1'), 7, 820_000n],
    );
    assert.deepEqual(release.selection, {
      sha256: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23],
    });
    assert.deepEqual(release.expectedHeaders, [], 'the volume is to be formatted');
    const entry = await world.until(async () => (await entries('key.release')).at(-1));
    const { lease, deliveries, evidence, volume: uuid } = entry.detail;
    assert.deepEqual(
      [entry.subject, lease, deliveries, uuid],
      ['node-1', release.leaseId, 1, release.volume],
    );
    const bundle = await world.call('GET', `/v1/nodes/node-1/bundle?evidence=${evidence}`);
    const { verdict, rejected } = verifyBundle(JSON.stringify(bundle), { now: Date.now() });
    const { identity, boot } = verdict.aspects;
    assert.deepEqual([rejected, verdict.keyRequest], [false, { volume: uuid }]);
    assert.deepEqual([identity?.status, boot?.status], ['affirming', 'affirming']);
    assert.equal(await world.metric('assay_key_releases_total'), 1);
  });

  it('is made for no volume without a recipient, nor for one of the server’s own node (row 106)', async () => {
    const before = (await volumes.list()).length;
    const group = (recoveryRecipients: readonly string[]) => ({
      name: 'workers',
      keys: { recoveryRecipients, from: null, allowUnmeasuredRoot: true },
    });
    await assert.rejects(volume('node-1', group([])), { code: 'escrow_missing' });
    await assert.rejects(volume('own-1', group(['age1']), 'node-1'), { code: 'key_cycle' });
    assert.equal((await volumes.list()).length, before);
  });

  it('leaves a node trusted whose agent proved this boot, be it given or refused', async () => {
    const state = async () => {
      const shown = nodeShown.parse(await world.call('GET', '/v1/nodes/node-1'));
      return [shown.state, shown.expiresAt];
    };
    await answerOfAgent('node-1', 12);
    const before = await world.until(async () => {
      const found = await state();
      return found[0] === 'trusted' ? found : null;
    });
    const refusals = (await entries('key.refuse')).length;
    assert.notEqual(typeof (await ask({ resetCount: 12 })), 'string');
    assert.deepEqual(await state(), before);
    assert.equal(await ask({ resetCount: 12, volume: madeKeyRequest().volume }), 'key_subject_mismatch');
    assert.deepEqual(await state(), before);
    const [refused] = (await entries('key.refuse')).slice(refusals);
    const bundle = await world.call('GET', `/v1/nodes/node-1/bundle?evidence=${refused?.detail.evidence}`);
    assert.equal(verifyBundle(JSON.stringify(bundle), { now: Date.now() }).rejected, false);
  });

  it('goes five times to one boot and no more, also where nothing else is new, and again to the next one (row 419)', async () => {
    const boot = { resetCount: 20 };
    const leases = new Set<string>();
    for (let asked = 0; asked < 5; asked++) {
      const release = await ask(boot);
      assert(typeof release !== 'string');
      leases.add(release.leaseId);
    }
    assert.equal(leases.size, 1);
    assert.equal(await ask(boot), 'lease_exhausted');
    assert.notEqual(typeof (await ask({ resetCount: 21 })), 'string');
  });

  it('goes to a boot whose clock starts at 0, as of a TPM that lost power, for two minutes of that clock', async () => {
    const release = await ask({ resetCount: 23, clock: 0n });
    assert(typeof release !== 'string');
    assert.deepEqual([release.resetCount, release.clockBefore], [23, 120_000n]);
  });

  it('goes five times and no more to ten connections of a node that ask at once (row 419)', async () => {
    const boot = { resetCount: 25 };
    const before = (await entries('key.release')).length;
    // The newest that has proven itself ends the one before, maybe before its answer.
    const answers = await Promise.allSettled(Array.from({ length: 10 }, () => ask(boot)));
    const given = answers.filter((one) => one.status === 'fulfilled' && typeof one.value !== 'string');
    const counted = (await entries('key.release')).slice(before).map(({ detail }) => detail.deliveries);
    assert(given.length <= counted.length && counted.length <= 5, `${given.length} of ${counted.length}`);
    assert.deepEqual(counted, [1, 2, 3, 4, 5].slice(0, counted.length));
    for (let left = 5 - counted.length; left > 0; left--) assert.notEqual(typeof (await ask(boot)), 'string');
    assert.equal(await ask(boot), 'lease_exhausted');
  });

  it('goes to no boot that says that its disk is open, nor to one that is capped (row 58)', async () => {
    const boot = { resetCount: 30 };
    const release = await ask(boot);
    assert(typeof release !== 'string');
    const peer = await unlocking('node-1');
    await answer(peer, boot);
    await peer.verdict();
    peer.send({ type: 'unlocked', leaseId: release.leaseId, headerDigest: 'ab'.repeat(32) });
    await world.until(async () => (await entries('key.unlock')).length > 0);
    await peer.close();
    assert.equal(await ask(boot), 'lease_consumed');
    const pcr15 = hash('sha256', Buffer.concat([Buffer.alloc(32), capDigest('sha256')]), 'buffer');
    assert.equal(await ask({ resetCount: 31, pcr15 }), 'lease_consumed');
    assert.equal(await ask({ resetCount: 32, pcr15: randomBytes(32) }), 'key_withheld');
  });

  it('is not ended by another node that says so, nor before anything is proven (row 420)', async () => {
    const boot = { resetCount: 40 };
    const release = await ask(boot);
    assert(typeof release !== 'string');
    const before = (await entries('key.unlock')).length;
    const said = { type: 'unlocked', leaseId: release.leaseId, headerDigest: 'ab'.repeat(32) };
    const other = await unlocking('node-2');
    await answer(other, { node: 'node-2' });
    await other.verdict();
    other.send(said);
    const unproven = await unlocking('node-1');
    await unproven.challenge();
    unproven.send(said);
    assert.equal(await unproven.refusal(), 'identity_unproven');
    await other.close();
    assert.equal((await entries('key.unlock')).length, before);
    assert.notEqual(typeof (await ask(boot)), 'string');
  });

  it('is of no other node, and of no volume that nobody made (row 57)', async () => {
    assert.equal(await ask({ node: 'node-2', volume: named.get('node-1') ?? '' }), 'key_subject_mismatch');
    assert.equal(await ask({ volume: madeKeyRequest().volume, resetCount: 41 }), 'key_subject_mismatch');
  });

  it('goes to no agent, which runs in a pod, and no delivery is spent (row 94)', async () => {
    const boot = { resetCount: 45 };
    const peer = await introduce(world, tpmOf('node-1'), 'node-1');
    await answer(peer, boot, keyRequestOf({ ...madeKeyRequest(), volume: named.get('node-1') ?? '' }));
    assert.equal(await peer.refusal(), 'role_denied');
    const release = await ask(boot);
    assert(typeof release !== 'string');
    const last = await world.until(async () => (await entries('key.release')).at(-1));
    assert.deepEqual([last.detail.lease, last.detail.deliveries], [release.leaseId, 1]);
  });

  it('goes to no kernel that nobody knows, and says so', async () => {
    assert.equal(await ask({ bootLog: tamper(good, 'kernel'), resetCount: 50 }), 'key_withheld');
    const entry = await world.until(async () => (await entries('key.refuse')).at(-1));
    assert.match(String(entry.detail.text), /boot not affirmed/);
    assert.equal(entry.code, 'key_withheld');
    const refused = async () => nodeView.parse(await world.call('GET', '/v1/nodes/node-1')).refusedKeys;
    assert.deepEqual(
      (await refused()).map(({ name, code, text }) => [name, code, text]),
      [['docker', 'key_withheld', entry.detail.text]],
    );
    assert.notEqual(typeof (await ask({ resetCount: 51 })), 'string');
    assert.deepEqual(await refused(), []);
  });

  it('goes to nobody once it is revoked, however close that comes, until it is restored (row 430)', async () => {
    const before = (await entries('key.release')).length;
    const change = (action: string) =>
      world.call('POST', `/v1/volumes/${named.get('node-1')}/${action}`, { reason: 'stolen' });
    const boot = { resetCount: 52 };
    const [answered] = await Promise.all([ask(boot), change('revoke')]);
    assert.equal(await ask(boot), 'key_withheld');
    const given = typeof answered === 'string' ? 0 : 1;
    assert.equal((await entries('key.release')).length, before + given);
    const revoked = await world.until(async () => (await entries('volume.revoke')).at(-1));
    // What was given was given before.
    const last = (await entries('key.release')).at(-1);
    assert.ok(given === 0 || (last !== undefined && last.seq < revoked.seq));
    const [refused] = nodeView.parse(await world.call('GET', '/v1/nodes/node-1')).refusedKeys;
    assert.match(refused?.text ?? '', /revoked the key of this volume: stolen/);
    await change('restore');
    assert.notEqual(typeof (await ask(boot)), 'string');
  });

  it('is wrapped anew while ten nodes ask, and by no file that lacks what is needed', async () => {
    const file = join(folder, 'wrapping-key');
    const earlier = readFileSync(file, 'utf8');
    const write = (...lines: readonly string[]) => {
      rmSync(file);
      writeFileSync(file, lines.join('\n'), { mode: 0o400 });
    };
    const rewrap = async () => wrappingView.parse(await world.call('POST', '/v1/wrapping-keys/rewrap', {}));
    const wrapped = (await volumes.list()).length;
    const [before] = (await rewrap()).keys;
    const newest = randomBytes(32).toString('base64');
    write(newest);
    await assert.rejects(rewrap(), new RegExp(`lacks ${before?.id}`));
    write(newest, earlier);
    const asked = ['node-1', 'node-2', ...others].map((node) => ask({ node, resetCount: 54 }));
    const { rewrapped, keys } = await rewrap();
    assert.deepEqual([rewrapped, keys.map((key) => key.volumes)], [wrapped, [wrapped, 0]]);
    assert.equal(keys[1]?.id, before?.id);
    const { at } = (await entries('key.rewrap')).at(-1) ?? assert.fail();
    assert.equal(keys[1]?.unneededSince, new Date(at).toISOString());
    for (const answered of await Promise.all(asked)) assert.equal(typeof answered, 'object');
    assert.notEqual(typeof (await ask({ resetCount: 54 })), 'string');
    assert.equal((await rewrap()).rewrapped, 0);
    // Who makes volumes here has the earlier one alone.
    write(earlier, newest);
    assert.equal((await rewrap()).rewrapped, wrapped);
  });

  it('goes to no root file system that nothing measured, unless the policy allows it (row 92)', async () => {
    assert.equal(await ask({ node: 'stock-1' }), 'root_unmeasured');
  });

  it('goes to the networks of the policy alone (row 421)', async () => {
    assert.equal(await ask({ node: 'far-1', from: '127.0.0.3' }), 'key_withheld');
    assert.notEqual(typeof (await ask({ node: 'far-1', from: '127.0.0.2' })), 'string');
  });

  it('asked for without end after that leaves one entry and one row of the history (row 422)', async () => {
    // Of a node that was not asked about before: one that flaps has no rows.
    const boot = { node: 'far-1', from: '127.0.0.2', resetCount: 22 };
    for (let asked = 0; asked < 5; asked++) assert.notEqual(typeof (await ask(boot)), 'string');
    const told = async () => {
      const refused = (await entries('key.refuse')).filter(({ subject }) => subject === 'far-1');
      return [refused.length, (await world.store.verdicts.history('far-1', { limit: 100 })).length];
    };
    const [entriesBefore = 0, rowsBefore = 0] = await told();
    for (let asked = 0; asked < 5; asked++) assert.equal(await ask(boot), 'lease_exhausted');
    assert.deepEqual(await told(), [entriesBefore + 1, rowsBefore + 1]);
  });

  it('leaves the evidence of each release and refusal, also of a node whose verdicts change again and again', async () => {
    const named = [...(await entries('key.release')), ...(await entries('key.refuse'))];
    assert(named.length > 20, `${named.length} entries`);
    for (const { subject, detail } of named) {
      const bundle = await world.call('GET', `/v1/nodes/${subject}/bundle?evidence=${detail.evidence}`);
      const { verdict } = verifyBundle(JSON.stringify(bundle), { now: Date.now() });
      assert.deepEqual(verdict.keyRequest, { volume: detail.volume });
    }
  });

  it('goes to a machine that was stolen whole where no networks are named, and says to which new address (row 404)', async () => {
    const told = () => world.metric('assay_key_releases_new_address_total');
    const before = await told();
    const detail = async () => (await world.until(async () => (await entries('key.release')).at(-1))).detail;
    assert.notEqual(typeof (await ask({ resetCount: 55 })), 'string');
    assert.deepEqual([(await detail()).newAddress, await told()], [undefined, before]);
    const { address } = await detail();
    assert.match(String(address), /^127\.0\.0\.1$/);
    assert.notEqual(typeof (await ask({ resetCount: 56, from: '127.0.0.9' })), 'string');
    const { address: next, newAddress } = await detail();
    assert.deepEqual([next, newAddress, await told()], ['127.0.0.9', true, Number(before) + 1]);
    assert.notEqual(typeof (await ask({ resetCount: 57, from: '127.0.0.9' })), 'string');
    assert.equal(await told(), Number(before) + 1);
  });

  it('goes to no group whose policy has no keys', async () => {
    assert.equal(await ask({ node: 'plain-1', volume: named.get('node-1') ?? '' }), 'key_subject_mismatch');
  });

  it('fills neither log nor disk by asking again and again (row 422)', async () => {
    const before = (await entries('key.refuse')).length;
    for (let asked = 0; asked < 4; asked++)
      assert.equal(
        await ask({ node: 'node-2', volume: named.get('node-1') ?? '', resetCount: 60 }),
        'key_subject_mismatch',
      );
    await world.until(async () => (await entries('key.refuse')).length > before);
    assert.equal((await entries('key.refuse')).length, before + 1);
  });

  it('fills neither of them by asking for ever other volumes (row 403)', async () => {
    const before = (await entries('key.refuse')).length;
    for (let asked = 0; asked < 12; asked++)
      assert.equal(
        await ask({ node: 'node-2', volume: randomUUID(), resetCount: 61 }),
        'key_subject_mismatch',
      );
    assert.equal((await entries('key.refuse')).length, before + 8);
    const { refusedKeys } = nodeView.parse(await world.call('GET', '/v1/nodes/node-2'));
    assert.deepEqual(
      refusedKeys.map(({ name }) => name),
      [null],
    );
  });

  it('goes to nobody while the disk of the server is full, is counted once there is room, and is told meanwhile (row 434)', async function () {
    if (disk === null) this.skip();
    const boot = { resetCount: 70 };
    const told = async () => {
      const counted = await Promise.all([entries('key.release'), entries('key.refuse')]);
      return counted.map(({ length }) => length);
    };
    const refused = async () => nodeView.parse(await world.call('GET', '/v1/nodes/node-1')).refusedKeys;
    const before = await told();
    disk.fill();
    await assert.rejects(ask(boot), /refused with server_fault before verdict/);
    assert.deepEqual(await told(), before);
    const [shown] = await refused();
    assert.deepEqual([shown?.name, shown?.code], ['docker', 'server_fault']);
    assert.match(shown?.text ?? '', /the disk of the server is full/);
    assert.match(shown?.next ?? '', /^ {2}df -h /m);
    disk.empty();
    await world.until(async () => (await world.metric('assay_server_fault{cause="disk_full"}')) === 0);
    assert.notEqual(typeof (await ask(boot)), 'string');
    assert.equal((await entries('key.release')).at(-1)?.detail.deliveries, 1);
    assert.deepEqual(await refused(), []);
  });

  describe('whose volume is formatted', () => {
    /** As a node makes it: key and passphrase do not matter here. */
    async function header(uuid: string, keyslots = 2): Promise<Buffer> {
      const [file, key] = [join(folder, `${uuid}.img`), randomBytes(32)];
      writeFileSync(file, '');
      truncateSync(file, 32 * 1024 * 1024);
      await run(
        'cryptsetup',
        [
          ...['luksFormat', '--batch-mode', '--type', 'luks2', '--uuid', uuid, '--pbkdf', 'pbkdf2'],
          ...[
            '--pbkdf-force-iterations',
            '1000',
            '--luks2-keyslots-size',
            '1m',
            '--key-size',
            '512',
            '--key-file',
            '-',
            file,
          ],
        ],
        { input: key, timeoutMs: 20_000, maxOutputBytes: 65_536 },
      );
      for (let slot = 1; slot < keyslots; slot++)
        await run(
          'cryptsetup',
          [
            ...['luksAddKey', '--batch-mode', '--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'],
            ...['--key-file', '-', '--keyfile-size', `${key.length}`, file, '-'],
          ],
          { input: Buffer.concat([key, randomBytes(32)]), timeoutMs: 20_000, maxOutputBytes: 65_536 },
        );
      return readFileSync(file).subarray(0, 1024 * 1024 + 32 * 1024);
    }

    async function formatting(node: string, send: (leaseId: string) => readonly (object | Buffer)[]) {
      const peer = await unlocking(node);
      const volume = named.get(node) ?? assert.fail();
      await answer(peer, { node }, keyRequestOf({ ...madeKeyRequest(), volume }));
      assert.equal((await peer.verdict()).keyRefusal, undefined);
      const frame = (await peer.receive())?.binary;
      assert(Buffer.isBuffer(frame));
      const { leaseId, expectedHeaders } = parseKeyRelease(frame.subarray(1));
      const answers = [];
      for (const one of send(leaseId)) {
        peer.send(one);
        const said = await peer.receive();
        answers.push(said?.type === 'kept' ? said.what : said?.code);
      }
      await peer.close();
      return { leaseId, expectedHeaders, answers };
    }

    it('once: the header is kept before, encrypted for those who may recover it, and expected from then on (row 423)', async () => {
      const uuid = named.get('node-3') ?? assert.fail();
      const [made, other] = [await header(uuid), await header(randomUUID())];
      const digest = parseLuksHeader([{ at: 0, asked: made.length, bytes: made }], true).header?.digest ?? '';
      const say = (leaseId: string, headerDigest = digest) => ({ type: 'formatted', leaseId, headerDigest });
      const foreign = await formatting('node-3', (lease) => [headerFrame(lease, other)]);
      assert.deepEqual(foreign.answers, ['key_subject_mismatch']);
      const early = await formatting('node-3', (lease) => [say(lease)]);
      assert.deepEqual(early.answers, ['luks_header_changed']);
      const another = await formatting('node-3', (lease) => [
        headerFrame(lease, made),
        say(lease, 'ab'.repeat(32)),
      ]);
      assert.deepEqual(another.answers, ['header', 'luks_header_changed']);
      const twice = await formatting('node-3', (lease) => [
        headerFrame(lease, made),
        headerFrame(lease, made),
      ]);
      assert.deepEqual(twice.answers, ['header', 'malformed'], 'each is a megabyte on the disk');
      const done = await formatting('node-3', (lease) => [headerFrame(lease, made), say(lease), say(lease)]);
      assert.deepEqual([done.expectedHeaders, done.answers], [[], ['header', 'formatted', 'formatted']]);

      const escrow = escrowed.parse(await world.call('GET', `/v1/volumes/${uuid}/escrow?header=true`));
      const decrypter = new Decrypter();
      decrypter.addIdentity(identity);
      assert.deepEqual(Buffer.from(await decrypter.decrypt(armor.decode(escrow.header))), made);
      const passphrase = Buffer.from(await decrypter.decrypt(armor.decode(escrow.recovery))).toString(
        'latin1',
      );
      assert.match(passphrase, /^([0-9a-z]{5}-){7}[0-9a-z]{5}$/);
      const stored = readFileSync(join(world.stateDir, 'assay.db'));
      assert.equal(stored.includes(passphrase), false);
      const [entry] = await entries('volume.format');
      assert.deepEqual([entry?.subject, entry?.detail.header], ['node-3', digest]);

      const captured = () =>
        entries('reference.capture').then((all) => all.filter(({ actor }) => actor === 'server'));
      assert.deepEqual(await captured(), []);
      const release = await ask({ node: 'node-3', resetCount: 8 });
      assert(typeof release !== 'string');
      // From the first answer on that shows the volume open.
      const [capture] = await captured();
      assert.deepEqual([capture?.subject, capture?.detail.volume], [`disk-${uuid}`, uuid]);
      const reference = referenceSchema.parse(await world.call('GET', `/v1/references/disk-${uuid}`));
      assert.deepEqual(
        [reference.state, reference.captured?.node, reference.disk?.volumes[0]?.uuid],
        ['active', 'node-3', uuid],
      );
      assert.deepEqual(release.expectedHeaders, [digest]);
      const again = await unlocking('node-3');
      await answer(again, { node: 'node-3', resetCount: 8 });
      await again.verdict();
      again.send(headerFrame(release.leaseId, made));
      assert.equal(await again.refusal(), 'lease_consumed');
      const codeFor = async (resetCount: number, headerDigest: string) => {
        const boot = { node: 'node-3', resetCount };
        const opening = await ask(boot);
        assert(typeof opening !== 'string');
        const cap = await unlocking('node-3');
        await answer(cap, boot);
        await cap.verdict();
        cap.send({ type: 'unlocked', leaseId: opening.leaseId, headerDigest });
        const said = await world.until(async () =>
          (await entries('key.unlock')).find(({ detail }) => detail.lease === opening.leaseId),
        );
        await cap.close();
        return said.code;
      };
      assert.equal(await codeFor(9, digest), null);
      assert.equal(await codeFor(10, 'ab'.repeat(32)), 'luks_header_changed');
    });

    it('and whose key is being replaced goes with the next one, whose header is taken from its own node alone (row 437), of the same volume key and passphrase (row 438)', async () => {
      const uuid = named.get('node-3') ?? assert.fail();
      const before = await world.store.leases.volume(uuid);
      await world.call('POST', `/v1/volumes/${uuid}/rotate`, {});
      const next = await header(uuid);
      const digest = parseLuksHeader([{ at: 0, asked: next.length, bytes: next }], true).header?.digest;
      const boot = { node: 'node-3', resetCount: 30 };
      const release = await ask(boot);
      assert(typeof release !== 'string');
      assert.deepEqual([release.expectedHeaders.length, release.ciphertext.length], [1, 80]);
      for (const [node, code] of [
        ['node-2', 'key_subject_mismatch'],
        // Attack: another header altogether, with ways in of whoever made it.
        ['node-3', 'luks_header_changed'],
      ] as const) {
        for (const message of [
          headerFrame(release.leaseId, next),
          { type: 'formatted', leaseId: release.leaseId, headerDigest: digest } as const,
        ]) {
          const peer = await unlocking(node);
          await answer(peer, node === 'node-3' ? boot : { node });
          await peer.verdict();
          peer.send(message);
          assert.equal(await peer.refusal(), code);
        }
      }
      const rotating = await world.store.leases.volume(uuid);
      assert.deepEqual([rotating?.rotation?.headerDigest, rotating?.key], [null, before?.key]);
      await world.call('DELETE', `/v1/volumes/${uuid}/rotate`);
    });

    it('takes no header of a lease that is another node’s, nor what is no header, or one with other keyslots', async () => {
      const peer = await unlocking('node-2');
      await answer(peer, { node: 'node-2' });
      await peer.verdict();
      const release = await ask({ node: 'node-4' });
      assert(typeof release !== 'string');
      peer.send(headerFrame(release.leaseId, await header(release.volume)));
      assert.equal(await peer.refusal(), 'key_subject_mismatch');
      const none = await formatting('node-4', (lease) => [headerFrame(lease, randomBytes(4096))]);
      assert.deepEqual(none.answers, ['malformed']);
      // Attack: whoever formats the disk has a keyslot of their own vouched for (row 411).
      const three = await header(release.volume, 3);
      const odd = await formatting('node-4', (lease) => [headerFrame(lease, three)]);
      assert.deepEqual(odd.answers, ['malformed']);
    });
  });
});
