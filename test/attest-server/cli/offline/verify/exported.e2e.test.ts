import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { nodeView } from '../../../../../attest-server/api/node-api.ts';
import { verifyBundle } from '../../../../../attest-server/cli/offline/verify/verify.ts';
import { type Bundle, parseBundle } from '../../../../../attest-server/formats/bundle.ts';
import { binaryFrame } from '../../../../../attest-server/wire/messages.ts';
import { introduce } from '../../../attacker.ts';
import { type ForgedTpm, forgedTpm, testAuthority } from '../../../forged-tpm.ts';
import { startTestServer, type TestServer } from '../../../running-server.ts';
import { madeAuthority, madeEkCertificate, signer } from '../../../verify/made-certificate.ts';

const chip = { manufacturer: 'id:49465800', model: 'SLB 9670 TPM2.0' };
let count = 0;

describe('a bundle that a server exports', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer({ policy: 'observe' });
  });
  after(() => world?.[Symbol.asyncDispose]());

  /** Enrols a TPM with this certificate, has it answer, and exports what that verdict rests on. */
  async function exported(
    by: 'pin' | 'join-token',
    tpm: ForgedTpm,
    certificate: Buffer | null,
    chain: Buffer[],
  ) {
    const node = `node-${++count}`;
    const [, , id, secret] = by === 'pin' ? [] : (await world.joinToken(node)).split('.');
    if (by === 'pin') await world.pin(node, tpm.ekDigest);
    const ek = {
      publicArea: tpm.ek.publicArea.toString('base64'),
      certificate: certificate?.toString('base64') ?? null,
      chain: chain.map((der) => der.toString('base64')),
    };
    const peer = await introduce(world, tpm, node, {
      hello: { ek },
      ...(id !== undefined && { joinToken: binaryFrame('joinToken', Buffer.from(`${id}.${secret}`)) }),
    });
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    await peer.verdict();
    await peer.close();
    const view = nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));
    const bundle = parseBundle(JSON.stringify(await world.call('GET', `/v1/nodes/${node}/bundle`)));
    return { view, bundle };
  }
  const again = (bundle: Bundle) => verifyBundle(JSON.stringify(bundle), { now: Date.now() });

  function assertSame({ view, bundle }: Awaited<ReturnType<typeof exported>>): void {
    const { verdict, rejected } = again(bundle);
    assert.deepEqual(
      [rejected, verdict.state, verdict.reasons, verdict.aspects, verdict.from],
      [false, view.state, view.reasons.map(({ next: _, ...reason }) => reason), view.aspects, 'context'],
    );
    assert.equal(verdict.aspects.identity?.status, 'affirming');
  }

  it('carries the path from its endorsement certificate to a root, and gives the verdict again from that alone', async () => {
    const tpm = forgedTpm();
    const maker = signer('Maker');
    const certificate = madeEkCertificate(maker, tpm.ek.publicKey, chip);
    const authority = madeAuthority(maker, testAuthority);
    const stray = madeAuthority(signer('Nobody'));
    const made = await exported('join-token', tpm, certificate, [stray, authority]);
    const { endorsement, context } = made.bundle;
    assert.deepEqual(endorsement?.certificate, certificate.toString('base64'));
    assert.deepEqual(endorsement?.chain, [authority.toString('base64')]);
    assert.equal(context?.roots?.length, 1);
    assertSame(made);

    // What it carries is judged, and not only shown.
    const { bundle } = made;
    const other = forgedTpm();
    const attacks: readonly (readonly [string, Bundle])[] = [
      ['ek_untrusted_root', { ...bundle, endorsement: { ...endorsement, chain: [] } }],
      ['ek_untrusted_root', { ...bundle, endorsement: { ...endorsement, certificate: null } }],
      [
        'ek_cert_key_mismatch',
        { ...bundle, endorsement: { ...endorsement, publicArea: other.ek.publicArea.toString('base64') } },
      ],
    ];
    for (const [code, attack] of attacks) {
      const { verdict, rejected } = again(attack);
      assert.deepEqual([rejected, verdict.state, verdict.reasons[0]?.code], [true, 'unknown', code]);
    }
  });

  it('carries the path also where the node is enrolled by a pin', async () => {
    const tpm = forgedTpm();
    const made = await exported('pin', tpm, madeEkCertificate(testAuthority, tpm.ek.publicKey, chip), []);
    assert.deepEqual([made.bundle.endorsement?.chain, made.bundle.context?.roots?.length], [[], 1]);
    assertSame(made);
  });

  it('carries no root where none vouches, and gives the same verdict by the word of who exported it', async () => {
    const [tpm, without] = [forgedTpm(), forgedTpm()];
    const software = signer('swtpm-localca');
    const certificate = madeEkCertificate(software, tpm.ek.publicKey, chip);
    for (const made of [
      await exported('pin', tpm, certificate, [madeAuthority(software)]),
      await exported('pin', without, null, []),
    ]) {
      assert.deepEqual([made.bundle.endorsement?.chain, made.bundle.context?.roots], [undefined, undefined]);
      assertSame(made);
    }
  });
});
