import assert from 'node:assert/strict';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { withEmpty } from '../own-namespaces.ts';
import { type End, endOf } from './end-of.ts';

const setup = join(import.meta.dirname, '..', '..', 'swtpm-fixtures', 'setup.mjs');

describe('the set-up', () => {
  let path: string;
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), 'assay-path-'));
  });
  afterEach(() => rm(path, { recursive: true }));

  it('prints the one command to run and exits with 1 where it may not install', async () => {
    const { code, stdout, stderr } = await runSetup(['test', '--'], path);
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, /^ {2}su - -c 'apt-get update && apt-get install [^']*\bswtpm swtpm-tools [^']*'$/m);
  });

  it('prints that command with sudo where there is one', async () => {
    await symlink('/bin/false', join(path, 'sudo'));
    const { code, stderr } = await runSetup(['start', '--'], path);
    assert.equal(code, 1);
    assert.match(stderr, /^ {2}sudo sh -c 'apt-get update && apt-get install [^']*\bswtpm [^']*'$/m);
  });

  it('misses nft already for the first command, whose machines have rules', async () => {
    const { code, stderr } = await runSetup(['start', '--'], path, withEmpty('/usr/sbin'));
    assert.equal(code, 1);
    assert.match(stderr, /^set-up: nftables is missing: \w/m);
    assert.match(stderr, /^ {2}su - -c '.* nftables\b.*'$/m);
  });

  it('names only the packages that are missing, each with its reason', async () => {
    for (const program of ['swtpm', 'swtpm_setup', 'certtool', 'tpm2_quote', 'setpriv']) {
      await symlink(process.execPath, join(path, program));
    }
    const { code, stderr } = await runSetup(['start', '--'], path);
    assert.equal(code, 1);
    assert.match(stderr, /^set-up: openssl is missing: \w/m);
    assert.doesNotMatch(stderr, /swtpm-tools|tpm2-tools/);
  });

  it('refuses a verb that it does not know with a usage error', async () => {
    const { code, stdout, stderr } = await runSetup(['toString'], path);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, /^usage: /);
  });
});

function runSetup(args: readonly string[], path: string, before: readonly string[] = []): Promise<End> {
  return endOf([setup, ...args], { PATH: path }, before);
}
