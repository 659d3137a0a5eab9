import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'mocha';
import { runAssay } from '../../cli-fixture.ts';
import { recordedBundle } from '../recorded-bundle.ts';

describe('assay verify of a folder', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-verify-folder-'));
  });
  beforeEach(() => {
    for (const name of readdirSync(dir)) rmSync(join(dir, name), { recursive: true });
  });
  after(() => rmSync(dir, { recursive: true }));

  const write = (name: string, value: unknown) => writeFileSync(join(dir, name), JSON.stringify(value));
  const recorded = readdirSync(new URL('../../../../../swtpm-fixtures/recorded/', import.meta.url)).find(
    (name) => {
      try {
        recordedBundle(name);
        return true;
      } catch {
        return false;
      }
    },
  );
  const good = recordedBundle(recorded ?? '');
  const forged = { ...good, qualifyingData: '00'.repeat(32) };
  const verify = async (...args: readonly string[]) => {
    const { code, out, err } = await runAssay(['verify', dir, ...args]);
    return { code, out, err };
  };
  const judged = async () => {
    const { code, out } = await verify('-o', 'json');
    const { items, summary }: { items: { file: string; result: string }[]; summary: object } =
      JSON.parse(out);
    return { code, results: Object.fromEntries(items.map(({ file, result }) => [file, result])), summary };
  };

  it('names each entry, whatever it is, goes on behind a hostile one, and ends by the worst (row 410)', async () => {
    write('a.json', good);
    write('b.json', forged);
    writeFileSync(join(dir, 'c.json'), `${'['.repeat(200_000)}`);
    writeFileSync(join(dir, 'd\u001b[2J.json'), Buffer.from([0xff, 0xfe, 0]));
    mkdirSync(join(dir, 'e'));
    symlinkSync(join(dir, 'a.json'), join(dir, 'f.json'));
    symlinkSync('/dev/zero', join(dir, 'g.json'));
    execFileSync('mkfifo', [join(dir, 'h.json')]);
    const { code, results, summary } = await judged();
    assert.deepEqual(results, {
      'a.json': 'not trusted',
      'b.json': 'bad',
      'c.json': 'no bundle',
      'd\u001b[2J.json': 'no bundle',
      e: 'not looked at',
      'f.json': 'not looked at',
      'g.json': 'not looked at',
      'h.json': 'not looked at',
    });
    assert.equal(code, 10);
    assert.deepEqual(summary, { bad: 1, 'no bundle': 2, 'not trusted': 1, 'not looked at': 4 });
    const { out } = await verify();
    assert.equal(out.includes('\u001b'), false);
    assert.match(out, /\n8 files: 4 not looked at, 1 not trusted, 2 no bundle, 1 bad\n$/);
  });

  it('has no good exit code where something was not looked at, or where there is nothing', async () => {
    symlinkSync('/nowhere', join(dir, 'a.json'));
    assert.equal((await judged()).code, 11);
    rmSync(join(dir, 'a.json'));
    const { code, err } = await verify();
    assert.deepEqual([code, /is empty/.test(err)], [1, true]);
  });

  it('takes no format that is for one bundle', async () => {
    write('a.json', good);
    assert.equal((await verify('-o', 'junit')).code, 2);
  });
});
