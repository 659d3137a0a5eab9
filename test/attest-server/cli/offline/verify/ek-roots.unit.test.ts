import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { madeAuthority, signer } from '../../../verify/made-certificate.ts';
import { runAssay } from '../../cli-fixture.ts';

describe('assay ek roots', () => {
  let dir: string;
  const [root, below] = [signer('Own root'), signer('Below')];
  const pem = (der: Buffer) => new X509Certificate(der).toString();
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-roots-'));
    mkdirSync(join(dir, 'own', 'intermediates'), { recursive: true });
    writeFileSync(join(dir, 'own', 'root.pem'), pem(madeAuthority(root)));
    writeFileSync(join(dir, 'own', 'intermediates', 'below.pem'), pem(madeAuthority(below, root)));
    mkdirSync(join(dir, 'empty'));
    mkdirSync(join(dir, 'broken'));
    writeFileSync(
      join(dir, 'broken', 'root.pem'),
      '-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n',
    );
  });
  after(() => rmSync(dir, { recursive: true, force: true }));
  const assay = (...args: readonly string[]) => runAssay(['ek', 'roots', ...args], { cwd: dir });

  it('lists the makers’ roots that come with the program, without a server', async () => {
    const { code, out } = await assay('-o', 'json');
    const { items } = JSON.parse(out);
    assert.deepEqual([code, items.length], [0, 50]);
    for (const { sha256, subject, file, notAfter } of items) {
      assert.match(sha256, /^[0-9a-f]{64}$/);
      assert.ok(subject !== '' && file.endsWith('.pem') && Date.parse(notAfter) > 0);
    }
    const table = (await assay()).out.trimEnd().split('\n');
    assert.match(table[0] ?? '', /^SUBJECT +UNTIL +SHA-256 +FILE$/);
    assert.equal(table.length, 51);
  });

  it('lists a folder of one’s own, and what is below its roots', async () => {
    for (const [format, digits] of [
      ['table', 12],
      ['wide', 64],
    ] as const) {
      const { out } = await assay('--from', 'own', '-o', format);
      assert.match(out, new RegExp(`CN=Own root +9999-12-31 +[0-9a-f]{${digits}} +root\\.pem\\n$`));
    }
    assert.match((await assay('--from', 'own', '--intermediates')).out, /CN=Below .* below\.pem\n$/);
  });

  it('says which file is wrong, and where in the DER', async () => {
    const broken = await assay('--from', 'broken');
    assert.equal(broken.code, 1);
    assert.match(broken.err, /broken\/root\.pem/);
    assert.match(broken.err, /offset \d+ of the DER/);
    for (const from of ['empty', 'missing']) assert.equal((await assay('--from', from)).code, 1);
  });
});
