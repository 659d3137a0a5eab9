import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { disk } from '../../../agent/collectors/disk.ts';
import { type DiskPart, parseDiskPart } from '../../../attest-server/wire/disk.ts';
import { judged, recordedDisks, recordedPart } from '../../attest-server/policy/disk/made-disk.ts';

const docker = '/var/lib/docker';
const asked = [docker, '/var/lib/containerd', '/var/lib/kubelet'];

describe('the collector of disks', () => {
  let dir = '';
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-disk-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  /** A root as the machine of a recorded folder has it: proc, sys, and what `inspect` wrote. */
  async function rootOf(name: string, age = 0): Promise<string> {
    const root = await mkdtemp(join(dir, `${name}-`));
    const part = await recordedPart(name);
    await write(root, 'proc/1/mountinfo', await readFile(join(recordedDisks, name, 'mountinfo.txt')));
    await mkdir(join(root, docker), { recursive: true });
    const byNumber = new Map(part.devices.map((device) => [device.device, device]));
    const folderOf = (number: string): string => {
      const { name: own = '', partitionOf = null } = byNumber.get(number) ?? {};
      return partitionOf === null ? `sys/devices/${own}` : `${folderOf(partitionOf)}/${own}`;
    };
    for (const { device, slaves, partitionOf, mapping, loop } of part.devices) {
      const folder = folderOf(device);
      await write(root, `${folder}/dev`, `${device}\n`);
      await link(
        root,
        `../../../${folder.slice(4)}`.replace('../../../', '../../'),
        `sys/dev/block/${device}`,
      );
      if (partitionOf !== null) await write(root, `${folder}/partition`, '1\n');
      if (mapping !== null) {
        await write(root, `${folder}/dm/name`, `${mapping.name}\n`);
        await write(root, `${folder}/dm/uuid`, `${mapping.uuid}\n`);
      }
      if (loop !== null) await write(root, `${folder}/loop/backing_file`, `${loop.backingFile}\n`);
      for (const slave of slaves) {
        const { name: of = '' } = byNumber.get(slave) ?? {};
        await link(root, join(root, folderOf(slave)), `${folder}/slaves/${of}`);
      }
    }
    const at = new Date(Date.now() - age).toISOString();
    const tables = part.devices.flatMap(({ device, mapping }) =>
      mapping?.table ? [[device, mapping.table] as const] : [],
    );
    await write(
      root,
      'run/assay/inspect/disk.json',
      JSON.stringify({
        version: 1,
        inspected: { ...part.inspected, at },
        tables: Object.fromEntries(tables),
        tablesUnread: null,
      }),
    );
    return root;
  }

  async function read(root: string, paths: readonly string[] = asked): Promise<DiskPart> {
    const value = await disk.read(root, AbortSignal.timeout(5_000), { paths });
    assert.ok(Buffer.isBuffer(value), value instanceof Unavailable ? value.cause : 'null');
    return parseDiskPart(value);
  }

  for (const name of [
    '00-no-mount',
    '01-luks2',
    '05-lvm-on-luks2',
    '09-bind-over',
    '10-overlay-upper-plain',
    '11-luks2-in-loop-file',
    '14-luks2-partition',
    '17-tmpfs',
    '22-luks-open-not-mounted',
  ])
    it(`reads ${name} so that it is judged as the whole recording is`, async () => {
      const own = judged(await read(await rootOf(name)));
      const whole = judged(await recordedPart(name));
      const told = ({ findings }: typeof own) => findings.map(({ code, detail }) => [code, detail]);
      assert.deepEqual([own.affirmed, told(own)], [whole.affirmed, told(whole)]);
    });

  it('leaves out what nothing of the paths depends on', async () => {
    const { mounts, devices } = await read(await rootOf('05-lvm-on-luks2'));
    assert.deepEqual(
      mounts.map((line) => line.split(' ')[4]),
      ['/', docker],
    );
    assert.deepEqual(
      devices.map(({ device }) => device),
      ['253:0', '253:1', '254:0', '254:48'].filter((one) => one !== '254:0'),
    );
  });

  it('takes 20 ms at most', async () => {
    const root = await rootOf('05-lvm-on-luks2');
    const taken: number[] = [];
    for (let round = 0; round < 15; round++) {
      const started = performance.now();
      await read(root);
      taken.push(performance.now() - started);
    }
    taken.sort((a, b) => a - b);
    assert.ok((taken[7] ?? 99) <= 20, `${taken[7]} ms`);
  });

  /** A line more in the table of mounts. */
  async function mountToo(root: string, ...lines: readonly string[]): Promise<void> {
    const path = join(root, 'proc/1/mountinfo');
    await writeFile(path, `${await readFile(path, 'utf8')}${lines.map((line) => `${line}\n`).join('')}`);
  }

  it('moves no digest when a container starts', async () => {
    const root = await rootOf('01-luks2');
    const { mounts } = await read(root);
    const layer = (name: string) => `${docker}/overlay2/${name}`;
    await mountToo(
      root,
      `50 34 0:50 / ${layer('x/merged')} rw - overlay overlay rw,lowerdir=${layer('l/A')}:${layer('l/B')},upperdir=${layer('x/diff')},workdir=${layer('x/work')},index=off`,
      `51 34 0:51 / ${docker}/containers/c/mounts/shm rw - tmpfs shm rw,size=65536k`,
      `52 28 0:52 / /run/containerd/x/rootfs rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c`,
      `53 34 0:4 net:[4026532]  /run/docker/netns/x rw - nsfs nsfs rw`.replace('  ', ' '),
      `54 50 0:22 / ${layer('x/merged/proc')} rw - proc proc rw`,
    );
    assert.deepEqual((await read(root)).mounts, mounts);
  });

  it('shows whatever hides or holds a part of a path on another disk (row 54)', async () => {
    const layers = (upper: string) => `lowerdir=${docker}/a,upperdir=${upper},workdir=${docker}/w`;
    const attacks: readonly string[] = [
      `50 34 254:0 /srv/plain ${docker} rw - ext4 /dev/vda rw`,
      `50 34 254:0 /srv/plain ${docker}/overlay2 rw - ext4 /dev/vda rw`,
      `50 34 253:0 /other ${docker}/overlay2 rw - ext4 /dev/mapper/docker_crypt rw`,
      `50 34 254:64 / ${docker}/containers/c/mounts/shm rw - ext4 /dev/vde rw`,
      `50 34 0:50 / ${docker} rw - proc proc rw`,
      `50 34 0:50 / ${docker}/overlay2 rw - tmpfs tmpfs rw`,
      `50 34 0:50 / ${docker}/overlay2/x/merged rw - overlay overlay rw,${layers('/srv/up')}`,
      `50 34 0:50 / ${docker}/overlay2/x/merged rw - overlay overlay rw,${layers(`${docker}/../../../srv`)}`,
      `50 34 0:50 / ${docker}/overlay2/x/merged rw - overlay overlay rw,${layers('up')}`,
      `50 34 0:50 / ${docker}/overlay2/x/merged rw - overlay overlay rw,lowerdir+=/srv/plain,${layers(`${docker}/up`)}`,
      `50 34 0:50 / ${docker}/v rw - fuse.proc x rw`,
      `50 51 0:50 / ${docker}/p/sys/fs/x rw - overlay overlay rw,lowerdir=${docker}/p/1/root/srv,upperdir=${docker}/p/1/root/up,workdir=${docker}/w`,
    ];
    const root = await rootOf('01-luks2');
    const table = await readFile(join(root, 'proc/1/mountinfo'));
    for (const line of attacks) {
      await writeFile(join(root, 'proc/1/mountinfo'), table);
      await mountToo(root, line, `51 34 0:22 / ${docker}/p rw - proc proc rw`);
      const part = await read(root);
      assert.ok(part.mounts.includes(line), line);
      if (!line.includes(' 253:0 ')) assert.equal(judged(part).affirmed, false, line);
    }
  });

  it('follows links as the host would, and says what does not exist', async () => {
    const root = await rootOf('00-no-mount');
    await rm(join(root, docker), { recursive: true });
    await mkdir(join(root, 'data/docker'), { recursive: true });
    await symlink('/data/../data/./docker', join(root, docker));
    await symlink('../../../../../../nowhere', join(root, 'var/lib/kubelet'));
    const { paths } = await read(root);
    assert.deepEqual(
      paths.map(({ real }) => real),
      ['/data/docker', null, null],
    );
    await rm(join(root, docker));
    await symlink('docker', join(root, docker));
    await assert.rejects(async () => disk.read(root, AbortSignal.timeout(5_000), { paths: asked }), /links/);
  });

  it('names a device that went while it was read, after a second look', async () => {
    const root = await rootOf('05-lvm-on-luks2');
    await rm(join(root, 'sys/dev/block/254:48'));
    const value = await disk.read(root, AbortSignal.timeout(5_000), { paths: asked });
    assert.ok(value instanceof Unavailable);
    assert.match(value.cause, /254:48/);
  });

  it('shows what is wrong with a path though swap went since inspect saw it', async () => {
    const root = await rootOf('02-plain-ext4');
    const path = join(root, 'run/assay/inspect/disk.json');
    const file = JSON.parse(await readFile(path, 'utf8'));
    const swaps = [{ path: '/dev/zram0', device: '252:0' }];
    await writeFile(path, JSON.stringify({ ...file, inspected: { ...file.inspected, swaps } }));
    assert.deepEqual(
      judged(await read(root)).findings.map(({ code }) => code),
      ['mount_not_encrypted', 'facts_unavailable'],
    );
  });

  it('is read anew where a device was gone and is there at the second look', async () => {
    const root = await rootOf('05-lvm-on-luks2');
    const good = await read(root);
    const device = join(root, 'sys/devices/vdd/dev');
    const looks = async (restoreAt: number) => {
      await rm(device, { force: true });
      const signal = AbortSignal.timeout(5_000);
      let looked = 0;
      // The collector asks it before each piece that it reads.
      signal.throwIfAborted = () => {
        looked += 1;
        if (looked === restoreAt) writeFileSync(device, '254:48\n');
      };
      return { value: await disk.read(root, signal, { paths: asked }), looked: () => looked };
    };
    const failed = await looks(-1);
    assert.ok(failed.value instanceof Unavailable);
    const second = await looks(Math.ceil(failed.looked() / 2) + 1);
    assert.ok(Buffer.isBuffer(second.value));
    assert.deepEqual(parseDiskPart(second.value), good);
  });

  it('gives the same bytes all day while inspect sees the same', async () => {
    const root = await rootOf('01-luks2');
    const path = join(root, 'run/assay/inspect/disk.json');
    const file = JSON.parse(await readFile(path, 'utf8'));
    const now = Date.now();
    const today = Date.parse(new Date(now).toISOString().slice(0, 10));
    const readAt = async (at: number) => {
      const inspected = { ...file.inspected, at: new Date(at).toISOString() };
      await writeFile(path, JSON.stringify({ ...file, inspected }));
      return (await read(root)).inspected;
    };
    const earlier = await readAt(Math.max(today, now - 3_600_000));
    assert.deepEqual(await readAt(now), earlier);
    assert.equal('at' in earlier && earlier.at, new Date(today).toISOString());
  });

  it('says that what inspect wrote is missing, old, of the future or damaged', async () => {
    const cause = async (root: string) => {
      const { inspected } = await read(root);
      return 'cause' in inspected ? inspected.cause : null;
    };
    assert.equal(await cause(await rootOf('01-luks2', 7_100_000)), null);
    for (const age of [7_300_000, -1_000_000])
      assert.match((await cause(await rootOf('01-luks2', age))) ?? '', /assay-inspect/);
    const root = await rootOf('01-luks2');
    await writeFile(join(root, 'run/assay/inspect/disk.json'), '{"version":1,');
    assert.match((await cause(root)) ?? '', /not JSON/);
    await rm(join(root, 'run/assay/inspect/disk.json'));
    assert.match((await cause(root)) ?? '', /nothing/);
  });

  it('says why a mapping has no table', async () => {
    const root = await rootOf('01-luks2');
    const path = join(root, 'run/assay/inspect/disk.json');
    const file = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...file, tables: {}, tablesUnread: 'dmsetup: not found' }));
    const found = judged(await read(root));
    assert.deepEqual(found.findings.map(({ code, actual }) => [code, actual])[0], [
      'facts_unavailable',
      'dmsetup: not found',
    ]);
  });

  it('finds the devices of a btrfs by the kernel’s list', async () => {
    const root = await rootOf('01-luks2');
    const path = join(root, 'proc/1/mountinfo');
    const table = await readFile(path, 'utf8');
    await writeFile(
      path,
      table.replace(' 253:0 / ', ' 0:99 / ').replace('ext4 /dev/mapper', 'btrfs /dev/mapper'),
    );
    await link(root, join(root, 'sys/devices/dm-0'), 'sys/fs/btrfs/aaaa/devices/dm-0');
    const part = await read(root);
    assert.deepEqual(part.devices.find(({ device }) => device === '0:99')?.slaves, ['253:0']);
    assert.equal(judged(part).affirmed, true);
    await link(root, join(root, 'sys/devices/vde'), 'sys/fs/btrfs/aaaa/devices/vde');
    assert.equal(judged(await read(root)).affirmed, false);
  });

  it('does not take for the host’s what this program alone sees, or does not see', async function () {
    if (process.getuid?.() !== 0) return this.skip();
    const file = join(import.meta.dirname, '../../../agent/collectors/disk.ts');
    const program = `
      import { disk } from ${JSON.stringify(file)};
      const [path, root = '/'] = process.argv.slice(1);
      const part = await disk.read(root, AbortSignal.timeout(5_000), { paths: [path] }).catch((error) => ({ cause: error.message }));
      process.stdout.write(part.cause ?? JSON.stringify(JSON.parse(part.toString()).paths));`;
    const look = async (before: string, path: string, root = '/') => {
      const script = `${before}; exec "$0" --input-type=module --eval "$1" "$2" "$3"`;
      const argv = ['--mount', 'bash', '-euc', script, process.execPath, program, path, root];
      const { stdout } = await run('unshare', argv, { timeoutMs: 30_000, maxOutputBytes: 65_536 });
      return stdout.toString();
    };
    const none = JSON.stringify([{ path: '/var/lib/not there', real: null }]);
    const absent = '/var/lib/not there';
    const bound = await mkdtemp(join(dir, 'bound-'));
    assert.equal(await look(':', absent), none);
    // As a container has the root of its host.
    assert.equal(await look(`mount --rbind / ${bound}`, absent, bound), none);
    assert.equal(await look('mount -o bind /var /var', absent), none);
    // As units hide what is not needed.
    for (const hidden of ['/var', '/var/lib'])
      assert.match(
        await look(`mount -t tmpfs none ${hidden}`, absent),
        new RegExp(`another ${hidden} than the host`),
      );
    assert.match(
      await look(`mount --rbind / ${bound}; mount -t tmpfs none ${bound}/var`, absent, bound),
      /another .var/,
    );
    for (const own of ['/proc/self/fd/0', '/proc/self/root/etc', '/dev/fd/0'])
      assert.match(await look(':', own), /^\/proc.* shows each program something else/);
  });

  it('does not say that a name does not exist which is no UTF-8', async () => {
    const root = await rootOf('00-no-mount');
    await rm(join(root, docker), { recursive: true });
    const name = Buffer.from('/data/\xff', 'latin1');
    await mkdir(join(root, 'data'));
    await mkdir(Buffer.concat([Buffer.from(root), name]));
    await symlink(name, join(root, docker));
    await assert.rejects(
      async () => disk.read(root, AbortSignal.timeout(5_000), { paths: asked }),
      /no UTF-8/,
    );
  });

  it('has no mount table, or no sysfs', async () => {
    const root = await mkdtemp(join(dir, 'empty-'));
    const value = await disk.read(root, AbortSignal.timeout(5_000), { paths: asked });
    assert.ok(value instanceof Unavailable);
    assert.match(value.cause, /mountinfo/);
  });

  it('bounds what it sends', async () => {
    const root = await rootOf('01-luks2');
    await mountToo(
      root,
      ...Array.from(
        { length: 5_000 },
        (_, index) => `${100 + index} 34 253:0 / ${docker}/${index} rw - ext4 x rw`,
      ),
    );
    const value = await disk.read(root, AbortSignal.timeout(5_000), { paths: asked });
    assert.ok(value instanceof Unavailable);
  });
});

async function write(root: string, path: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), content);
}

async function link(root: string, target: string, path: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true });
  await symlink(target, join(root, path));
}
