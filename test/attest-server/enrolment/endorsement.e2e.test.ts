import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { candidateView } from '../../../attest-server/api/api.ts';
import { listOf } from '../../../attest-server/api/list.ts';
import { nodeView } from '../../../attest-server/api/node-api.ts';
import { binaryFrame } from '../../../attest-server/wire/messages.ts';
import { assertRefused, introduce } from '../attacker.ts';
import { type ForgedTpm, forgedMake, forgedTpm, testAuthority } from '../forged-tpm.ts';
import { startTestServer, type TestServer } from '../running-server.ts';
import {
  addresses,
  basicConstraints,
  madeAuthority,
  madeEkCertificate,
  signer,
} from '../verify/made-certificate.ts';

let count = 0;
/** The audit log holds one refusal of a kind and node in ten seconds: each attack has a node of its own. */
const newName = () => `node-${++count}`;
const chip = { manufacturer: 'id:49465800', model: 'SLB 9670 TPM2.0' };

describe('who endorsed a TPM, over a real connection', () => {
  let world: TestServer;
  before(async () => {
    world = await startTestServer();
  });
  after(() => world?.[Symbol.asyncDispose]());

  /** The hello's part for a TPM with this certificate and chain. */
  const endorsedBy = (tpm: ForgedTpm, certificate: Buffer | null, chain: readonly Buffer[] = []) => ({
    ek: {
      publicArea: tpm.ek.publicArea.toString('base64'),
      certificate: certificate?.toString('base64') ?? null,
      chain: chain.map((der) => der.toString('base64')),
    },
  });

  async function joinAs(node: string, tpm: ForgedTpm, hello: object) {
    const [, , id, secret] = (await world.joinToken(node)).split('.');
    const joinToken = binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));
    return introduce(world, tpm, node, { hello, joinToken });
  }

  const shown = async (node: string) => nodeView.parse(await world.call('GET', `/v1/nodes/${node}`));

  it('takes a join token of no TPM that an authority of software TPMs endorsed (row 7)', async () => {
    const software = signer('swtpm-localca');
    const rootOfSoftware = signer('swtpm-localca-rootca');
    for (const make of [chip, { manufacturer: 'id:00001014', model: 'swtpm' }]) {
      const [node, tpm] = [newName(), forgedTpm()];
      const certificate = madeEkCertificate(software, tpm.ek.publicKey, make);
      const chain = [madeAuthority(software, rootOfSoftware), madeAuthority(rootOfSoftware)];
      await assertRefused(world, node, 'ek_untrusted_root', () =>
        joinAs(node, tpm, endorsedBy(tpm, certificate, chain)),
      );
      assert.equal(await world.store.enrolment.nodeByEk(tpm.ekDigest), null);
    }
  });

  it('takes no root that only has the name of a configured one (row 7)', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    const impostor = signer(testAuthority.name);
    const certificate = madeEkCertificate(impostor, tpm.ek.publicKey, chip);
    await assertRefused(world, node, 'ek_untrusted_root', () =>
      joinAs(node, tpm, endorsedBy(tpm, certificate, [madeAuthority(impostor)])),
    );
  });

  it('takes no endorsement that a TPM’s own certificate gives to another one (row 7)', async () => {
    const [node, tpm, other] = [newName(), forgedTpm(), forgedTpm()];
    const leaf = signer('TPM');
    const good = madeEkCertificate(testAuthority, leaf.publicKey, chip, [basicConstraints(false)]);
    const certificate = madeEkCertificate(leaf, other.ek.publicKey, chip);
    await assertRefused(world, node, 'ek_untrusted_root', () =>
      joinAs(node, other, endorsedBy(other, certificate, [good])),
    );
    assert.equal(await world.store.enrolment.nodeByEk(tpm.ekDigest), null);
  });

  it('takes a pinned key whatever its certificate says, and believes nothing of it but the worst', async () => {
    for (const [make, tpmClass] of [
      [chip, 'unknown'],
      [{ manufacturer: 'id:00001014', model: 'swtpm' }, 'virtual'],
    ] as const) {
      const [node, tpm] = [newName(), forgedTpm()];
      await world.pin(node, tpm.ekDigest);
      const certificate = madeEkCertificate(signer('swtpm-localca'), tpm.ek.publicKey, make);
      const peer = await introduce(world, tpm, node, { hello: endorsedBy(tpm, certificate) });
      await peer.challenge();
      await peer.close();
      const record = await world.store.enrolment.node(node);
      assert.deepEqual(
        [record?.bound, record?.endorsedBy, record?.manufacturer, record?.tpmClass],
        ['pin', null, null, tpmClass],
      );
      const view = await shown(node);
      assert.deepEqual([view.tpmClass, view.tpm, view.endorsedBy], [tpmClass, null, null]);
    }
  });

  it('takes a token of a TPM with a path to a configured root, and shows maker and kind', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    const maker = signer('Maker');
    const certificate = madeEkCertificate(maker, tpm.ek.publicKey, chip);
    const peer = await joinAs(node, tpm, endorsedBy(tpm, certificate, [madeAuthority(maker, testAuthority)]));
    peer.send(tpm.evidence(await peer.challenge(), { node, hello: peer.hello, channel: peer.channel }));
    await peer.verdict();
    await peer.close();
    const view = await shown(node);
    assert.deepEqual([view.bound, view.tpmClass], ['join-token', 'discrete']);
    assert.match(String(view.endorsedBy), /^[0-9a-f]{64}$/);
    assert.match(view.tpm ?? '', /^IFX firmware [0-9a-f]{16}$/);
    const enrolled = (await world.audit()).find(
      (entry) => entry.action === 'enrol' && entry.subject === node,
    );
    assert.equal(enrolled?.detail.tpmClass, 'discrete');
    assert.match(String(enrolled?.detail.endorsedBy), /^[0-9a-f]{64}$/);
  });

  it('lets a TPM without certificate wait for a person, whatever token it shows', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    await assertRefused(world, node, 'enrolment_pending', () => joinAs(node, tpm, endorsedBy(tpm, null)));
    const { items } = listOf(candidateView).parse(await world.call('GET', '/v1/enrolments'));
    assert.ok(items.some((each) => each.node === node && each.ek === tpm.ekDigest));
  });

  it('refuses bytes that are no certificate, in the chain as well', async () => {
    const [node, tpm] = [newName(), forgedTpm()];
    const certificate = madeEkCertificate(testAuthority, tpm.ek.publicKey, forgedMake);
    const cut = certificate.subarray(0, -1);
    for (const hello of [endorsedBy(tpm, cut), endorsedBy(tpm, certificate, [Buffer.of(0x30, 0)])]) {
      const peer = await introduce(world, tpm, node, { hello });
      assert.equal(await peer.refusal(), 'malformed');
    }
  });

  describe('and the addresses in certificates', () => {
    let listener: Server;
    let calls = 0;
    let url: string;
    before(async () => {
      listener = createServer((socket) => {
        calls += 1;
        socket.destroy();
      }).listen(0, '127.0.0.1');
      await once(listener, 'listening');
      url = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/authority.crt`;
    });
    after(() => listener?.close());

    it('are never called: not for an issuer that is missing, not for a list of revoked ones (row 7)', async () => {
      const maker = signer('Maker with addresses');
      const link = madeAuthority(maker, testAuthority, [basicConstraints(), ...addresses(url)]);
      for (const [chain, code] of [
        [[], 'ek_untrusted_root'],
        [[link], null],
      ] as const) {
        const [node, tpm] = [newName(), forgedTpm()];
        const certificate = madeEkCertificate(maker, tpm.ek.publicKey, chip, addresses(url));
        const hello = endorsedBy(tpm, certificate, chain);
        if (code !== null) await assertRefused(world, node, code, () => joinAs(node, tpm, hello));
        else {
          const peer = await joinAs(node, tpm, hello);
          await peer.challenge();
          await peer.close();
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(calls, 0);
    });
  });
});

describe('a server whose roots change', () => {
  it('reads them again when it is told to, and keeps the old ones where the new ones are faulty', async () => {
    await using world = await startTestServer();
    const file = join(world.stateDir, 'roots', 'root.pem');
    const attempt = async (node: string) => {
      const [, , id, secret] = (await world.joinToken(node)).split('.');
      const joinToken = binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));
      const peer = await introduce(world, forgedTpm(), node, { joinToken });
      let message = await peer.receive();
      if (message?.type === 'activate') message = await peer.receive();
      await peer.close();
      return message?.code ?? message?.type;
    };
    await writeFile(file, 'no certificate');
    await assert.rejects(world.server.reload());
    assert.equal(await attempt('node-1'), 'challenge');
    await writeFile(file, new X509Certificate(madeAuthority(signer('Another'))).toString());
    await world.server.reload();
    assert.equal(await attempt('node-2'), 'ek_untrusted_root');
  });
});

describe('a server that trusts no root', () => {
  it('takes join tokens of nobody, and pins all the same', async () => {
    await using world = await startTestServer({ endorsementRoots: ['none'] });
    const tpm = forgedTpm();
    const [, , id, secret] = (await world.joinToken('node-1')).split('.');
    const joinToken = binaryFrame('joinToken', Buffer.from(`${id}.${secret}`));
    await assertRefused(world, 'node-1', 'ek_untrusted_root', () =>
      introduce(world, tpm, 'node-1', { joinToken }),
    );
    await world.pin('node-1', tpm.ekDigest);
    const peer = await introduce(world, tpm, 'node-1');
    await peer.challenge();
    await peer.close();
    assert.equal((await world.store.enrolment.node('node-1'))?.bound, 'pin');
  });
});
