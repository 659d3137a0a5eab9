import assert from 'node:assert/strict';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { type Mount, mountOf, parseMountTable } from '../../../attest-server/protocol/mount-table.ts';
import { unshared } from '../../own-namespaces.ts';

const program = join(import.meta.dirname, 'mounts-in-namespace.ts');
const answer = z.object({
  table: z.string(),
  asked: z.array(z.object({ path: z.string(), mount: z.number() })),
});

type Step = { readonly mkdir: string } | { readonly mount: readonly string[] } | { readonly ask: string };
const tmpfs = (source: string, target: string): Step => ({
  mount: ['-n', '-t', 'tmpfs', '--', source, target],
});

/** Real mounts in a namespace of their own, which ends with the program: the machine sees nothing of them. */
describe('a mount table that somebody spoofs', () => {
  let folder: string;
  beforeEach(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'assay-mounts-')));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** Does the steps; asserts that each path is found on the mount on which the kernel opens it. */
  async function mounted(
    steps: readonly Step[],
  ): Promise<{ table: readonly Mount[]; found: readonly Mount[] }> {
    const [enter, ...args] = unshared('--mount', '--propagation', 'private');
    const { stdout } = await run(enter, [...args, process.execPath, program, folder, JSON.stringify(steps)], {
      timeoutMs: 30_000,
      maxOutputBytes: 1024 * 1024,
    });
    const { table, asked } = answer.parse(JSON.parse(stdout.toString('utf8')));
    const mounts = parseMountTable(Buffer.from(table, 'base64'));
    const found = asked.map(({ path, mount }) => {
      const here = mountOf(mounts, path) ?? assert.fail(path);
      assert.equal(here.id, mount, path);
      return here;
    });
    return { table: mounts, found };
  }

  const spoofs = [
    '/dev/mapper/luks /var/lib/docker ext4 rw',
    'x\n99 1 253:0 / {}/docker rw - ext4 /dev/mapper/luks rw',
    'x - ext4 /dev/mapper/luks rw\n99 1 253:0 / {}/docker rw,relatime',
    '/dev/mapper/luks\\040{}/docker',
    '\t\\012#\\134-\u001b[2J',
    'ü\u2028',
  ];
  for (const spoof of spoofs)
    it(`by the source ${JSON.stringify(spoof)} gives one mount of that source, and no other (row 71)`, async () => {
      const steps = [{ mkdir: '{}/docker' }, tmpfs(spoof, '{}/docker'), { ask: '{}/docker' }];
      const { table, found } = await mounted(steps);
      const [here] = found;
      const source = Buffer.from(spoof.replaceAll('{}', folder)).toString('latin1');
      assert.deepEqual([here?.source, here?.type, here?.mountPoint], [source, 'tmpfs', `${folder}/docker`]);
      assert.deepEqual(
        table.filter(({ type, device }) => type === 'ext4' && device === '253:0'),
        [],
      );
    });

  it('by the name of a folder is found under that very name (row 71)', async () => {
    for (const [index, name] of ['a b', 'a\nb', 'a\\040b', 'a\tb', 'docker /x', '#ü'].entries()) {
      const path = `{}/${index}/${name}`;
      const { found } = await mounted([
        { mkdir: path },
        { mkdir: `{}/${index}/docker` },
        tmpfs('plain', path),
        { ask: path },
        { ask: `{}/${index}/docker` },
      ]);
      assert.deepEqual(
        found.map(({ source }) => source === 'plain'),
        [true, false],
        JSON.stringify(name),
      );
    }
  });

  it('by mounts on top of and above one another is told as the kernel walks it (row 71)', async () => {
    const { found } = await mounted([
      { mkdir: '{}/var/lib/docker/x' },
      { mkdir: '{}/plain' },
      tmpfs('encrypted', '{}/var/lib/docker'),
      { ask: '{}/var/lib/docker' },
      { ask: '{}/var/lib' },
    ]);
    assert.deepEqual([found[0]?.source, found[1]?.source === 'encrypted'], ['encrypted', false]);

    const { found: bound } = await mounted([
      { mkdir: '{}/var/lib/docker/x' },
      { mkdir: '{}/plain/deep' },
      tmpfs('encrypted', '{}/var/lib/docker'),
      { mount: ['-n', '--bind', '{}/plain', '{}/var/lib/docker'] },
      { ask: '{}/var/lib/docker' },
      { ask: '{}/var/lib/docker/deep' },
    ]);
    assert(bound.every(({ source, root }) => source !== 'encrypted' && root.endsWith('/plain')));

    // The encrypted mount is still in the table, below one that came over its parent.
    const { table, found: hidden } = await mounted([
      { mkdir: '{}/var/lib/docker' },
      tmpfs('encrypted', '{}/var/lib/docker'),
      tmpfs('plain', '{}/var/lib'),
      { mkdir: '{}/var/lib/docker' },
      { ask: '{}/var/lib/docker' },
    ]);
    assert(table.some(({ source }) => source === 'encrypted'));
    assert.equal(hidden[0]?.source, 'plain');

    // Whoever stands below a mount over `/` does not enter it.
    const { found: over } = await mounted([{ mkdir: '{}/x' }, tmpfs('encrypted', '/'), { ask: '{}/x' }]);
    assert.notEqual(over[0]?.source, 'encrypted');
  });
});
