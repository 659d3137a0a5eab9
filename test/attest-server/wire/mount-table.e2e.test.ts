import assert from 'node:assert/strict';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { type Mount, mountOf, parseMountTable } from '../../../attest-server/wire/mount-table.ts';
import { unshared } from '../../own-namespaces.ts';

const program = join(import.meta.dirname, 'mounts-in-namespace.ts');
const answers = z.array(
  z.object({
    table: z.string(),
    asked: z.array(z.object({ path: z.string(), mount: z.number() })),
  }),
);

interface Mounted {
  readonly folder: string;
  readonly table: readonly Mount[];
  readonly found: readonly Mount[];
}

type Step = { readonly mkdir: string } | { readonly mount: readonly string[] } | { readonly ask: string };
const tmpfs = (source: string, target: string): Step => ({
  mount: ['-n', '-t', 'tmpfs', '--', source, target],
});

/** Real mounts in a namespace of their own, which ends with the program: the machine sees nothing of them. */
describe('a mount table that somebody spoofs', () => {
  let folder: string;
  let spoofed: readonly Mounted[] = [];
  before(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'assay-mounts-')));
    spoofed = await mounted(
      spoofs.map((spoof) => [{ mkdir: '{}/docker' }, tmpfs(spoof, '{}/docker'), { ask: '{}/docker' }]),
    );
  });
  after(() => rmSync(folder, { recursive: true }));

  let count = 0;
  /** Does the steps of each, in a folder of its own; asserts that each path is found on the mount on which the kernel opens it. */
  async function mounted(all: readonly (readonly Step[])[]): Promise<readonly Mounted[]> {
    const tasks = all.map((steps) => ({ folder: join(folder, String(count++)), steps }));
    const [enter, ...args] = unshared('--mount', '--propagation', 'private');
    const { stdout } = await run(enter, [...args, process.execPath, program, JSON.stringify(tasks)], {
      timeoutMs: 30_000,
      maxOutputBytes: 4 * 1024 * 1024,
    });
    return answers.parse(JSON.parse(stdout.toString('utf8'))).map(({ table, asked }, index) => {
      const mounts = parseMountTable(Buffer.from(table, 'base64'));
      const found = asked.map(({ path, mount }) => {
        const here = mountOf(mounts, path) ?? assert.fail(path);
        assert.equal(here.id, mount, path);
        return here;
      });
      return { folder: tasks[index]?.folder ?? '', table: mounts, found };
    });
  }

  const spoofs = [
    '/dev/mapper/luks /var/lib/docker ext4 rw',
    'x\n99 1 253:0 / {}/docker rw - ext4 /dev/mapper/luks rw',
    'x - ext4 /dev/mapper/luks rw\n99 1 253:0 / {}/docker rw,relatime',
    '/dev/mapper/luks\\040{}/docker',
    '\t\\012#\\134-\u001b[2J',
    'ü\u2028',
  ];
  for (const [index, spoof] of spoofs.entries())
    it(`by the source ${JSON.stringify(spoof)} gives one mount of that source, and no other (row 71)`, () => {
      const { folder: own, table, found } = spoofed[index] ?? assert.fail('nothing was mounted');
      const [here] = found;
      const source = Buffer.from(spoof.replaceAll('{}', own)).toString('latin1');
      assert.deepEqual([here?.source, here?.type, here?.mountPoint], [source, 'tmpfs', `${own}/docker`]);
      assert.deepEqual(
        table.filter(({ type, device }) => type === 'ext4' && device === '253:0'),
        [],
      );
    });

  it('by the name of a folder is found under that very name (row 71)', async () => {
    const names = ['a b', 'a\nb', 'a\\040b', 'a\tb', 'docker /x', '#ü'];
    const all = await mounted(
      names.map((name) => [
        { mkdir: `{}/${name}` },
        { mkdir: '{}/docker' },
        tmpfs('plain', `{}/${name}`),
        { ask: `{}/${name}` },
        { ask: '{}/docker' },
      ]),
    );
    for (const [index, name] of names.entries())
      assert.deepEqual(
        all[index]?.found.map(({ source }) => source === 'plain'),
        [true, false],
        JSON.stringify(name),
      );
  });

  it('by mounts on top of and above one another is told as the kernel walks it (row 71)', async () => {
    const [plain, bound, hidden, over] = await mounted([
      [
        { mkdir: '{}/var/lib/docker/x' },
        { mkdir: '{}/plain' },
        tmpfs('encrypted', '{}/var/lib/docker'),
        { ask: '{}/var/lib/docker' },
        { ask: '{}/var/lib' },
      ],
      [
        { mkdir: '{}/var/lib/docker/x' },
        { mkdir: '{}/plain/deep' },
        tmpfs('encrypted', '{}/var/lib/docker'),
        { mount: ['-n', '--bind', '{}/plain', '{}/var/lib/docker'] },
        { ask: '{}/var/lib/docker' },
        { ask: '{}/var/lib/docker/deep' },
      ],
      [
        { mkdir: '{}/var/lib/docker' },
        tmpfs('encrypted', '{}/var/lib/docker'),
        tmpfs('plain', '{}/var/lib'),
        { mkdir: '{}/var/lib/docker' },
        { ask: '{}/var/lib/docker' },
      ],
      // The last one: nothing is seen any more of what is below it.
      [{ mkdir: '{}/x' }, tmpfs('encrypted', '/'), { ask: '{}/x' }],
    ]);
    assert.deepEqual(
      plain?.found.map(({ source }) => source === 'encrypted'),
      [true, false],
    );
    assert.equal(bound?.found.length, 2);
    assert(bound?.found.every(({ source, root }) => source !== 'encrypted' && root.endsWith('/plain')));
    // The encrypted mount is still in the table, below one that came over its parent.
    assert(hidden?.table.some(({ source }) => source === 'encrypted') === true);
    assert.equal(hidden?.found[0]?.source, 'plain');
    // Whoever stands below a mount over `/` does not enter it.
    assert.equal(over?.found.length, 1);
    assert.notEqual(over.found[0]?.source, 'encrypted');
  });
});
