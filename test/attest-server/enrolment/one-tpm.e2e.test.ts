import assert from 'node:assert/strict';
import { createPublicKey, hash, randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { assertRefused, dial, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedMake, forgedTpm, testAuthority } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { madeAuthority, madeEkCertificate, type Signer, signer } from '../verify/made-certificate.ts';
import {
  type AreaOptions,
  ekAttributes,
  ekTemplate,
  madeArea,
  type SoftwareKey,
} from '../verify/software-key.ts';

const policy = join(tmpdir(), `assay-one-tpm-${process.pid}.yaml`);
const checked = 'assay_endorsement_signatures_total';
let count = 0;
const newName = () => `node-${++count}`;

/** The same key in another public area. */
function inForm(tpm: ForgedTpm, form: AreaOptions): ForgedTpm {
  const publicArea = madeArea('p256', tpm.ek.publicKey, { ...ekTemplate, ...form });
  const ek: SoftwareKey = { ...tpm.ek, publicArea };
  return forgedTpm(tpm.ak, ek);
}

/**
 * The point with the other y, which no certificate is about. A TPM activates by x alone (TPM 2.0 Part 1, annex C.6.1), so
 * it opens what is encrypted for either.
 */
function mirrored(tpm: ForgedTpm): ForgedTpm {
  const { x = '', y = '' } = tpm.ek.publicKey.export({ format: 'jwk' });
  const prime = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
  const other = prime - BigInt(`0x${Buffer.from(y, 'base64url').toString('hex')}`);
  const jwk = {
    kty: 'EC',
    crv: 'P-256',
    x,
    y: Buffer.from(other.toString(16).padStart(64, '0'), 'hex').toString('base64url'),
  };
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' });
  const publicArea = madeArea('p256', publicKey, ekTemplate);
  const mirror = forgedTpm(undefined, { ...tpm.ek, publicArea });
  return {
    ...mirror,
    hello: (node) => ({
      ...mirror.hello(node),
      ek: { publicArea: publicArea.toString('base64'), certificate: null, chain: [] },
    }),
  };
}

/** Of the high range, with the same name algorithm and cipher: the credential of one opens for the other. */
const highRange: AreaOptions = {
  attributes: 0x000300f2,
  policy: 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0',
};

describe('one TPM is one node, over a real connection', () => {
  let world: TestServer;
  before(async () => {
    await writeFile(
      policy,
      'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n' +
        '  - {name: lab, nodes: ["lab-*"], enrolment: [first-use]}\n' +
        '  - {name: other, nodes: ["*"], enrolment: [pin, approval, join-token]}\n',
    );
    world = await startTestServer({ policy });
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(policy, { force: true });
  });

  let sources = 0;
  /** Each of another address: the audit log holds every refusal then. */
  const newSource = () => `127.0.5.${++sources}`;
  const greet =
    (tpm: ForgedTpm, node: string, from = newSource()) =>
    () =>
      introduce(world, tpm, node, { from });

  it('takes no form of a key that is no template of the TCG, under any method (rows 116, 118)', async () => {
    const tpm = forgedTpm();
    const forms: readonly AreaOptions[] = [
      { attributes: ekAttributes | (1 << 10) },
      { attributes: (ekAttributes | (1 << 31)) >>> 0 },
      { attributes: ekAttributes | (1 << 6) },
      { policy: '' },
      { policy: 'ff'.repeat(32) },
    ];
    for (const [index, form] of forms.entries()) {
      // The audit log holds eight names of one source and code.
      const from = `127.0.6.${index}`;
      const other = inForm(tpm, form);
      const [pinned, lab] = [newName(), `lab-${newName()}`];
      await world.pin(pinned, other.ekDigest);
      for (const node of [pinned, lab]) {
        await assertRefused(world, node, 'malformed', greet(other, node, from));
        assert.equal(await world.store.enrolment.node(node), null);
      }
    }
  });

  it('takes a key, and an attestation key, for one node, whatever vouches for a second (row 117)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    const twins = [inForm(tpm, highRange), forgedTpm(tpm.ak), mirrored(tpm)];
    for (const [index, twin] of twins.entries()) {
      const from = `127.0.7.${index}`;
      const [pinned, lab, token] = [newName(), `lab-${newName()}`, newName()];
      await world.pin(pinned, twin.ekDigest);
      for (const name of [pinned, lab])
        await assertRefused(world, name, 'ek_already_bound', greet(twin, name, from));
      const [, , id, secret] = (await world.joinToken(token)).split('.');
      const joinToken = binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));
      await assertRefused(world, token, 'ek_already_bound', () =>
        introduce(world, twin, token, { joinToken, from }),
      );
      for (const name of [pinned, lab, token]) assert.equal(await world.store.enrolment.node(name), null);
    }
    assert.equal((await world.status(node))?.state, 'trusted');
  });

  it('lets one of two forms of a TPM win that enrol at once, and tells of both nodes (row 117)', async () => {
    const tpm = forgedTpm();
    const twins = [tpm, inForm(tpm, highRange)].map((each) => ({ each, name: newName() }));
    for (const { each, name } of twins) await world.pin(name, each.ekDigest);
    const peers = await Promise.all(
      twins.map(async ({ each, name }) => {
        const peer = await dial(world);
        const hello = JSON.stringify(each.hello(name));
        peer.send(hello);
        const activate = (await peer.receive()) ?? {};
        assert.equal(activate.type, 'activate');
        return { peer, answer: each.activated(activate, peer.channel, hello) };
      }),
    );
    for (const { peer, answer } of peers) peer.send(answer);
    const outcomes = await Promise.all(peers.map(async ({ peer }) => (await peer.receive())?.type));
    assert.deepEqual(outcomes.sort(), ['challenge', 'error']);
    for (const { name } of twins)
      await world.until(async () =>
        (await world.audit()).find(({ subject, code }) => subject === name && code === 'ek_already_bound'),
      );
    for (const { peer } of peers) await peer.close();
  });

  it('takes no revoked TPM back by first use, by its key or its attestation key (row 118)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    await world.call('POST', `/v1/enrolments/${node}/revoke`, { reason: 'stolen' });
    for (const form of [tpm, inForm(tpm, highRange), forgedTpm(tpm.ak), mirrored(tpm)]) {
      const lab = `lab-${newName()}`;
      await assertRefused(world, lab, 'enrolment_pending', greet(form, lab));
    }
    await assertRefused(
      world,
      'lab-altered',
      'malformed',
      greet(inForm(tpm, { attributes: ekAttributes | (1 << 10) }), 'lab-altered'),
    );
  });

  it('binds no more than a number of one source by first use (row 130)', async () => {
    await using small = await startTestServer({ policy, firstUsePerSource: 2 });
    for (const name of ['lab-1', 'lab-2']) {
      const peer = await introduce(small, forgedTpm(), name, { from: '127.0.0.7' });
      await peer.challenge();
      await peer.close();
    }
    await assertRefused(small, 'lab-3', 'enrolment_pending', () =>
      introduce(small, forgedTpm(), 'lab-3', { from: '127.0.0.7' }),
    );
    const peer = await introduce(small, forgedTpm(), 'lab-4', { from: '127.0.0.8' });
    await peer.challenge();
    await peer.close();
    await small.call('POST', '/v1/enrolments/approve-all');
    const later = await introduce(small, forgedTpm(), 'lab-3', { from: '127.0.0.7' });
    await later.challenge();
    await later.close();
  });

  it('checks no signature of a certificate before its sender has proven the key (row 123)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    const before = await world.metric(checked);
    const dear = dearHello(tpm);
    for (const [name, hello] of [
      // Of a node, by whoever knows its keys; of one that is pinned; of nobody.
      [node, { ...tpm.hello(node), ek: dear }],
      ['node-of-nobody', { ...tpm.hello('node-of-nobody'), ek: dear }],
      [newName(), forgedTpm().hello(`node-${count}`)],
    ] as const) {
      if (name !== node) await world.pin(name, ekOf(hello)).catch(() => {});
      for (let each = 0; each < 4; each += 1) {
        const peer = await dial(world);
        peer.send(hello);
        await peer.receive();
        await peer.close();
      }
    }
    assert.equal(await world.metric(checked), before);
    assert.equal((await world.status(node))?.state, 'trusted');
  });

  it('follows the path of a certificate once, and none by a long key (row 123)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    const before = await world.metric(checked);
    await enrolledNode(world, tpm, node);
    const once = await world.metric(checked);
    assert.equal(once, before + 1);
    for (let each = 0; each < 3; each += 1) {
      const peer = await introduce(world, tpm, node);
      peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
      await peer.verdict();
      await peer.close();
    }
    assert.equal(await world.metric(checked), once);
    // A proven node that shows another certificate than the one it is enrolled with buys nothing by it.
    const peer = await introduce(world, tpm, node, { hello: { ek: dearHello(tpm) } });
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    await peer.verdict();
    await peer.close();
    assert.equal(await world.metric(checked), once);
    const [other, own] = [newName(), forgedTpm()];
    await world.pin(other, own.ekDigest);
    const stranger = await introduce(world, own, other, { hello: { ek: dearHello(own) } });
    await stranger.challenge();
    await stranger.close();
    assert.equal((await world.store.enrolment.node(other))?.endorsedBy, null);
    assert.equal(await world.metric(checked), once);
  });
});

/** An endorsement key with a certificate whose issuers have keys of 8,192 bits, or a long exponent. */
function dearHello(tpm: ForgedTpm) {
  const certificate = madeEkCertificate(long, tpm.ek.publicKey, forgedMake);
  const chain = [madeAuthority(long, testAuthority), madeAuthority(wide, testAuthority)];
  return {
    publicArea: tpm.ek.publicArea.toString('base64'),
    certificate: certificate.toString('base64'),
    chain: chain.map((der) => der.toString('base64')),
  };
}

/** What these sign nobody can make, and nobody should try to check. */
const long = rsaSigner(8192, 65537);
const wide = rsaSigner(2048, 0x7fffffff);

function rsaSigner(bits: number, exponent: number): Signer {
  const modulus = randomBytes(bits / 8);
  modulus[0] = 0xff;
  modulus[modulus.length - 1] = 0xff;
  const e = Buffer.alloc(4);
  e.writeUInt32BE(exponent);
  const jwk = { kty: 'RSA', n: modulus.toString('base64url'), e: e.toString('base64url') };
  return { ...signer('Maker'), publicKey: createPublicKey({ key: jwk, format: 'jwk' }) };
}

function ekOf({ ek }: { readonly ek: { readonly publicArea: string } | null }): string {
  return hash('sha256', Buffer.from(ek?.publicArea ?? '', 'base64'), 'hex');
}
