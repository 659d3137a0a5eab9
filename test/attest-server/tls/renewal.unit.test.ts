import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { pino } from 'pino';
import { openCustody } from '../../../attest-server/custody/open.ts';
import { CertificateFault, isRenewalDue, tlsFolder } from '../../../attest-server/tls/identity.ts';
import { openTls, type TlsParts } from '../../../attest-server/tls/open.ts';
import { identityIn } from './made-identity.ts';

const day = 86_400_000;
const leafOf = ({ chain, ca }: { readonly chain: string; readonly ca: string }) => chain.slice(0, -ca.length);
/** Of the year and the hour for which one is good, a third. */
const third = (365 * day + 3_600_000) / 3;
const renewAt = ({ notAfter }: { readonly notAfter: number }) => Math.ceil(notAfter - third);
const names = ['localhost'];

describe("the server's certificate", () => {
  let dir = '';
  let tls = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-renewal-'));
    tls = tlsFolder(dir);
  });
  afterEach(() => rm(dir, { recursive: true }));
  const at = (now: number) => identityIn(dir, names, now);

  it('is good for a year, and since an hour before it was made, for clocks that are late', async () => {
    const now = Date.parse('2026-11-26T20:00:00Z');
    const { chain, notAfter, replaced } = await at(now);
    assert.equal(new X509Certificate(chain).validFromDate.getTime(), now - 3_600_000);
    assert.equal(notAfter, now + 365 * day);
    assert.equal(replaced, null);
  });

  it('is made anew when a third of its life is left, under the same authority and with another key', async () => {
    const now = Date.now();
    const first = await at(now);
    const dueAt = renewAt(first);
    assert.equal((await at(dueAt - 1000)).chain, first.chain);
    const second = await at(dueAt);
    assert.notEqual(second.key, first.key);
    assert.deepEqual([second.caDigest, second.replaced], [first.caDigest, first.notAfter]);
    assert.equal(second.notAfter, dueAt - (dueAt % 1000) + 365 * day);
    assert.equal((await stat(join(tls, 'server.key'))).mode & 0o777, 0o600);
    assert.deepEqual((await readdir(tls)).sort(), ['ca.crt', 'ca.key', 'server.crt', 'server.key']);
  });

  it('is never good for longer than its authority, and is not made anew for nothing', async () => {
    const { authorityNotAfter } = await at(Date.now());
    const near = await at(authorityNotAfter - 100 * day);
    assert.equal(near.notAfter, authorityNotAfter);
    assert.equal((await at(authorityNotAfter - 2 * day)).chain, near.chain);
    assert.deepEqual(
      [isRenewalDue(near, authorityNotAfter - 1), isRenewalDue(near, authorityNotAfter)],
      [false, true],
    );
  });

  it('is shown on where its authority has ended, with the advice to replace that', async () => {
    const { authorityNotAfter } = await at(Date.now());
    const last = await at(authorityNotAfter - 100 * day);
    await assert.rejects(at(authorityNotAfter + day), (error) => {
      assert.ok(error instanceof CertificateFault);
      assert.equal(error.kept?.chain, last.chain);
      assert.match(error.message, /another-authority/);
      return true;
    });
  });

  it('is put in its place where that was cut off, and refused where its key is another one', async () => {
    const first = await at(Date.now());
    const dueAt = renewAt(first);
    const second = await at(dueAt);
    const [before, after] = [leafOf(first), leafOf(second)];
    // The key was there already, and its certificate was not.
    await writeFile(join(tls, 'server.crt'), before);
    await mkdir(join(tls, 'new'));
    await writeFile(join(tls, 'new', 'certificate'), after);
    assert.equal((await at(dueAt)).chain, second.chain);
    assert.deepEqual((await readdir(tls)).sort(), ['ca.crt', 'ca.key', 'server.crt', 'server.key']);
    await writeFile(join(tls, 'server.key'), first.key, { mode: 0o600 });
    await assert.rejects(at(dueAt), /is not the key of server\.crt/);
    // The key was not there either: what is left over of it is nothing.
    await mkdir(join(tls, 'new'));
    await writeFile(join(tls, 'new', 'certificate'), after);
    await writeFile(join(tls, 'server.crt'), before);
    assert.equal((await at(Date.now())).chain, first.chain);
  });

  it('is named with its path where it, its key or its authority is damaged', async () => {
    const first = await at(Date.now());
    for (const [name, whole] of [
      ['server.crt', leafOf(first)],
      ['server.key', first.key],
      ['ca.crt', first.ca],
    ] as const) {
      await writeFile(join(tls, name), 'damaged');
      await assert.rejects(at(Date.now()), (error) => {
        assert.ok(error instanceof Error && error.message.startsWith(`${join(tls, name)} `), String(error));
        return true;
      });
      await writeFile(join(tls, name), whole);
    }
    assert.equal((await at(Date.now())).chain, first.chain);
  });

  it('stays where another one was being written when the server was killed, and is made anew all the same', async () => {
    const first = await at(Date.now());
    for (const half of ['', leafOf(first).slice(0, 200)]) {
      await mkdir(join(tls, 'new'));
      await writeFile(join(tls, 'new', 'certificate'), half);
      assert.equal((await at(Date.now())).chain, first.chain);
      const second = await at(renewAt(first));
      assert.notEqual(second.chain, first.chain);
      assert.deepEqual((await readdir(tls)).sort(), ['ca.crt', 'ca.key', 'server.crt', 'server.key']);
      await writeFile(join(tls, 'server.crt'), leafOf(first));
      await writeFile(join(tls, 'server.key'), first.key, { mode: 0o600 });
    }
  });

  it('is made anew where the clock was ahead, and not where it is behind', async () => {
    const first = await at(Date.now() + 10 * day);
    assert.equal((await at(0)).chain, first.chain);
    assert.notEqual((await at(Date.now() + 60_000)).chain, first.chain);
  });

  it('stays whole where it cannot be made, and no key is left lying about', async () => {
    const first = await at(Date.now());
    await writeFile(join(tls, 'ca.key'), 'no key', { mode: 0o600 });
    await assert.rejects(at(renewAt(first)), CertificateFault);
    assert.equal(`${await readFile(join(tls, 'server.crt'), 'utf8')}${first.ca}`, first.chain);
    assert.equal(await readFile(join(tls, 'server.key'), 'utf8'), first.key);
    assert.deepEqual((await readdir(tls)).sort(), ['ca.crt', 'ca.key', 'server.crt', 'server.key']);
  });

  describe('in a server that runs', () => {
    let now = 0;
    let told: string[] = [];
    const open = (change: Partial<TlsParts> = {}) =>
      openTls({
        stateDir: dir,
        keys: openCustody(dir, dir).tls,
        followEvery: null,
        names,
        enrolment: { nodes: async () => [] },
        audit: { append: async () => {} },
        keeper: null,
        now: () => now,
        monotonic: () => performance.now(),
        lookEvery: 5,
        logger: pino({ level: 'silent' }),
        expire: () => {},
        report: {
          certificateRenewed: () => void told.push('renewed'),
          certificateNotRenewed: () => void told.push('not renewed'),
        },
        ...change,
      });
    const until = async (holds: () => boolean) => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    beforeEach(() => {
      [now, told] = [Date.now(), []];
    });

    it('is shown to whoever connects once it is made anew, and told of once', async () => {
      await using room = await open();
      const shown: string[] = [];
      room.onChange(({ chain }) => shown.push(chain));
      now = renewAt(room.identity);
      await until(() => shown.length > 0);
      assert.deepEqual([told, shown], [['renewed'], [room.identity.chain]]);
    });

    it('is made anew at a start where it has ended', async () => {
      await at(now - 400 * day);
      await using room = await open({ lookEvery: 1_000_000 });
      assert.deepEqual([told, room.ready().ok], [['renewed'], true]);
    });

    it('is made anew once a clock that was ahead is right', async () => {
      await using room = await open();
      now = Date.now() + 300 * day;
      await until(() => told.length >= 1);
      // Not the time from before: the authority is good since the second in which it was made, and before it no clock is right.
      now = Date.now();
      await until(() => told.length >= 2 && !isRenewalDue(room.identity, now));
    });

    it('is ready until it has ended, though it could not be made, and again once it is', async () => {
      await using room = await open();
      await rename(join(tls, 'ca.key'), join(tls, 'ca.key.hidden'));
      const { notAfter } = room.identity;
      now = renewAt(room.identity);
      await until(() => told.includes('not renewed'));
      assert.equal(room.ready().ok, true);
      now = notAfter + 1;
      assert.equal(room.ready().ok, false);
      await rename(join(tls, 'ca.key.hidden'), join(tls, 'ca.key'));
      await until(() => told.includes('renewed'));
      await until(() => room.ready().ok);
    });

    it('starts with one that has ended where no other can be made, and not where a name is new', async () => {
      await at(now - 400 * day);
      await rename(join(tls, 'ca.key'), join(tls, 'ca.key.hidden'));
      await using room = await open({ lookEvery: 1_000_000 });
      assert.deepEqual([told, room.ready().ok], [['not renewed'], false]);
      await assert.rejects(open({ names: ['assay.example'] }), CertificateFault);
    });

    it('that was made anew before a listener began is shown by it', async () => {
      await using room = await open();
      now = renewAt(room.identity);
      await until(() => told.length > 0 && !isRenewalDue(room.identity, now));
      const shown: string[] = [];
      room.onChange(({ chain }) => shown.push(chain));
      assert.deepEqual(shown, [room.identity.chain]);
    });
  });
});
