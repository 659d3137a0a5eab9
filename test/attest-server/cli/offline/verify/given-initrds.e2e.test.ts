import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { exit } from '../../../../../attest-server/cli/exit.ts';
import { limits } from '../../../../../attest-server/wire/limits.ts';
import { runAssay } from '../../cli-fixture.ts';

const bundle = join(
  import.meta.dirname,
  '../../../../../swtpm-fixtures/vectors/42-initrd-not-measured/bundle.json',
);
const { image: most } = limits.initrd;

describe('images that `assay verify --initrd` is given', () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-initrd-'));
    // Of what is no archive only digests are made: the length counts here.
    for (const name of ['short', 'too-long']) writeFileSync(join(dir, name), 'no archive');
    truncateSync(join(dir, 'too-long'), most + 1);
  });
  after(() => rmSync(dir, { recursive: true }));

  const verify = (name: string) => runAssay(['verify', bundle, '--initrd', name], { cwd: dir });

  it('may be as large as the server takes them', async () => {
    assert.equal((await verify('short')).code, exit.notTrusted);
    const { code, err } = await verify('too-long');
    assert.equal(code, exit.error);
    // All up to there was read.
    assert.match(err, new RegExp(`too-long: an initrd of more than ${most} bytes`));
  }).timeout(60_000);

  it('are refused where one is not there or is no file', async () => {
    for (const name of ['none', '.']) assert.equal((await verify(name)).code, exit.error, name);
  }).timeout(60_000);
});
