import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { tryBootLog } from './boot-log.ts';
import { bootTable, parsePcrRead, tryBootLogs } from './boot-logs.ts';

const recorded = join(import.meta.dirname, '../../swtpm-fixtures/recorded');

/** By the folder: the banks, what is noted, and what the same boot is found to be. */
const makers: Readonly<Record<string, readonly [banks: string, notes: string, codes: string]>> = {
  'hygon-h-crtm': ['sha1 sha256 sm3_256', '', ''],
  'hpe-rom-u46': ['sha1 sha256', '', ''],
  'hpe-rom-a55': ['sha256 sha384', '', ''],
  'lenovo-sr645': ['sha1 sha256', '', ''],
  supermicro: ['sha1 sha256', '', ''],
  inspur: ['sha1 sha256', '', ''],
  'poweredge-version': ['sha256', 'other_data', ''],
  'gce-sp800-155': ['sha1 sha256 sha384', '', ''],
  // Its kernel is of before 5.17, whose stub loads an initrd and measures it nowhere.
  'optiplex-initrd-unmeasured': ['sha1 sha256', '', 'initrd_unmeasured'],
};

describe('a server of each maker', () => {
  for (const [name, [banks, notes, codes]] of Object.entries(makers))
    it(`is captured, and the same boot is ${codes || 'trusted'}: ${name}`, () => {
      const tried = tryBootLog(recordedLog(name));
      assert.deepEqual(tried.problems, []);
      assert.equal(tried.refused, null);
      assert.equal(tried.banks.join(' '), banks);
      assert.equal([...new Set(tried.notes.map(({ code }) => code))].join(' '), notes);
      assert.equal(tried.state, codes === '' ? 'trusted' : 'untrusted');
      assert.equal(tried.reasons.map(({ code }) => code).join(' '), codes);
    });
});

describe('a machine whose own PCR values are known', () => {
  const log = recordedLog('supermicro');

  it('is told by number where one is not what the log leads to, and cannot be captured', () => {
    const tried = tryBootLog(log, { sha256: { 0: 'a'.repeat(64) } });
    assert.deepEqual(tried.unexplained, [0]);
    assert.deepEqual(
      tried.problems.map(({ code, pcr }) => [code, pcr]),
      [['log_replay_mismatch', 0]],
    );
    assert.equal(tried.state, null);
  });

  it('is not held against another bank than the one that is judged', () => {
    const tried = tryBootLog(log, { sha1: { 0: 'a'.repeat(40) } });
    assert.equal(tried.unexplained, null);
    assert.equal(tried.state, 'trusted');
  });

  it('is read from what tpm2_pcrread prints', () => {
    const printed = `  sha1:\n  sha256:\n    0 : 0x${'AB'.repeat(32)}\n    11: 0x${'cd'.repeat(32)}\n  sm3_256:\n    0 : 0x00\n`;
    assert.deepEqual(parsePcrRead(printed), {
      sha256: { 0: 'ab'.repeat(32), 11: 'cd'.repeat(32) },
    });
  });
});

describe('PCR values that say nothing', () => {
  it('are not taken for values that the log leads to', () => {
    assert.equal(tryBootLog(recordedLog('supermicro'), { sha256: {} }).unexplained, null);
    assert.equal(tryBootLog(recordedLog('supermicro'), { sha256: { 23: '0'.repeat(64) } }).unexplained, null);
  });

  it('are refused where one is longer or shorter than its bank', () => {
    for (const digits of [2, 62, 66, 128])
      assert.throws(() => parsePcrRead(`sha256:\n 0 : 0x${'0'.repeat(digits)}\n`), /PCR 0 of sha256/);
  });
});

describe('a folder of logs', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-logs-'));
    await copyFile(join(recorded, 'supermicro/binary_bios_measurements'), join(dir, 'b'));
    await writeFile(join(dir, 'b.pcrs'), `sha256:\n  7 : 0x${'0'.repeat(64)}\n`);
    await writeFile(join(dir, 'a'), 'no log');
  });
  after(() => rm(dir, { recursive: true, force: true }));

  it('is tried file by file, each with its values, and one that is no log is told', async () => {
    const [a, b, ...others] = await tryBootLogs(dir);
    assert.deepEqual(others, []);
    assert.match(a?.unreadable ?? '', /^malformed: /);
    assert.deepEqual([b?.log, b?.unreadable, b?.unexplained], ['b', null, [7]]);
    const lines = bootTable(await tryBootLogs(dir)).split('\n');
    assert.match(lines[1] ?? '', /^a .*malformed/);
    assert.match(lines[2] ?? '', /^b .*not PCR 7 .*log_replay_mismatch/);
  });

  it('has no reason beside a machine that is trusted, though its values show that IMA ran', async () => {
    await writeFile(join(dir, 'b.pcrs'), `sha256:\n  10: 0x${'a5'.repeat(32)}\n`);
    const [, b] = await tryBootLogs(dir);
    assert.deepEqual([b?.state, b?.reasons?.map(({ severity }) => severity)], ['trusted', ['info']]);
    assert.match(bootTable(b === undefined ? [] : [b]), / trusted +-$/m);
  });

  it('names the file with values that are none', async () => {
    await writeFile(join(dir, 'b.pcrs'), 'sha256:\n 0 : 0x00\n');
    await assert.rejects(tryBootLogs(dir), /b\.pcrs: PCR 0 of sha256/);
  });

  it('is told where it holds nothing', async () => {
    await rm(join(dir, 'a'));
    await rm(join(dir, 'b'));
    await assert.rejects(tryBootLogs(dir), /holds no file/);
  });
});
