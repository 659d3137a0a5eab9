import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import type { BootDiff } from '../../../../../attest-server/cli/offline/boot/diff.ts';
import { parseBundle } from '../../../../../attest-server/formats/bundle.ts';
import type { Verdict } from '../../../../../attest-server/wire/verdict.ts';
import { siblingLog } from '../../../../../swtpm-fixtures/sibling.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  startApi,
  statusOf,
  verdictOf,
  type World,
} from '../../../http/api-fixture.ts';
import { environmentOf, runAssay } from '../../cli-fixture.ts';
import { recordedBundle } from '../recorded-bundle.ts';

const recorded = join(import.meta.dirname, '../../../../../swtpm-fixtures/recorded');
const logOf = (name: string) => join(recorded, name, 'binary_bios_measurements');
const otherDigest = 'ab'.repeat(32);
const hour = 3_600_000;

/**
 * node-2 booted another kernel an hour ago, node-3 did before its evidence was erased, node-4 never did. Of node-2, trusted
 * verdicts on another boot are older than the digest of the last one.
 */
function fillHistory(world: World): void {
  const vector = (name: string) =>
    parseBundle(readFileSync(join(recorded, '../vectors', name, 'bundle.json'), 'utf8'));
  world.bundles.set('node-2', vector('45-kernel'));
  world.bundles.set('11'.repeat(32), vector('control'));
  world.bundles.set('22'.repeat(32), vector('45-kernel'));
  const bad = verdictOf({ state: 'untrusted' });
  // By a policy that did not require the boot.
  const unjudged = verdictOf({ reasons: [reasonOf('kernel_unknown', { severity: 'warn' })] });
  for (const name of ['node-2', 'node-3', 'node-5'])
    world.nodes.set(name, {
      enrolled: enrolled(name),
      status: statusOf(name, bad, { bootSeenAt: now - hour }),
    });
  world.nodes.set('node-4', { enrolled: enrolled('node-4'), status: null });
  const row = (node: string, minutes: number, verdict: Verdict, digest: string | null) =>
    world.history.push({
      node,
      at: now - minutes * 60_000,
      verdict,
      evidenceDigest: digest,
      transition: true,
      repeats: 0,
      since: now - minutes * 60_000,
    });
  // Of the boot that runs: trusted for another reason.
  row('node-2', 59, verdictOf(), '33'.repeat(32));
  row('node-2', 60, bad, '33'.repeat(32));
  row('node-2', 62, unjudged, '22'.repeat(32));
  row('node-2', 65, verdictOf(), null);
  row('node-2', 66, verdictOf(), '44'.repeat(32));
  row('node-2', 70, verdictOf(), '11'.repeat(32));
  row('node-2', 80, verdictOf(), otherDigest);
  row('node-3', 70, verdictOf(), '55'.repeat(32));
  world.bundles.set('node-5', vector('control'));
  row('node-5', 70, unjudged, '22'.repeat(32));
}

/** A recorded quote of the boot that `debian13-shim-grub` recorded, and a log. */
function bundleOf(log: Buffer | null): string {
  const withLog = log === null ? {} : { bootLog: log.toString('base64') };
  return JSON.stringify(recordedBundle('quote-vm-shim-grub', withLog));
}

describe('assay boot diff', () => {
  let cwd: string;
  const write = (name: string, content: string | Buffer) => writeFileSync(join(cwd, name), content);
  const diff = (...args: readonly string[]) => runAssay(['boot', 'diff', ...args], { cwd });
  const told = async (a: string, b: string): Promise<BootDiff> =>
    JSON.parse((await diff(a, b, '-o', 'json')).out);
  const codes = ({ findings }: BootDiff) => findings.map(({ code }) => code);
  /** Stage and PCR of what counts in a way. */
  const places = ({ differences }: BootDiff, how: string) =>
    differences.filter(({ counts }) => counts === how).map(({ stage, pcr }) => `${stage} ${pcr}`);

  before(() => {
    cwd = mkdtempSync(join(tmpdir(), 'assay-boots-'));
    const good = recordedLog('debian13-shim-grub');
    write('good.json', bundleOf(good));
    write('altered.json', bundleOf(recordedLog('debian13-shim-grub-kernel')));
    write('no-log.json', bundleOf(null));
    write('forged.json', bundleOf(good).replace(/"qualifyingData":"../, '"qualifyingData":"00'));
    write('sibling', siblingLog(good, { firmwareSettings: true, configuration: true }));
    write('cut', good.subarray(0, good.length - 3));
    mkdirSync(join(cwd, 'folder'));
  });
  after(() => rmSync(cwd, { recursive: true }));

  it('names a changed command line, and nothing else, where GRUB measured it several times', async () => {
    const found = await told(logOf('debian13-shim-grub'), logOf('debian13-shim-grub-cmdline'));
    assert.equal(found.same, false);
    assert.deepEqual(codes(found), ['cmdline_policy']);
    assert.deepEqual(places(found, 'cause'), ['cmdline 8']);
    assert.deepEqual(places(found, 'follows'), ['cmdline 8', 'cmdline 9']);
    // GRUB's file holds the line, and what it does is measured.
    assert.deepEqual(places(found, 'never'), ['loader 9', 'loader 9']);
  });

  it('names a changed kernel first, and then the initrd that came with it', async () => {
    const found = await told(logOf('debian13-shim-grub'), logOf('debian13-shim-grub-kernel'));
    assert.deepEqual(codes(found), ['kernel_unknown']);
    assert.deepEqual(places(found, 'cause'), ['kernel 9']);
    assert.deepEqual(places(found, 'follows'), ['kernel 4', 'initrd 9', 'initrd 9']);
    const { out } = await diff(logOf('debian13-shim-grub'), logOf('debian13-shim-grub-kernel'));
    assert.match(out, /^The kernel .*\n.*\n.*initrd\.\n/);
  });

  it('names the command line of a unified image, not the image around it', async () => {
    const found = await told(logOf('debian13-sdboot-uki'), logOf('debian13-sdboot-uki-cmdline'));
    assert.deepEqual(codes(found), ['cmdline_policy']);
    assert.deepEqual(places(found, 'cause'), ['cmdline 11']);
    assert.deepEqual(places(found, 'follows'), ['kernel 4', 'cmdline 9']);
  });

  it('exits by whether they are the same in what counts', async () => {
    const same = await diff(logOf('debian13-shim-grub'), logOf('debian13-shim-grub'));
    assert.equal(same.code, 0);
    assert.equal((await diff(logOf('debian13-shim-grub'), logOf('debian13-shim-grub-kernel'))).code, 10);
  });

  it('takes siblings that differ in boot order, settings and configuration for the same', async () => {
    const { code, out } = await diff(logOf('debian13-shim-grub'), 'sibling', '-o', 'json');
    const found: BootDiff = JSON.parse(out);
    assert.deepEqual([code, found.same, codes(found)], [0, true, []]);
    assert.ok(found.differences.length > 0);
    assert.ok(found.differences.every(({ counts }) => counts === 'never'));
  });

  it('reads an exported bundle, of which the TPM vouches for the log', async () => {
    assert.equal((await diff('good.json', logOf('debian13-shim-grub'))).code, 0);
    const found = await told('good.json', 'altered.json');
    assert.equal(found.findings[0]?.code, 'log_replay_mismatch');
  });

  it('does not compare with a boot that contradicts itself, or evidence that is forged or has no log', async () => {
    for (const bad of ['altered.json', 'forged.json', 'no-log.json', 'cut', './absent', 'folder']) {
      const { code, out, err } = await diff(bad, 'good.json');
      assert.deepEqual([code, out], [1, ''], bad);
      assert.match(err, /^assay: /);
    }
    const old = await diff(logOf('sha1-tpm12'), logOf('sha1-tpm12'));
    assert.equal(old.code, 1);
  });

  describe('of nodes', () => {
    let server: ApiServer;
    let env: Record<string, string>;

    before(async () => {
      const world = emptyWorld();
      world.nodes.set('node-1', { enrolled: enrolled('node-1'), status: statusOf('node-1', verdictOf()) });
      const bundle = parseBundle(bundleOf(recordedLog('debian13-shim-grub')));
      world.bundles.set('node-1', bundle);
      world.bundles.set(otherDigest, bundle);
      fillHistory(world);
      server = await startApi(world);
      env = environmentOf(server, 'reader-token');
    });
    after(() => server.close());

    const ask = (...args: readonly string[]) => runAssay(['boot', 'diff', ...args], { cwd, env });

    it('asks the server for the latest evidence, or for earlier one by its digest', async () => {
      assert.equal((await ask('node-1', `node-1@${otherDigest}`)).code, 0);
      assert.equal((await ask('node-1', logOf('debian13-shim-grub-cmdline'))).code, 10);
    });

    it('takes the first twelve digits of a digest', async () => {
      assert.equal((await ask('node-1', `node-1@${otherDigest.slice(0, 12)}`)).code, 0);
      assert.equal((await ask('node-1', `node-1@${otherDigest.slice(0, 11)}`)).code, 2);
    });

    it('of one node: says so where all that is kept is a boot that was trusted though nobody knew it', async () => {
      const { out } = await ask('node-5');
      assert.match(out, /^Compared with node-5@222222222222, .*kernel_unknown/);
    });

    it('of one node: compares its latest boot with the last one before that was trusted', async () => {
      const { code, out } = await ask('node-2');
      assert.equal(code, 10);
      assert.match(
        out,
        /^Compared with node-2@111111111111, trusted at 2026-11-20T10:50:00Z \(70m ago\)\.\n/,
      );
      const found: BootDiff = JSON.parse((await ask('node-2', '-o', 'json')).out);
      assert.deepEqual([found.boots, codes(found)], [['node-2@111111111111', 'node-2'], ['kernel_unknown']]);
    });

    it('of one node: says what else to compare with where no such boot is kept', async () => {
      const never = await ask('node-1');
      assert.deepEqual([never.code, never.out], [1, '']);
      assert.match(never.err, /\n {4}assay boot diff FILE node-1\n$/);
      const erased = await ask('node-3');
      assert.equal(erased.code, 1);
      assert.match(erased.err, /keeps no evidence.*\n.*\n {4}assay boot diff node-1 node-3\n$/);
      assert.match((await ask('node-4')).err, /has proven no boot.*\n.*\n {4}assay why node-4\n$/);
      for (const other of ['node-1@abcdefabcdef', logOf('debian13-shim-grub')])
        assert.equal((await ask(other)).code, 2, other);
    });

    it('fails where there is no such evidence', async () => {
      assert.equal((await ask('node-1', `node-1@${'cd'.repeat(32)}`)).code, 1);
      assert.equal((await ask('node-9', 'node-1')).code, 1);
      assert.equal((await ask('node-1', 'node-1@4f1c')).code, 2);
    });
  });
});
