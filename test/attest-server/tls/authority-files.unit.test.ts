import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmod, cp, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { openCustody } from '../../../attest-server/custody/open.ts';
import { tlsFolder } from '../../../attest-server/tls/identity.ts';
import { isAuthorityVouchedFor } from '../../../attest-server/wire/authority.ts';
import { identityIn } from './made-identity.ts';

describe('the files of authorities that follow each other', () => {
  let dir = '';
  let tls = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-authority-'));
    tls = tlsFolder(dir);
  });
  afterEach(() => rm(dir, { recursive: true }));

  const keys = () => openCustody(dir, dir).tls;
  const read = () => identityIn(dir, ['localhost'], Date.now());
  const bundle = () => readFile(join(tls, 'ca.crt'), 'utf8');
  const signs = (ca: string, chain: string) =>
    new X509Certificate(chain).verify(new X509Certificate(ca).publicKey);

  it('go through their stages, the certificate of the server with them', async () => {
    const first = await read();
    assert.deepEqual([first.stage, first.authorities.length], ['settled', 1]);

    assert(await keys().prepareNext());
    const announced = await read();
    const next = announced.authorities[1];
    assert(next !== undefined && next.signature !== null);
    assert.deepEqual([announced.stage, announced.chain], ['announced', first.chain]);
    assert.equal(await bundle(), first.ca + next.certificate);
    const by = new X509Certificate(first.ca).publicKey;
    assert(isAuthorityVouchedFor(new X509Certificate(next.certificate), next.signature, by));

    assert(await keys().putNextInForce());
    const inForce = await read();
    assert.deepEqual([inForce.stage, inForce.ca], ['in_force', next.certificate]);
    assert(signs(next.certificate, inForce.chain) && !signs(first.ca, inForce.chain));
    assert.equal(await bundle(), next.certificate + first.ca);

    assert(await keys().dropPrevious());
    const settled = await read();
    assert.deepEqual([settled.stage, settled.chain, settled.ca], ['settled', inForce.chain, inForce.ca]);
    assert.equal(await bundle(), next.certificate);
    const left = ['ca.crt', 'ca.key', 'server.crt', 'server.key'];
    assert.deepEqual((await readdir(tls)).sort(), left);
    for (const name of ['ca.key', 'server.key'])
      assert.equal((await stat(join(tls, name))).mode & 0o777, 0o600);
  });

  for (const umask of [0, 0o022, 0o077])
    it(`are for nobody else to write, also anew, by umask ${umask.toString(8).padStart(3, '0')}`, async () => {
      const before = process.umask(umask);
      try {
        const modes = async () => {
          const found: string[] = [];
          for (const name of await readdir(tls)) {
            const { mode } = await stat(join(tls, name));
            if ((mode & 0o7133) !== 0) found.push(`${name} ${(mode & 0o7777).toString(8)}`);
          }
          return found;
        };
        await read();
        assert.deepEqual(await modes(), []);
        assert(await keys().prepareNext());
        await read();
        assert.deepEqual(await modes(), []);
        assert(await keys().putNextInForce());
        await read();
        assert.deepEqual(await modes(), []);
        // As it was left by whoever copied it.
        await chmod(join(tls, 'ca.crt'), 0o666);
        await read();
        assert.deepEqual(await modes(), []);
      } finally {
        process.umask(before);
      }
    });

  it('keep the old key until the new one signs, and not longer', async () => {
    await read();
    const old = await readFile(join(tls, 'ca.key'), 'utf8');
    assert(await keys().prepareNext());
    assert.equal(await readFile(join(tls, 'ca.key'), 'utf8'), old);
    assert.equal((await stat(join(tls, 'next.key'))).mode & 0o777, 0o600);
    assert(await keys().putNextInForce());
    for (const name of await readdir(tls))
      assert.notEqual(await readFile(join(tls, name), 'utf8'), old, name);
  });

  it('are in order after a change that was cut off at any of its steps', async () => {
    const first = await read();
    assert(await keys().prepareNext());
    const next = (await read()).authorities[1]?.certificate;
    await cp(tls, join(dir, 'copy'), { recursive: true });
    assert(await keys().putNextInForce());
    const previous = join(tls, 'previous.crt');

    // Before the key moved: nothing has changed.
    await cp(previous, join(dir, 'copy', 'previous.crt'));
    await rm(tls, { recursive: true });
    await rename(join(dir, 'copy'), tls);
    const before = await read();
    assert.deepEqual([before.stage, before.ca], ['announced', first.ca]);

    // After it: the change is completed.
    await rename(join(tls, 'next.key'), join(tls, 'ca.key'));
    const after = await read();
    assert.deepEqual([after.stage, after.ca], ['in_force', next]);
    assert(signs(after.ca, after.chain));
  });

  it('are not changed where the key of the next one is another one', async () => {
    const first = await read();
    assert(await keys().prepareNext());
    for (const text of ['', first.key]) {
      await writeFile(join(tls, 'next.key'), text);
      await assert.rejects(keys().putNextInForce(), /next\.key/);
      const { stage, ca } = await read();
      assert.deepEqual([stage, ca], ['announced', first.ca]);
    }
  });

  it('are refused where the next one lost its key, and nothing is changed', async () => {
    await read();
    assert(await keys().prepareNext());
    const before = await bundle();
    await rm(join(tls, 'next.key'));
    await assert.rejects(read(), /next\.key/);
    assert.equal(await bundle(), before);
  });
});
