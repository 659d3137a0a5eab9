import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, unlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { imaLogPath } from '../../../agent/collectors/ima-log.ts';
import { watched } from '../../../agent/watch/list.ts';
import { lookout, type WatchedSource } from '../../../agent/watch/watch.ts';
import {
  diskFiles,
  dockerPath,
  inspectedDisk,
  inspectedPath,
  mountTable,
  mountTableOf,
  mountTablePath,
  volumeOf,
} from '../../../swtpm-fixtures/disk.ts';

const volume = volumeOf('aaaaaaaa-0000-4000-8000-000000000001');
const at = new Date('2026-11-26T12:00:00Z');
const heads = {
  tcp: '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n',
};
const socket = (port: string, state: string) =>
  `   0: 00000000:${port} 0100000A:9C40 ${state} 00000000:00000000 00:00000000 00000000     0        0 20718 1\n`;

describe('what an agent looks at each second', () => {
  let sysroot = '';
  let protectedPaths: readonly string[] = [];
  let told: string[] = [];
  let faults: string[] = [];
  let look: () => Promise<void>;
  const put = async (path: string, content: string) => {
    const file = join(sysroot, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(`${file}.next`, content);
    await rename(`${file}.next`, file);
  };
  /** Time is nothing but the number of calls. */
  const seconds = async (count: number) => {
    for (let second = 0; second < count; second++) await look();
  };
  beforeEach(async () => {
    sysroot = await mkdtemp(join(tmpdir(), 'assay-watch-'));
    for (const [path, content] of Object.entries(diskFiles(volume, at))) await put(path, content);
    await put('sys/block/dm-0/dm/uuid', 'CRYPT-LUKS2-aaaa-docker_crypt\n');
    await put('sys/block/dm-0/slaves/vdd', '');
    await put('sys/block/vda/dev', '254:0\n');
    await put('proc/1/net/tcp', `${heads.tcp}${socket('280A', '0A')}`);
    await put('proc/1/net/tcp6', '');
    protectedPaths = ['/var/lib/docker'];
    told = [];
    faults = [];
    look = lookout(
      watched(sysroot, () => protectedPaths),
      (what) => told.push(what),
      (what) => faults.push(what),
    );
    await seconds(1);
  });
  afterEach(() => rm(sysroot, { recursive: true, force: true }));

  it('says nothing of how things are, nor while they stay so', async () => {
    await seconds(40);
    deepEqual([told, faults], [[], []]);
  });

  const atOnce: readonly (readonly [string, string, () => Promise<void>])[] = [
    [
      'a directory that is bound over a path',
      'mounts',
      () => put(mountTablePath, mountTableOf(volume, 'bound over')),
    ],
    ['a table of mounts that is gone', 'mounts', () => unlink(join(sysroot, mountTablePath))],
    ['another mapping in the place of one', 'mappings', () => put('sys/block/dm-0/dm/uuid', 'LVM-x\n')],
    ['a mapping that is new', 'mappings', () => put('sys/block/dm-7/dm/uuid', 'CRYPT-PLAIN-x\n')],
    ['a mapping that lies on another disk', 'mappings', () => put('sys/block/dm-0/slaves/vde', '')],
    ['a mapping that is gone', 'mappings', () => rm(join(sysroot, 'sys/block/dm-0'), { recursive: true })],
    [
      'another header',
      'inspected',
      () => put(inspectedPath, inspectedDisk(volumeOf('aaaaaaaa-0000-4000-8000-000000000002'), at)),
    ],
    ['a reading by inspect that is gone', 'inspected', () => unlink(join(sysroot, inspectedPath))],
  ];
  for (const [change, what, make] of atOnce)
    it(`tells ${change} at the next look, once`, async () => {
      await make();
      await seconds(1);
      deepEqual(told, [what]);
      await seconds(30);
      deepEqual(told, [what]);
    });

  it('tells a port on which something listens anew within 15 s, and no connection', async () => {
    await put('proc/1/net/tcp', `${heads.tcp}${socket('280A', '0A')}${socket('0016', '01')}`);
    await seconds(15);
    deepEqual(told, []);
    await put('proc/1/net/tcp', `${heads.tcp}${socket('280A', '0A')}${socket('0016', '0A')}`);
    await seconds(15);
    deepEqual(told, ['listeners']);
  });

  it('takes what inspect wrote again for no change where only its time is another one', async () => {
    await put(inspectedPath, inspectedDisk(volume, new Date('2026-11-26T13:00:00Z')));
    await utimes(join(sysroot, inspectedPath), 1, 1);
    await seconds(2);
    deepEqual(told, []);
  });

  it('tells what can no longer be read, says why in the log, and tells again when it can be', async () => {
    await unlink(join(sysroot, mountTablePath));
    await mkdir(join(sysroot, mountTablePath));
    await seconds(3);
    deepEqual([told, faults], [['mounts'], ['mounts']]);
    await rm(join(sysroot, mountTablePath), { recursive: true });
    await put(mountTablePath, mountTable(volume));
    await seconds(1);
    deepEqual(told, ['mounts', 'mounts']);
  });

  it('tells what changes each second three times at once, and then each five seconds', async () => {
    for (let second = 0; second < 33; second++) {
      await put('sys/block/dm-0/dm/uuid', `CRYPT-${second}\n`);
      await seconds(1);
    }
    // 3 at once, and one for each 5 of the 33 seconds.
    equal(told.length, 9);
    const before = told.length;
    await seconds(10);
    notEqual(told.length, before, 'the last change is told, however late');
    equal(told.length, 10);
  });

  it('says nothing of the list of IMA, which grows with each program that runs', async () => {
    for (let second = 0; second < 30; second++) {
      await put(imaLogPath, 'an entry'.repeat(second));
      await seconds(1);
    }
    deepEqual([told, faults], [[], []]);
  });

  const churn: readonly (readonly [string, string])[] = [
    [
      'the overlay of a container',
      `40 34 0:60 / /${dockerPath}/overlay2/ab/merged rw - overlay overlay rw,lowerdir=/${dockerPath}/overlay2/l/A:/${dockerPath}/overlay2/l/B,upperdir=/${dockerPath}/overlay2/ab/diff,workdir=/${dockerPath}/overlay2/ab/work`,
    ],
    [
      'the shared memory of a container',
      `41 34 0:61 / /${dockerPath}/containers/ab/mounts/shm rw - tmpfs shm rw`,
    ],
    [
      'the network namespace of a container',
      '42 28 0:4 net:[4026532] /run/docker/netns/ab rw - nsfs nsfs rw',
    ],
    ['a stick in another place', '43 27 8:16 / /media/stick rw - vfat /dev/sdb rw'],
  ];
  for (const [what, line] of churn)
    it(`says nothing of ${what}`, async () => {
      await put(mountTablePath, `${mountTable(volume)}${line}\n`);
      await seconds(2);
      await put(mountTablePath, mountTable(volume));
      await seconds(2);
      deepEqual([told, faults], [[], []]);
    });

  it('tells an overlay below a path whose upper layer lies on another disk', async () => {
    const line = `40 34 0:60 / /${dockerPath}/overlay2/ab/merged rw - overlay overlay rw,lowerdir=/${dockerPath}/l,upperdir=/srv/plain,workdir=/srv/work`;
    await put(mountTablePath, `${mountTable(volume)}${line}\n`);
    await seconds(1);
    deepEqual(told, ['mounts']);
  });

  it('says nothing of mounts while no path is protected, nor because one is from now on', async () => {
    protectedPaths = [];
    await put(mountTablePath, mountTableOf(volume, 'bound over'));
    await seconds(2);
    protectedPaths = ['/var/lib/docker'];
    await seconds(2);
    deepEqual(told, []);
  });

  it('goes on with the others where one of them fails', async () => {
    let asked = 0;
    const failing: WatchedSource = {
      what: 'broken',
      everySeconds: 1,
      look() {
        asked += 1;
        throw new Error('broken');
      },
    };
    look = lookout(
      [failing, ...watched(sysroot, () => protectedPaths)],
      (what) => told.push(what),
      (what) => faults.push(what),
    );
    await seconds(2);
    await put(mountTablePath, mountTableOf(volume, 'bound over'));
    await seconds(2);
    deepEqual([told, faults, asked], [['mounts'], ['broken'], 4]);
  });
});
