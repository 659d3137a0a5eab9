import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createPublicKey, verify, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { AuditLog } from '../../../attest-server/audit/audit-log.ts';
import { type Custody, openCustody } from '../../../attest-server/custody/open.ts';
import type { AuditEvent } from '../../../attest-server/formats/audit.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { ensureIdentity } from '../../../attest-server/tls/identity.ts';
import { openTls } from '../../../attest-server/tls/open.ts';
import { ed25519Key, followRotations } from '../../../attest-server/wire/audit-key.ts';
import { isAuthorityVouchedFor } from '../../../attest-server/wire/authority.ts';
import { parseCheckpoint, verifyCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

describe('keys in a folder of their own', () => {
  let root = '';
  let keysDir = '';
  const stores: Store[] = [];
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-keys-'));
    keysDir = join(root, 'keys');
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) await store[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });

  const stateDir = (server: string) => join(root, server);
  const keysOf = (server: string): Custody => openCustody(keysDir, stateDir(server));
  /** The audit log of one of the servers, on a database of its own. */
  async function openLog(server: string) {
    const store = await openMadeStore(join(stateDir(server), 'assay.db'));
    stores.push(store);
    const keys = keysOf(server).audit;
    const ports = { signed: () => {}, rolledBack: (why: string) => assert.fail(why) };
    const log = await AuditLog.open({
      store: store.audit,
      stateDir: stateDir(server),
      keys,
      now: Date.now,
      ...ports,
    });
    return { store, log };
  }
  const keysIn = async ({ audit }: Store) => (await audit.origins()).map(({ keys }) => keys.length);

  it('are old or new for whoever reads them while another program changes them, and never half of one', async function () {
    this.timeout(60_000);
    const { audit, tls } = keysOf('reader');
    const first = await audit.ensure();
    await tls.read();
    const program = join(import.meta.dirname, 'rotating-program.ts');
    const writer = spawn(process.execPath, [program, keysDir, stateDir('writer')]);
    const [said, failed] = [text(writer.stdout), text(writer.stderr)];
    const ended = once(writer, 'exit');
    const stages = new Set<string>();
    let known = first.keys.length;
    for (const end = performance.now() + 4_000; performance.now() < end && writer.exitCode === null; ) {
      const signer = audit.read() ?? assert.fail('no audit key');
      assert.ok(signer.keys.length >= known, 'a key that was replaced came again');
      known = signer.keys.length;
      followRotations(first.origin, signer.keys, first.keys[0]?.publicKey ?? '');
      const message = Buffer.from('any');
      assert.ok(verify(null, message, ed25519Key(signer.publicKey), signer.sign(message)));
      const { stage, inForce, other, signature } = await tls.read();
      stages.add(stage);
      const certificate = new X509Certificate(inForce);
      assert.equal(stage === 'settled', other === null);
      if (stage === 'settled') assert.equal(certificate.toString(), inForce);
      if (stage === 'announced')
        assert.ok(
          isAuthorityVouchedFor(new X509Certificate(other ?? ''), signature ?? '', certificate.publicKey),
        );
      await sleep(1);
    }
    writer.stdin.end();
    const [code] = await ended;
    assert.deepEqual([code, await failed], [0, '']);
    assert.ok(Number(await said) >= 2, `${await said} rounds`);
    assert.ok(known > 2 && stages.size > 1, `${known} keys, ${[...stages].join()}`);
    assert.equal(audit.read()?.keys.length, Number(await said) + 1);
    // Nothing that was under way is left.
    const left = ['audit.key', 'keys.lock', 'tls', 'ca.crt', 'ca.key'].sort();
    assert.deepEqual([...(await readdir(keysDir)), ...(await readdir(join(keysDir, 'tls')))].sort(), left);
  });

  it('are made once, though two servers start at the same time', async () => {
    const [one, other] = [keysOf('one'), keysOf('other')];
    const [first, second] = await Promise.all([one.audit.ensure(), other.audit.ensure()]);
    assert.equal(first.origin, second.origin);
    const [mine, its] = await Promise.all([one.tls.read(), other.tls.read()]);
    assert.equal(mine.inForce, its.inForce);
    for (const name of ['audit.key', 'keys.lock', 'tls/ca.key'])
      assert.equal((await stat(join(keysDir, name))).mode & 0o777, 0o600, name);
    assert.deepEqual((await stat(keysDir)).mode & 0o777, 0o700);
  });

  it('sign the logs of two databases, and whichever server rotates, the other one follows', async () => {
    const [one, other] = [await openLog('one'), await openLog('other')];
    assert.equal(one.log.origin, other.log.origin);
    const { keyId } = await one.log.rotate('token:admin');
    await other.store.audit.append(madeEvent('enrol', 'node-1'));
    await other.log.sign();
    assert.deepEqual([other.log.keyId, await keysIn(other.store)], [keyId, [2]]);
    const { checkpoint, auditKeys } = other.log.shown ?? assert.fail();
    assert.equal(parseCheckpoint(checkpoint).keyId, keyId);
    verifyCheckpoint(checkpoint, Buffer.from(auditKeys.at(-1)?.publicKey ?? '', 'base64'));
    // It did not look since, and what it rotates is the key that is there.
    await one.log.rotate('token:admin');
    await other.log.rotate('token:bob');
    await one.log.sign();
    assert.equal(one.log.keyId, other.log.keyId);
    assert.deepEqual([await keysIn(one.store), await keysIn(other.store)], [[4], [4]]);
    const actors = (await other.store.audit.entries({ limit: 100 })).flatMap(({ action, actor }) =>
      action === 'audit_key.rotate' ? [actor] : [],
    );
    assert.deepEqual(actors, ['server', 'server', 'token:bob']);
  });

  it('are not followed where they are those of another installation, or an older one, or gone', async () => {
    const { log, store } = await openLog('one');
    const file = join(keysDir, 'audit.key');
    const older = await readFile(file);
    await log.rotate('token:admin');
    const newer = await readFile(file);
    const others = openCustody(join(root, 'others'), stateDir('others')).audit;
    await others.ensure();
    for (const [what, text] of [
      ['older', older],
      ['of others', await readFile(others.path)],
      ['damaged', 'damaged'],
      ['gone', null],
    ] as const) {
      await store.audit.append(madeEvent('enrol', 'node-1'));
      if (text === null) await rm(file);
      else await writeFile(file, text);
      await assert.rejects(log.sign(), /audit key/, what);
      await assert.rejects(log.rotate('token:admin'), /audit key/, what);
    }
    await writeFile(file, newer, { mode: 0o600 });
    await log.sign();
    assert.equal(parseCheckpoint(log.shown?.checkpoint ?? '').size, (await store.audit.head()).size);
  });

  it('give a server another authority when another server replaced it, with an entry in its own log', async () => {
    const entries: AuditEvent[] = [];
    const open = (server: string, followEvery: number | null) =>
      openTls({
        stateDir: stateDir(server),
        keys: keysOf(server).tls,
        followEvery,
        names: ['localhost'],
        enrolment: { nodes: async () => [] },
        audit: { append: async (event) => void entries.push(event) },
        keeper: null,
        now: () => Date.now(),
        monotonic: () => performance.now(),
        lookEvery: 1_000_000,
        logger: pino({ level: 'silent' }),
        expire: () => {},
        report: {
          certificateRenewed: () => {},
          certificateNotRenewed: (error) => assert.fail(String(error)),
        },
      });
    await using follower = await open('follower', 5);
    const writer = keysOf('writer').tls;
    const old = await ensureIdentity(stateDir('writer'), writer, ['localhost'], Date.now());
    const until = async (stage: string) => {
      while (follower.identity.stage !== stage) await sleep(5);
      const { chain, ca } = follower.identity;
      assert.ok(new X509Certificate(chain).verify(new X509Certificate(ca).publicKey));
    };
    assert.equal(follower.identity.ca, old.ca);
    assert.notEqual(follower.identity.chain, old.chain);
    await writer.prepareNext();
    await until('announced');
    await writer.putNextInForce();
    await until('in_force');
    assert.notEqual(follower.identity.ca, old.ca);
    await writer.dropPrevious();
    await until('settled');
    assert.deepEqual(
      entries.map(({ action, actor }) => `${action} ${actor}`),
      ['authority.rotate server', 'authority.finish server', 'authority.retire server'],
    );
    // What another server did meanwhile is not done once more over it.
    await using late = await open('late', null);
    await writer.prepareNext();
    assert.match(String(await late.ports.rotate('token:admin')), /another server/);
    assert.equal(late.identity.stage, 'announced');
    assert.deepEqual((await writer.read()).other, late.identity.authorities[1]?.certificate);
  });

  it('are refused where others could read or change them, by name (row 74)', async () => {
    const { audit, tls } = keysOf('one');
    await audit.ensure();
    await tls.read();
    for (const [name, mode, read] of [
      ['', 0o750, () => keysOf('one')],
      ['tls', 0o755, () => keysOf('one')],
      ['audit.key', 0o640, () => keysOf('one').audit.read()],
      ['tls/ca.key', 0o604, () => keysOf('one').tls.read()],
    ] as const) {
      const path = join(keysDir, name);
      const { mode: before } = await stat(path);
      await chmod(path, mode);
      await assert.rejects(
        async () => read(),
        ({ message }: Error) => {
          assert.ok(message.includes(`${path.replace(/\/$/, '')} is open to others`), message);
          return true;
        },
      );
      await chmod(path, before & 0o777);
    }
    assert.equal(keysOf('one').audit.read()?.origin, audit.read()?.origin);
  });

  it('are not made anew where they were left behind in the state folder, nor put into that of another server', async () => {
    const own = stateDir('one');
    const before = openCustody(own, own);
    const { origin } = await before.audit.ensure();
    const { inForce } = await before.tls.read();
    for (const name of ['audit.key', 'ca.crt', 'ca.key']) {
      assert.throws(() => keysOf('one'), new RegExp(`${name} is not in .*: move it there`));
      await mkdir(join(keysDir, 'tls'), { recursive: true, mode: 0o700 });
      await chmod(keysDir, 0o700);
      const place = name === 'audit.key' ? name : join('tls', name);
      await rename(join(own, place), join(keysDir, place));
    }
    const after = keysOf('one');
    assert.deepEqual([after.audit.read()?.origin, (await after.tls.read()).inForce], [origin, inForce]);
    await cp(keysDir, join(root, 'state'), { recursive: true });
    await writeFile(join(root, 'state', 'assay.db'), '');
    assert.throws(() => openCustody(join(root, 'state'), own), /is a state folder/);
  });

  it('sign, and show nothing of what they sign with', async () => {
    const { audit } = keysOf('one');
    const signer = await audit.ensure();
    const signature = signer.sign(Buffer.from('any'));
    const raw = { kty: 'OKP', crv: 'Ed25519', x: signer.publicKey.toString('base64url') };
    const key = createPublicKey({ key: raw, format: 'jwk' });
    assert.ok(verify(null, Buffer.from('any'), key, signature));
    const shown = inspect([audit, signer], { depth: null, showHidden: true });
    assert.doesNotMatch(shown, /private/i);
  });
});
