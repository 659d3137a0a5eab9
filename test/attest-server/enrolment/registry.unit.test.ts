import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { createRegistry, type Registry } from '../../../attest-server/enrolment/registry.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { openMadeStore } from '../store/made-store.ts';
import { endorsed, hello, refused, unendorsed } from './made-candidate.ts';

const keys = (digit: string) => ({
  ekDigest: digit.repeat(64),
  keyDigest: digit.repeat(64),
  ekPublicArea: Buffer.from(digit),
  ekCertificate: null,
  akPublicArea: Buffer.from(digit),
  akName: `000b${digit.repeat(64)}`,
});
const strange = unendorsed('ek_untrusted_root');
let tpm = endorsed;
const source = '10.0.0.1';
const hour = 3600_000;
const noTokens = { join: null, cluster: null };

describe('the registry', () => {
  let store: Store;
  let registry: Registry;
  let allowed: (by: string) => boolean;
  let alerts: string[];
  /** What a signed directory pins: the digit of a key by the name of its node. */
  let declared: Readonly<Record<string, string>>;

  beforeEach(async () => {
    store = await openMadeStore(':memory:');
    allowed = (by) => by !== 'first-use';
    alerts = [];
    declared = {};
    tpm = endorsed;
    registry = createRegistry({
      async checkPins(pins) {
        for (const { node, ekDigest } of pins)
          for (const [name, digit] of Object.entries(declared))
            if ((node === name) !== (ekDigest === digit.repeat(64)))
              throw new Rejection('ek_already_bound', 'it is pinned there');
      },
      store: store.enrolment,
      mayEnrol: (_node, by) => allowed(by),
      authority: { digest: 'c'.repeat(64) },
      clusterPorts: null,
      firstUsePerSource: 3,
      trial: false,
      alert: ({ code, node }) => alerts.push(`${code} ${node}`),
    });
  });

  const pin = (node: string, digit: string) =>
    registry.importPins([{ node, ekDigest: digit.repeat(64) }], 'token:admin', 0);
  const join = async (
    node: string,
    digit: string,
    joinToken: string | null = null,
    now = 0,
    from = source,
  ) => {
    const found = await registry.identify(
      hello(node),
      keys(digit),
      { join: joinToken, cluster: null },
      { at: now, source: from },
    );
    if ('candidate' in found) await registry.enrol(found.candidate, found.joinTokenId, tpm);
    return found;
  };
  const secretOf = (text: string) => text.split('.').slice(2, 4).join('.');
  const token = (node: string, ttlMs = hour) =>
    registry.createJoinToken({ node, ttlMs, actor: 'token:admin', now: 0 }).then(secretOf);

  it('lets a pinned key enrol under its name, and knows it afterwards', async () => {
    await pin('node-1', 'a');
    assert.ok('candidate' in (await join('node-1', 'a')));
    const again = await join('node-1', 'a');
    assert.ok('known' in again && again.known.bound === 'pin');
  });

  it('lets nobody enrol without a word, with another key than the pinned one, or by a way that the policy forbids', async () => {
    await refused(join('node-1', 'a'), 'enrolment_pending');
    await pin('node-1', 'a');
    await refused(join('node-1', 'b'), 'enrolment_pending');
    allowed = (by) => by === 'join-token';
    await refused(join('node-1', 'a'), 'enrolment_pending');
    assert.equal(await store.enrolment.node('node-1'), null);
  });

  it('takes nobody’s word against a signed directory: not of a token, nor of the first use (row 251)', async () => {
    allowed = () => true;
    // Pinned while the settings named no directory.
    await pin('node-3', 'c');
    declared = { 'node-1': 'a', 'node-3': 'd' };
    for (const [node, digit] of [
      ['node-1', 'b'],
      ['node-2', 'a'],
      ['node-3', 'c'],
    ] as const) {
      await refused(join(node, digit, await token(node)), 'enrolment_pending');
      await refused(join(node, digit), 'enrolment_pending');
      assert.equal(await store.enrolment.node(node), null);
    }
    const found = await join('node-1', 'a', await token('node-1'));
    assert.ok('candidate' in found && found.candidate.bound === 'join-token');
  });

  it('enrols a gate only where somebody named its very key, and none for an enrolled name (row 95)', async () => {
    allowed = () => true;
    const gate = (node: string, digit: string, shown: string | null) =>
      registry.identify(
        { ...hello(node), role: 'gate' },
        keys(digit),
        { join: shown, cluster: null },
        { at: 0, source },
      );
    await refused(gate('node-1', 'a', null), 'enrolment_pending');
    await refused(gate('node-1', 'a', await token('node-1')), 'enrolment_pending');
    await pin('node-1', 'a');
    const found = await gate('node-1', 'a', null);
    assert.ok('candidate' in found && found.candidate.bound === 'pin');
    await registry.enrol(found.candidate, found.joinTokenId, tpm);
    await refused(gate('node-1', 'b', await token('node-1')), 'enrolment_pending');
    assert.equal((await store.enrolment.node('node-1'))?.ekDigest, 'a'.repeat(64));
  });

  it('takes no join token of a TPM that no root vouches for; a pin of the key is enough', async () => {
    tpm = strange;
    const text = await token('node-1');
    await refused(join('node-1', 'a', text), 'ek_untrusted_root');
    await pin('node-2', 'b');
    const found = await join('node-2', 'b');
    assert.ok('candidate' in found && found.candidate.endorsedBy === null);
    tpm = endorsed;
    await join('node-1', 'a', text);
    const record = await store.enrolment.node('node-1');
    assert.deepEqual(
      [record?.bound, record?.manufacturer, record?.tpmClass, record?.endorsedBy],
      ['join-token', 'IFX', 'discrete', endorsed.endorsedBy],
    );
  });

  it('takes a join token once, for its node, within its time', async () => {
    const text = await token('node-1');
    await refused(join('node-2', 'a', text), 'enrolment_pending');
    await refused(join('node-1', 'a', text, hour + 1), 'enrolment_pending');
    await refused(join('node-1', 'a', `${text}x`), 'enrolment_pending');
    assert.ok('candidate' in (await join('node-1', 'a', text)));
    await refused(join('node-1', 'b', text), 'enrolment_pending');
  });

  it('shortens a join token to 24 hours', async () => {
    const text = await token('node-1', 1000 * hour);
    await refused(join('node-1', 'a', text, 24 * hour + 1), 'enrolment_pending');
  });

  it('decides a race for one token by the store: one wins, the other is refused', async () => {
    const text = await token('node-1');
    const [one, other] = await Promise.all(
      ['a', 'b'].map((digit) =>
        registry.identify(hello('node-1'), keys(digit), { join: text, cluster: null }, { at: 0, source }),
      ),
    );
    assert.ok(one !== undefined && 'candidate' in one && other !== undefined && 'candidate' in other);
    const results = await Promise.allSettled([
      registry.enrol(one.candidate, one.joinTokenId, tpm),
      registry.enrol(other.candidate, other.joinTokenId, tpm),
    ]);
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  });

  it('refuses another TPM under an enrolled name, whatever it brings', async () => {
    await pin('node-1', 'a');
    await join('node-1', 'a');
    const text = await token('node-1');
    await refused(join('node-1', 'b', text), 'enrolment_pending');
    assert.equal((await store.enrolment.node('node-1'))?.ekDigest, 'a'.repeat(64));
  });

  it('refuses an enrolled TPM under another name, and with another attestation key', async () => {
    await pin('node-1', 'a');
    await join('node-1', 'a');
    await refused(join('node-2', 'a'), 'identity_claim_mismatch');
    await refused(
      registry.identify(hello('node-1'), { ...keys('a'), akName: `000b${'f'.repeat(64)}` }, noTokens, {
        at: 0,
        source,
      }),
      'ak_mismatch',
    );
  });

  it('imports no pin for a key that another node has', async () => {
    await pin('node-1', 'a');
    await join('node-1', 'a');
    await refused(pin('node-2', 'a'), 'ek_already_bound');
    assert.equal(await store.enrolment.pinFor('node-2'), null);
    assert.deepEqual(alerts, ['ek_already_bound node-2', 'ek_already_bound node-1']);
  });

  it('binds no key that another node has by a good token, and tells the holder; a bad token is a false claim', async () => {
    await pin('node-1', 'a');
    await join('node-1', 'a');
    await refused(join('node-2', 'a', await token('node-2')), 'ek_already_bound');
    assert.deepEqual(alerts, ['ek_already_bound node-1']);
    await refused(join('node-2', 'a', await token('node-3')), 'identity_claim_mismatch');
  });

  it('binds as many of one source by first use as it may, also at once, until a person approves them (row 130)', async () => {
    allowed = () => true;
    const digits = ['a', 'b', 'c', 'd', 'e'];
    const found = await Promise.all(
      digits.map((digit) =>
        registry.identify(hello(`node-${digit}`), keys(digit), noTokens, { at: 0, source }),
      ),
    );
    const results = await Promise.allSettled(
      found.map(async (each) => {
        assert.ok('candidate' in each);
        await registry.enrol(each.candidate, null, tpm);
      }),
    );
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 3);
    for (const digit of digits.slice(3)) await refused(join(`node-${digit}`, digit), 'enrolment_pending');
    await join('node-d', 'd', null, 0, '10.0.0.2');
    const event = (subject: string) =>
      ({ at: 1, actor: 'token:admin', action: 'enrol.approve', subject, code: null, detail: {} }) as const;
    await store.enrolment.approveFirstUse([{ name: 'node-a', ekDigest: 'a'.repeat(64) }], event);
    await join('node-e', 'e');
    await refused(join('node-f', 'f'), 'enrolment_pending');
    assert.equal((await store.enrolment.node('node-e'))?.enrolledFrom, '10.0.0.1');
  });

  it('takes a key, and an attestation key, for one node, and lets the same TPM wait under its own name (row 117)', async () => {
    await pin('node-1', 'a');
    await join('node-1', 'a');
    const twins = [
      { ...keys('b'), keyDigest: keys('a').keyDigest },
      { ...keys('b'), akName: keys('a').akName },
    ];
    await pin('node-2', 'b');
    for (const twin of twins) {
      const identify = (node: string) => registry.identify(hello(node), twin, noTokens, { at: 0, source });
      await refused(identify('node-2'), 'ek_already_bound');
      await refused(identify('node-1'), 'enrolment_pending');
    }
    assert.deepEqual(alerts, []);
  });

  it('gives a name to the first TPM only where the policy says so, and to none that was revoked', async () => {
    allowed = () => true;
    const first = await join('node-1', 'a');
    assert.ok('candidate' in first && first.candidate.bound === 'first-use');
    await refused(join('node-1', 'b'), 'enrolment_pending');
    await store.enrolment.revoke(
      { name: 'node-1', ekDigest: 'a'.repeat(64), at: 1, reason: 'sold' },
      { at: 1, actor: 'token:admin', action: 'enrol.revoke', subject: 'node-1', code: null, detail: {} },
    );
    await refused(join('node-1', 'a'), 'enrolment_pending');
    assert.ok('candidate' in (await join('node-1', 'b')));
  });
});
