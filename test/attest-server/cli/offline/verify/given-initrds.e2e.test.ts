import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { exit } from '../../../../../attest-server/cli/exit.ts';
import { runAssay } from '../../cli-fixture.ts';

const bundle = join(
  import.meta.dirname,
  '../../../../../swtpm-fixtures/vectors/42-initrd-not-measured/bundle.json',
);
const mebibyte = 1024 * 1024;

describe('images that `assay verify --initrd` is given', () => {
  let dir = '';
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-initrd-'));
    for (const [name, size] of [
      ['long', 257],
      ['too-long', 513],
    ] as const) {
      // Of what is no archive only digests are made: the length counts here.
      writeFileSync(join(dir, name), 'no archive');
      truncateSync(join(dir, name), size * mebibyte);
    }
  });
  after(() => rmSync(dir, { recursive: true }));

  const codeWith = async (name: string) =>
    (await runAssay(['verify', bundle, '--initrd', name], { cwd: dir })).code;

  it('may be as large as the server takes them', async () => {
    assert.equal(await codeWith('long'), exit.notTrusted);
  }).timeout(60_000);

  it('are refused where one is larger, is not there or is no file', async () => {
    for (const name of ['too-long', 'none', '.']) assert.equal(await codeWith(name), exit.error, name);
  }).timeout(60_000);
});
