import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { openTrust } from '../../agent/announced-authorities.ts';
import { openChannel } from '../../agent/channel.ts';
import { parseJoinToken } from '../../agent/join-token.ts';
import { readTrust } from '../../agent/server-identity.ts';
import { openStateDir, type StateDir } from '../../agent/state-dir.ts';
import { type AnnouncedAuthority, vouchForAuthority } from '../../attest-server/wire/authority.ts';
import { parseServerMessage } from '../../attest-server/wire/messages.ts';
import { type MadeAuthority, makeAuthority } from './made-authority.ts';
import { startTinyServer } from './tiny-server.ts';

const live = new AbortController().signal;

/** An authority, its key, and a certificate that it signed. */
interface Side {
  readonly made: MadeAuthority;
  readonly authority: X509Certificate;
  readonly leaf: X509Certificate;
  readonly tls: { readonly key: string; readonly cert: string };
}

async function makeSide(): Promise<Side> {
  const made = await makeAuthority();
  const { key, cert } = await made.issue();
  return {
    made,
    authority: new X509Certificate(made.ca),
    leaf: new X509Certificate(cert),
    tls: { key, cert: cert + made.ca },
  };
}

describe('authorities that a server announces', () => {
  let a: Side;
  let b: Side;
  let c: Side;
  let folder = '';
  let state: StateDir;
  before(async () => {
    [a, b, c] = await Promise.all([makeSide(), makeSide(), makeSide()]);
  });
  after(() => Promise.all([a, b, c].map(({ made }) => made[Symbol.asyncDispose]())));
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-announced-'));
    state = await openStateDir(folder);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const plain = (side: Side): AnnouncedAuthority => ({ certificate: side.made.ca, signature: null });
  const signed = async (side: Side, by: Side): Promise<AnnouncedAuthority> => {
    const key = createPrivateKey(await readFile(join(by.made.dir, 'ca.key'), 'utf8'));
    return { certificate: side.made.ca, signature: vouchForAuthority(side.authority, key) };
  };
  const open = (...given: readonly Side[]) =>
    openTrust(
      given.map(({ authority }) => authority),
      state,
    );
  const file = () => join(folder, 'server-authorities.json');
  const isKept = async () => (await state.read('authorities')) !== null;

  it('count by the word of the one in force, and for the next start too, in a file of their owner', async () => {
    const trust = await open(a);
    assert(await trust.learn([plain(a), await signed(b, a)], a.leaf));
    assert.deepEqual(trust.digests, [a.made.digest, b.made.digest]);
    assert.equal((await stat(file())).mode & 0o777, 0o600);
    assert.deepEqual((await open(a)).digests, trust.digests);
    assert.equal(await trust.learn([plain(a), await signed(b, a)], a.leaf), false);
  });

  it('go on from one to the next, never more than two and what the file holds', async () => {
    const trust = await open(a);
    await trust.learn([plain(a), await signed(b, a)], a.leaf);
    await trust.learn([plain(b), plain(a)], b.leaf);
    await trust.learn([plain(b)], b.leaf);
    assert.deepEqual(trust.digests, [b.made.digest]);
    await trust.learn([plain(b), await signed(c, b)], b.leaf);
    assert.deepEqual((await open(a)).digests, [b.made.digest, c.made.digest]);
  });

  it('drop one that is announced no more, though it was given, and not on a connection under it', async () => {
    const trust = await open(a);
    await trust.learn([plain(a), await signed(b, a)], a.leaf);
    assert.equal(await trust.learn([plain(b)], a.leaf), false);
    assert.deepEqual(trust.digests, [a.made.digest, b.made.digest]);
    assert(await trust.learn([plain(b)], b.leaf));
    assert.deepEqual((await open(a)).digests, [b.made.digest]);
  });

  it('leave one of another installation in the file alone', async () => {
    const trust = await open(a, c);
    await trust.learn([plain(a), await signed(b, a)], a.leaf);
    await trust.learn([plain(b)], b.leaf);
    assert.deepEqual(trust.digests, [b.made.digest, c.made.digest]);
  });

  it('count for nothing beside a file or a token of another authority', async () => {
    await (await open(a)).learn([plain(a), await signed(b, a)], a.leaf);
    assert.deepEqual((await open(c)).digests, [c.made.digest]);
  });

  it('are taken by an agent that knows the digest of one key alone, and outlive it', async () => {
    const joinToken = parseJoinToken(`assay-join.v1.id1.${'s'.repeat(43)}.${a.made.digest}`);
    const source = { caFile: null, joinToken, state };
    await using server = await startTinyServer(a.tls, () => {});
    const trust = await readTrust(source, { host: '127.0.0.1', port: server.port }, live);
    await trust.learn([plain(a), await signed(b, a)], a.leaf);
    await trust.learn([plain(b)], b.leaf);
    for (const token of [joinToken, null]) {
      const later = await readTrust({ ...source, joinToken: token }, { host: '127.0.0.1', port: 1 }, live);
      assert.deepEqual(later.digests, [b.made.digest]);
    }
  });

  it('count for nothing without the word of the one in force', async () => {
    const forged: readonly (readonly [string, AnnouncedAuthority])[] = [
      ['unsigned', plain(b)],
      ['signed by itself', await signed(b, b)],
      ['signed by a stranger', await signed(b, c)],
      ['with the word for another', { ...plain(b), signature: (await signed(c, a)).signature }],
      ['with no signature in it', { ...plain(b), signature: 'AAAA' }],
    ];
    for (const [what, announced] of forged) {
      const trust = await open(a);
      await trust.learn([plain(a), announced], a.leaf);
      assert.deepEqual(trust.digests, [a.made.digest], what);
      assert.deepEqual((await open(a)).digests, [a.made.digest], what);
    }
  });

  it('are refused whole where the certificate of the sender is not vouched for', async () => {
    const trust = await open(a);
    for (const leaf of [b.leaf, c.leaf])
      await assert.rejects(trust.learn([plain(b), await signed(a, b)], leaf), { code: 'server_identity' });
    assert.equal(await isKept(), false);
  });

  it('are not heard over a connection whose server is not verified', async () => {
    const { signature } = await signed(b, a);
    const verdict = { type: 'verdict', state: 'trusted', codes: [] };
    const authorities = [plain(a), { certificate: b.made.ca, signature }];
    let spoken = 0;
    await using server = await startTinyServer(b.tls, (socket) => {
      spoken++;
      socket.send(JSON.stringify({ ...verdict, authorities }));
    });
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, a.made.ca);
    const address = { host: '127.0.0.1', port: server.port };
    const trust = await readTrust({ caFile, joinToken: null, state }, address, live);
    await assert.rejects(
      openChannel({ server: address, authority: trust.pem, takes: new Map(), signal: live }),
      {
        code: 'connect_failed',
      },
    );
    assert.equal(spoken, 0);
    assert.equal(await isKept(), false);
  });

  it('are refused whole where one of them is no certificate of an authority', async () => {
    const trust = await open(a);
    const leaf = a.leaf.toString();
    for (const certificate of [
      ...['', 'PEM', b.made.ca.replace('M', '-'), b.made.ca + c.made.ca, `x${b.made.ca}`, leaf],
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      await readFile(join(b.made.dir, 'ca.key'), 'utf8'),
    ])
      await assert.rejects(trust.learn([plain(a), { certificate, signature: 'AAAA' }], a.leaf), {
        code: 'server_identity',
      });
    assert.equal(await isKept(), false);
  });

  it('are refused unread where they are too large or too many', () => {
    const message = (authorities: readonly object[]) =>
      JSON.stringify({ type: 'verdict', state: 'trusted', codes: [], authorities });
    const large = { certificate: 'A'.repeat(4097), signature: null };
    for (const authorities of [[large], [], [plain(a), plain(b), plain(c)], [{ ...plain(a), more: 1 }]])
      assert.throws(() => parseServerMessage(message(authorities)), { code: 'malformed' });
    assert.throws(() => parseServerMessage(message([{ ...large, signature: 'A'.repeat(300_000) }])), {
      code: 'too_large',
    });
  });

  it('are written through no link, and leave nothing beside their file', async () => {
    const victim = join(folder, 'victim');
    await writeFile(victim, 'untouched');
    await rm(file(), { force: true });
    const trust = await open(a);
    await symlink(victim, file());
    await trust.learn([plain(a), await signed(b, a)], a.leaf);
    assert.equal(await readFile(victim, 'utf8'), 'untouched');
    assert.deepEqual((await readdir(folder)).sort(), ['server-authorities.json', 'victim']);
    assert.deepEqual((await open(a)).digests, [a.made.digest, b.made.digest]);
  });

  it('are told as damaged where their file is, and trusted no further', async () => {
    for (const text of ['', '{}', '{"anchor":"00","authorities":["x"],"retired":[]}']) {
      await state.write('authorities', text);
      await assert.rejects(open(a), { code: 'state_dir' });
    }
  });
});
