import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { after, before, describe, it } from 'mocha';
import { binaryFrame, type Challenge } from '../../../attest-server/wire/messages.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import { assertRefused, dial, enrolledNode, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedTpm } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import { akOf, madeQuote } from '../verify/made-quote.ts';
import { akAttributes, softwareKey } from '../verify/software-key.ts';

let count = 0;
/** The audit log holds one refusal of a kind and node in ten seconds: each attack has a node of its own. */
const newName = () => `node-${++count}`;

describe('who somebody is, over a real connection', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  async function victim(): Promise<{ node: string; tpm: ForgedTpm }> {
    const [node, tpm] = [newName(), forgedTpm()];
    await enrolledNode(world, tpm, node);
    assert.equal((await world.status(node))?.state, 'trusted');
    return { node, tpm };
  }

  /** A hello for this node, then nothing. */
  const greet = (hello: object) => async () => {
    const peer = await dial(world);
    peer.send(hello);
    return peer;
  };

  it('takes no evidence without activation, and does not mark the node that is named (row 1)', async () => {
    const { node, tpm } = await victim();
    const stranger = forgedTpm();
    const other = newName();
    await world.pin(other, stranger.ekDigest);
    const nonce = Buffer.alloc(32, 7).toString('base64');
    const asked: Challenge = {
      type: 'challenge',
      nonce,
      selection: {},
      purpose: 'attest',
      holds: [],
      parts: [],
      within: 1,
    };
    // Before a hello, in the name of an enrolled node; and after a hello, instead of the activation.
    const early = await dial(world);
    early.send(tpm.evidence(asked, { node, hello: '', channel: early.channel }));
    assert.equal(await early.refusal(), 'identity_unproven');
    assert.equal((await world.status(node))?.state, 'trusted');
    await assertRefused(world, other, 'identity_unproven', async () => {
      const peer = await dial(world);
      const hello = JSON.stringify(stranger.hello(other));
      peer.send(hello);
      assert.equal((await peer.peek())?.type, 'activate');
      peer.send(stranger.evidence(asked, { node: other, hello, channel: peer.channel }));
      return peer;
    });
    assert.equal(await world.store.enrolment.node(other), null);
  });

  it('takes no activation that another TPM, connection or hello answered (row 1)', async () => {
    for (const change of ['secret', 'channel', 'hello'] as const) {
      const [node, tpm] = [newName(), forgedTpm()];
      await world.pin(node, tpm.ekDigest);
      await assertRefused(world, node, 'identity_unproven', async () => {
        const peer = await dial(world);
        const hello = JSON.stringify(tpm.hello(node));
        peer.send(hello);
        const activate = (await peer.receive()) ?? {};
        const channel = change === 'channel' ? Buffer.alloc(32) : peer.channel;
        const good = tpm.activated(activate, channel, change === 'hello' ? `${hello} ` : hello);
        peer.send(change === 'secret' ? { ...good, proof: '00'.repeat(32) } : good);
        return peer;
      });
      assert.equal(await world.store.enrolment.node(node), null);
    }
  });

  it('takes no quote of a key other than the activated one (row 2)', async () => {
    const { node, tpm } = await victim();
    const other = softwareKey('p256');
    await assertRefused(world, node, 'ak_mismatch', async () => {
      const peer = await introduce(world, tpm, node);
      const occasion = { node, hello: peer.hello, channel: peer.channel };
      peer.send(tpm.evidence(await peer.challenge(), occasion, { quote: (data) => madeQuote(other, data) }));
      return peer;
    });
  });

  it('takes no other attestation key under an enrolled endorsement key (row 2)', async () => {
    const { node, tpm } = await victim();
    const other = forgedTpm();
    await assertRefused(world, node, 'ak_mismatch', greet({ ...tpm.hello(node), ak: other.hello(node).ak }));
  });

  const akOfHello = (publicArea: Buffer, name: string) => ({
    publicArea: publicArea.toString('base64'),
    name,
  });
  const badKeys: readonly (readonly [string, ReasonCode, () => { publicArea: string; name: string }])[] = [
    [
      'a name that is not its own (row 3)',
      'ak_name_mismatch',
      () => akOfHello(softwareKey('p256').publicArea, akOf(softwareKey('p256')).name),
    ],
    ...['restricted', 'fixedTPM', 'fixedParent', 'sensitiveDataOrigin', 'sign', 'no decrypt'].map(
      (word, index) =>
        [
          `attributes without ${word} (row 4)`,
          'ak_attributes' as const,
          () => {
            const bit = [0x10000, 0x2, 0x10, 0x20, 0x40000, 0x20000][index] ?? 0;
            const { publicArea } = softwareKey('p256', { attributes: akAttributes ^ bit });
            return akOfHello(publicArea, akName(publicArea));
          },
        ] as const,
    ),
    [
      'a SHA-1 name (row 12)',
      'weak_key',
      () => akOfHello(softwareKey('p256', { nameAlg: 0x0004 }).publicArea, `0004${'00'.repeat(20)}`),
    ],
    [
      'an RSA key of 1024 bits (row 12)',
      'weak_key',
      () => {
        const { publicArea } = softwareKey('rsa1024');
        return akOfHello(publicArea, akName(publicArea));
      },
    ],
    [
      'an unknown curve (row 12)',
      'weak_key',
      () => {
        const { publicArea } = softwareKey('p256', { curve: 0x0010 });
        return akOfHello(publicArea, akName(publicArea));
      },
    ],
  ];
  for (const [what, code, make] of badKeys)
    it(`takes no attestation key with ${what}`, async () => {
      const { node, tpm } = await victim();
      await assertRefused(world, node, code, greet({ ...tpm.hello(node), ak: make() }));
    });

  it('changes nothing but the audit log when another TPM claims an enrolled name (row 95)', async () => {
    const { node } = await victim();
    const stranger = forgedTpm();
    await assertRefused(world, node, 'enrolment_pending', greet(stranger.hello(node)));
    assert.equal(await world.store.enrolment.nodeByEk(stranger.ekDigest), null);
    // A token for that name does not help either.
    const token = await world.joinToken(node);
    const peer = await introduce(world, stranger, node, { joinToken: frameOf(token) });
    assert.equal(await peer.refusal(), 'enrolment_pending');
    assert.equal(await world.store.enrolment.nodeByEk(stranger.ekDigest), null);
  });

  it('refuses an enrolled TPM that names itself as another node (row 10)', async () => {
    const [{ tpm }, { node: other }] = [await victim(), await victim()];
    await assertRefused(world, other, 'identity_claim_mismatch', greet(tpm.hello(other)));
  });

  it('refuses an enrolled node that says it has no TPM, and one that nobody knows (row 85)', async () => {
    const { node, tpm } = await victim();
    const none = (name: string) => ({ ...tpm.hello(name), ek: null, ak: null, banks: [] });
    await assertRefused(world, node, 'identity_unproven', greet(none(node)));
    const unknown = newName();
    await assertRefused(world, unknown, 'unsupported_tpm', greet(none(unknown)));
  });

  it('waits with a TPM that nobody vouched for, or that is not the pinned one (row 93)', async () => {
    const node = newName();
    await assertRefused(world, node, 'enrolment_pending', greet(forgedTpm().hello(node)));
    const [pinned, tpm] = [newName(), forgedTpm()];
    await world.pin(pinned, tpm.ekDigest);
    await assertRefused(world, pinned, 'enrolment_pending', greet(forgedTpm().hello(pinned)));
    await enrolledNode(world, tpm, pinned);
    assert.equal((await world.status(pinned))?.state, 'trusted');
  });

  it('does not pin a key that another node has, tells both, and the first goes on (row 8)', async () => {
    const [{ node, tpm }, other] = [await victim(), newName()];
    const bound = [await world.store.enrolment.node(node), await world.status(node)];
    await assert.rejects(world.pin(other, tpm.ekDigest), /ek_already_bound/);
    assert.deepEqual([await world.store.enrolment.node(node), await world.status(node)], bound);
    assert.equal(await world.store.enrolment.pinFor(other), null);
    for (const name of [node, other])
      await world.until(async () =>
        (await world.audit()).find((each) => each.subject === name && each.code === 'ek_already_bound'),
      );
    assert.equal(await world.metric('assay_refusals_total{code="ek_already_bound"}'), 2);
    // The first one has its key still, and proves itself by it.
    const peer = await introduce(world, tpm, node);
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    assert.equal((await peer.verdict()).state, 'trusted');
    await peer.close();
  });

  it('enrols by a join token once, and refuses one that is used, expired, foreign or made up', async () => {
    const [node, other] = [newName(), newName()];
    const token = await world.joinToken(node);
    const foreign = newName();
    const refuse = (name: string, text: string) =>
      assertRefused(world, name, 'enrolment_pending', () =>
        introduce(world, forgedTpm(), name, { joinToken: frameOf(text) }),
      );
    await refuse(foreign, token);
    const tpm = forgedTpm();
    const peer = await introduce(world, tpm, node, { joinToken: frameOf(token) });
    await peer.challenge();
    assert.equal((await world.store.enrolment.node(node))?.bound, 'join-token');
    await peer.close();
    await refuse(node, token);
    const short = await world.joinToken(other, 1);
    await new Promise((resolve) => setTimeout(resolve, 1_050));
    await refuse(other, short);
    await refuse(newName(), 'assay-join.v1.no.such.token');
    assert((await world.audit()).every(({ detail }) => !JSON.stringify(detail).includes(secretOf(token))));
  });

  it('lets exactly one of two connections win that show one join token at once (row 79)', async () => {
    const node = newName();
    const joinToken = frameOf(await world.joinToken(node));
    const refusals = (code: unknown) => world.metric(`assay_refusals_total{code="${code}"}`);
    const codes = ['enrolment_pending', 'ek_already_bound'];
    const before = await Promise.all(codes.map(refusals));
    const tpms = [forgedTpm(), forgedTpm()];
    const outcomes = await Promise.all(
      tpms.map(async (tpm) => {
        const peer = await introduce(world, tpm, node, { joinToken });
        if ((await peer.peek())?.type === 'activate') await peer.receive();
        const message = await peer.receive();
        await peer.close();
        return message?.type === 'challenge' ? tpm.ekDigest : message?.code;
      }),
    );
    const record = await world.store.enrolment.node(node);
    const won = outcomes.filter((outcome) => outcome === record?.ekDigest);
    assert.equal(won.length, 1, String(outcomes));
    const lost = outcomes.find((outcome) => outcome !== record?.ekDigest);
    assert(lost === 'enrolment_pending' || lost === 'ek_already_bound', String(lost));
    await world.until(async () =>
      (await world.audit()).find((each) => each.subject === node && each.code === lost),
    );
    assert.equal(await refusals(lost), (before[codes.indexOf(lost)] ?? 0) + 1);
    const enrolments = (await world.audit()).filter(
      ({ action, subject }) => action === 'enrol' && subject === node,
    );
    assert.equal(enrolments.length, 1);
  });
});

/** What an agent shows of a token file: its identifier and secret. */
function frameOf(token: string): Buffer {
  const [, , id, secret] = token.split('.');
  return binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));
}

/** nameAlg || H(public area), without any check. */
function akName(publicArea: Buffer): string {
  return `000b${hash('sha256', publicArea, 'hex')}`;
}

function secretOf(token: string): string {
  return token.split('.')[3] ?? '';
}
