import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { type Reference, reference } from '../../../attest-server/formats/reference.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { filesReference } from '../policy/made-files.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

/** As many as a small server has. */
const many = Array.from({ length: 20_000 }, (_, index) => `/usr/share/doc/${index % 700}/${index}`);

describe('references of files, at a real server', () => {
  let dir: string;
  let world: TestServer;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-files-'));
    world = await startTestServer();
    await write(filesReference('october', [...many, '/usr/bin/tool=old']));
    await write(filesReference('november', [...many, '/usr/bin/tool=new', '/usr/bin/fresh']));
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  const write = (made: Reference) => writeFile(join(dir, `${made.name}.json`), JSON.stringify(made));
  const assay = (...words: readonly string[]) =>
    runAssay(words, {
      cwd: dir,
      env: world.env(),
    });
  async function done(...words: readonly string[]): Promise<string> {
    const { code, out, err } = await assay(...words);
    assert.equal(code, 0, err);
    return out;
  }

  it('are imported as they were made, and listed by how many files they have', async () => {
    for (const name of ['october', 'november']) await done('reference', 'import', `${name}.json`);
    const rows = (await done('reference', 'list', '--kind', 'runtime')).trim().split('\n');
    assert.deepEqual(
      rows.map((row) => row.split(/ {2,}/)).map((row) => [row[0], row[3], row.at(-1)]),
      [
        ['NAME', 'STATE', 'FILES'],
        ['november', 'active', '20002'],
        ['october', 'active', '20001'],
      ],
    );
    await done('reference', 'export', 'october', '-f', 'again.json');
    const again = reference.parse(JSON.parse(await readFile(join(dir, 'again.json'), 'utf8')));
    const october = reference.parse(JSON.parse(await readFile(join(dir, 'october.json'), 'utf8')));
    assert.deepEqual(again.runtime, october.runtime);
  });

  it('are told apart by path', async () => {
    const { code, out } = await assay('reference', 'diff', 'october', 'november');
    assert.equal(code, 10);
    assert.match(out, /^1 file added, 0 removed, 1 changed$/m);
    assert.match(out, /^\+ \/usr\/bin\/fresh {2}[0-9a-f]{12}$/m);
    assert.match(out, /^~ \/usr\/bin\/tool {2}[0-9a-f]{12} -> [0-9a-f]{12}$/m);
    assert.ok(out.length < 2_000);
    assert.equal((await assay('reference', 'diff', 'october', './again.json')).code, 0);
  });

  it('leave good what another active one lists, when one is revoked, and can be restored', async () => {
    const words = ['reference', 'revoke', 'october', '--reason', 'a hole', '--yes'] as const;
    const { code, err } = await assay(...words);
    assert.equal(code, 0, err);
    assert.match(err, /20000 files of it are also in active reference november/);
    await done('reference', 'restore', 'october', '--reason', 'it was another one', '--yes');
    assert.match(await done('reference', 'list', '-o', 'wide'), /october .*active .*restore/);
  });

  it('make room once they are retired: not before', async () => {
    const remove = ['reference', 'delete', 'october', '--reason', 'all are updated', '--yes'] as const;
    assert.equal((await assay(...remove)).code, 1);
    await done('reference', 'retire', 'october', '--reason', 'all are updated', '--yes');
    assert.equal(await done(...remove), 'reference october is deleted\n');
    assert.equal((await assay('reference', 'export', 'october')).code, 1);
    await done('reference', 'import', 'october.json', '--staged');
    assert.deepEqual(
      (await world.audit()).map(({ action }) => action).filter((action) => action === 'reference.delete'),
      ['reference.delete'],
    );
  });

  it('are refused where a list is faulty, or larger than one may be', async () => {
    const made = filesReference('faulty', ['/a']);
    const { files = '' } = made.runtime ?? {};
    await write({ ...made, runtime: { files: `${files.slice(0, -8)}AAAAAAA=`, count: 1 } });
    const faulty = await assay('reference', 'import', 'faulty.json');
    assert.equal(faulty.code, 1);
    assert.match(faulty.err, /its list is faulty/);
    await write({ ...made, name: 'large', runtime: { files: 'A'.repeat(limits.references.one), count: 1 } });
    assert.equal((await assay('reference', 'import', 'large.json')).code, 1);
  });
});
