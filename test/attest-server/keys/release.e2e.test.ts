import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { after, before, describe, it } from 'mocha';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import { Volumes } from '../../../attest-server/keys/volumes.ts';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../../attest-server/policy/policy.ts';
import { capDigest, capPcr } from '../../../attest-server/wire/cap.ts';
import { keyReleaseKind, parseKeyRelease } from '../../../attest-server/wire/key-release.ts';
import { keyRequestOf } from '../../../attest-server/wire/key-request.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { introduce, type Peer } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { replayedValues } from '../policy/made-proof.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeQuote } from '../verify/made-quote.ts';
import { madeKeyRequest } from '../wire/made-keys.ts';

const good = recordedLog('debian13-sdboot-uki');

interface Asking {
  readonly node?: string;
  readonly bootLog?: Buffer;
  readonly resetCount?: number;
  /** PCR 15 in place of what the log says. */
  readonly pcr15?: Buffer;
  readonly volume?: string;
  /** Address of the loopback that it asks from. */
  readonly from?: string;
}

type UnlockPeer = Peer & { readonly hello: string };

describe('the key of a disk', () => {
  let folder: string;
  let world: TestServer;
  let volumes: Volumes;
  const tpms: Readonly<Record<string, ForgedTpm>> = {
    'node-1': forgedTpm(),
    'node-2': forgedTpm(),
    'stock-1': forgedTpm(),
    'far-1': forgedTpm(),
    'plain-1': forgedTpm(),
  };
  const tpmOf = (node: string) => tpms[node] ?? assert.fail();

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-disk-keys-'));
    const wrappingKeyFile = join(folder, 'wrapping-key');
    writeFileSync(wrappingKeyFile, randomBytes(32).toString('base64'), { mode: 0o400 });
    const recipient = await identityToRecipient(await generateIdentity());
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
    world = await startTestServer({ policy, wrappingKeyFile });
    const wrapping = openWrappingKeys({ file: wrappingKeyFile, beside: [] });
    volumes = new Volumes({ store: world.store.leases, wrapping, now: () => Date.now() });
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
    rmSync(folder, { recursive: true });
  });

  const named = new Map<string, string>();
  async function volume(node: string, group: Parameters<Volumes['add']>[0]['group']): Promise<void> {
    const { ekDigest } = tpmOf(node);
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

  async function answerOfAgent(node: string): Promise<void> {
    const peer = await introduce(world, tpmOf(node), node);
    await answer(peer, { node });
    await peer.verdict();
    await peer.close();
  }

  async function answer(peer: UnlockPeer, asking: Asking, keyRequest?: Buffer): Promise<void> {
    const { node = 'node-1', bootLog = good, resetCount = 7, pcr15 } = asking;
    const tpm = tpmOf(node);
    const challenge = await peer.challenge();
    if (!challenge.holds.includes(hash('sha256', bootLog, 'hex'))) peer.send(binaryFrame('part', bootLog));
    const sha256 = replayedValues(bootLog, 'sha256');
    pcr15?.copy(sha256, capPcr * 32);
    const bootId = `6f9619ff-8b86-4011-b42d-${String(resetCount).padStart(12, '0')}`;
    const occasion = { node, hello: peer.hello, channel: peer.channel, bootLog, bootId, keyRequest };
    const quote = (data: Buffer) =>
      madeQuote(tpm.ak, data, { pcrs: { sha256 }, resetCount, clock: BigInt(resetCount * 100_000) });
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
    assert.match(JSON.stringify(bundle), /"keyRequest":"[^"]{100,}/);
    assert.equal(await world.metric('assay_key_releases_total'), 1);
  });

  it('goes five times to one boot and no more, also where nothing else is new, and again to the next one', async () => {
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

  it('goes to no boot that says that its disk is open, nor to one that is capped', async () => {
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

  it('is not ended by another node that says so, nor before anything is proven', async () => {
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

  it('is of no other node, and of no volume that nobody made', async () => {
    assert.equal(await ask({ node: 'node-2', volume: named.get('node-1') ?? '' }), 'key_subject_mismatch');
    assert.equal(await ask({ volume: madeKeyRequest().volume }), 'key_subject_mismatch');
  });

  it('goes to no kernel that nobody knows, and says so', async () => {
    assert.equal(await ask({ bootLog: tamper(good, 'kernel'), resetCount: 50 }), 'key_withheld');
    const entry = await world.until(async () => (await entries('key.refuse')).at(-1));
    assert.match(String(entry.detail.text), /boot not affirmed/);
    assert.equal(entry.code, 'key_withheld');
  });

  it('goes to no root file system that nothing measured, unless the policy allows it', async () => {
    assert.equal(await ask({ node: 'stock-1' }), 'root_unmeasured');
  });

  it('goes to the networks of the policy alone', async () => {
    assert.equal(await ask({ node: 'far-1', from: '127.0.0.3' }), 'key_withheld');
    assert.notEqual(typeof (await ask({ node: 'far-1', from: '127.0.0.2' })), 'string');
  });

  it('goes to no group whose policy has no keys', async () => {
    assert.equal(await ask({ node: 'plain-1', volume: named.get('node-1') ?? '' }), 'key_subject_mismatch');
  });

  it('fills neither log nor disk by asking again and again', async () => {
    const before = (await entries('key.refuse')).length;
    for (let asked = 0; asked < 4; asked++)
      assert.equal(
        await ask({ node: 'node-2', volume: named.get('node-1') ?? '', resetCount: 60 }),
        'key_subject_mismatch',
      );
    await world.until(async () => (await entries('key.refuse')).length > before);
    assert.equal((await entries('key.refuse')).length, before + 1);
  });
});
