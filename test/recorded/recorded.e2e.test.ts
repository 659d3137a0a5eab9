import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { judgeFolder, type Recorded, recordedKinds } from './judged-folder.ts';
import { runRecorded } from './run-recorded.ts';

const nodes = join(import.meta.dirname, '../../swtpm-fixtures/recorded-nodes');
const rows = recordedKinds
  .flatMap((kind) =>
    readFileSync(join(nodes, kind, 'EXPECTED.tsv'), 'utf8')
      .split('\n')
      .slice(1),
  )
  .filter((line) => line !== '')
  .map((line) => {
    const [folder = '', baseline = '', codes = '', why = ''] = line.split('\t');
    const kind: Recorded = folder.startsWith('fw-') ? 'firewall' : 'disk';
    const [, fails = '', warns = ''] = /^(.*?)(?: \[(.*)\])?$/.exec(codes) ?? [];
    const words = (text: string) => (text === '-' || text === '' ? [] : text.split(', '));
    return { folder, baseline, kind, fails: words(fails), warns: words(warns), why };
  });
const at = (kind: Recorded, folder: string) => join(nodes, kind, folder);

describe('a recorded folder', () => {
  for (const { folder, baseline, kind, fails, warns, why } of rows)
    it(`${folder}${baseline === '' ? '' : ` beside ${baseline}`} is judged as it was: ${why}`, async () => {
      const { state, reasons } = await judgeFolder(
        kind,
        at(kind, folder),
        baseline === '' ? null : at(kind, baseline),
      );
      const of = (severity: string) =>
        reasons.filter((one) => one.severity === severity).map(({ code }) => code);
      assert.equal(state, fails.length === 0 ? 'trusted' : 'untrusted');
      // Any of them, and no other.
      assert.ok(fails.length === 0 || of('fail').length > 0);
      assert.deepEqual(
        of('fail').filter((code) => !fails.includes(code)),
        [],
      );
      assert.deepEqual(of('warn'), warns);
    });

  it('stands for each row of what was expected', () => {
    assert.ok(rows.length >= 21);
    for (const { kind, folder } of rows) assert.ok(existsSync(at(kind, folder)), folder);
  });
});

describe('npm run recorded', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-recorded-'));
    await writeFile(join(dir, 'nft.json'), 'no JSON at all');
  });
  after(() => rm(dir, { recursive: true }));

  /** In this process; once with each code by the program itself, which is the same with its own streams. */
  const judged = async (...words: readonly string[]) => {
    let [out, err] = ['', ''];
    const code = await runRecorded(words, {
      out: (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
      from: dir,
      columns: null,
    });
    return { code, out, err };
  };
  const byProgram = async (...words: readonly string[]) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts'), ...words]);
    const [out, err, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ]);
    return { code, out, err };
  };
  const answer = z.strictObject({
    state: z.string(),
    reasons: z.array(
      z.object({
        code: z.string(),
        class: z.string(),
        aspect: z.string(),
        severity: z.string(),
        source: z.literal('host'),
        expected: z.string().nullable(),
        actual: z.string().nullable(),
        text: z.string(),
        evidence: z.object({ digest: z.string(), position: z.string() }).nullable(),
        next: z.string(),
      }),
    ),
  });

  it('prints state and reasons for programs, and ends with 0 or 10', async () => {
    const good = await byProgram('disk', at('disk', '01-luks2'), '-o', 'json');
    assert.deepEqual([good.code, JSON.parse(good.out)], [0, { state: 'trusted', reasons: [] }]);
    const bad = await byProgram('disk', at('disk', '10-overlay-upper-plain'), '-o', 'json');
    assert.equal(bad.code, 10);
    assert.equal(answer.parse(JSON.parse(bad.out)).state, 'untrusted');
  });

  it('shows people the rule that changed, and the layers below a path', async () => {
    const baseline = at('firewall', 'fw-01-worker-iptables-nft');
    const { code, out } = await judged(
      'firewall',
      at('firewall', 'fw-02-worker-ssh-open'),
      '--baseline',
      baseline,
    );
    assert.equal(code, 10);
    assert.match(out, /^ *\+ .*--dport 22\b.*ACCEPT$/m);
    const disk = await judged('disk', at('disk', '02-plain-ext4'));
    assert.match(disk.out, /ext4/);
  });

  it('ends with 1 where a folder cannot be read, and names the file', async () => {
    const absent = join(dir, 'absent');
    for (const [words, said] of [
      [['disk', absent], absent],
      [['disk', dir], 'mountinfo.txt'],
      [['firewall', at('disk', '01-luks2')], 'nft.json'],
      [['firewall', dir], 'nft.json'],
      [['firewall', at('firewall', 'fw-00-empty'), '--baseline', absent], absent],
    ] as const) {
      const { code, out, err } = await judged(...words, '-o', 'json');
      assert.deepEqual([code, out], [1, ''], words.join(' '));
      assert.ok(err.includes(said), err);
    }
    const { code, out, err } = await byProgram('disk', absent, '-o', 'json');
    assert.deepEqual([code, out, err.includes(absent)], [1, '', true], err);
  });

  it('ends with 2 where it is typed wrong', async () => {
    for (const words of [[], ['disk'], ['kernel', dir], ['disk', dir, '-o', 'xml']])
      assert.equal((await judged(...words)).code, 2);
    assert.equal((await byProgram()).code, 2);
  });
});
