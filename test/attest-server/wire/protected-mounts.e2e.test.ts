import assert from 'node:assert/strict';
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import {
  asBytes,
  type Mount,
  mountFinder,
  parseMountTable,
} from '../../../attest-server/wire/mount-table.ts';
import { comesWithContainers, volumeKind } from '../../../attest-server/wire/protected-mounts.ts';

const pod = 'pods/0b9c2f3e-5d1a-4c7e-9a51-2f6d8c0e1b77';
const staged = `plugins/kubernetes.io/csi/disk.example.com/${'ab'.repeat(32)}/globalmount`;
const published = `${pod}/volumes/kubernetes.io~csi/pvc-1/mount`;
const secrets = `${pod}/volumes/kubernetes.io~csi/secrets-store/mount`;
const cache = `${pod}/volumes/kubernetes.io~empty-dir/cache`;
const block = `plugins/kubernetes.io/csi/volumeDevices/publish/pvc-2`;
const places = { staged, published, secrets, cache, block, subPath: `${pod}/volume-subpaths/pvc-1/app/0` };

/** The calls of a kubelet and its drivers, in a mount namespace that ends with the program. */
describe('the mounts that a kubelet makes', () => {
  let folder = '';
  let kubelet = '';
  let table: readonly Mount[] = [];
  before(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'assay-kubelet-')));
    kubelet = `${folder}/kubelet`;
    const mount = (...args: string[]) => ({ mount: args.map((arg) => arg.replace('KUBELET', '{}/kubelet')) });
    const folders = [staged, published, secrets, cache, `${pod}/volume-subpaths/pvc-1/app/0`, block];
    const steps = [
      ...['disk/data', 'kubelet'].map((name) => ({ mkdir: `{}/${name}` })),
      // The volume's own file system, and the kubelet's.
      mount('-t', 'tmpfs', '-o', 'mode=755', 'disk', '{}/disk'),
      { mkdir: '{}/disk/data' },
      mount('-t', 'tmpfs', '-o', 'mode=755', 'kubelet', 'KUBELET'),
      ...folders.map((name) => ({ mkdir: `{}/kubelet/${name}` })),
      mount('--bind', '{}/disk', `KUBELET/${staged}`),
      mount('--bind', `KUBELET/${staged}`, `KUBELET/${published}`),
      mount('--bind', `KUBELET/${published}/data`, `KUBELET/${places.subPath}`),
      mount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', `KUBELET/${secrets}`),
      mount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', `KUBELET/${cache}`),
      mount('--bind', '/dev', `KUBELET/${block}`),
    ];
    const args = ['--mount', '--propagation', 'private', '--', process.execPath];
    const program = join(import.meta.dirname, 'mounts-in-namespace.ts');
    const { stdout } = await run('unshare', [...args, program, JSON.stringify([{ folder, steps }])], {
      timeoutMs: 30_000,
      maxOutputBytes: 1024 * 1024,
    });
    const [said] = z.tuple([z.object({ table: z.string() })]).parse(JSON.parse(stdout.toString('utf8')));
    table = parseMountTable(Buffer.from(said.table, 'base64'));
  });
  after(() => rmSync(folder, { recursive: true }));

  const around = () => {
    const find = mountFinder(table);
    return { find, standing: new Set<Mount>(), byId: new Map(table.map((mount) => [mount.id, mount])) };
  };
  const at = (place: string) => around().find(asBytes(`${kubelet}/${place}`)) ?? assert.fail(place);

  it('are of the volume’s owner where a driver has put them', () => {
    const kinds = Object.entries(places).map(([what, place]) => [
      what,
      volumeKind(at(place), kubelet, around()),
    ]);
    assert.deepEqual(Object.fromEntries(kinds), {
      staged: 'csi',
      published: 'csi',
      secrets: 'csi',
      cache: null,
      block: 'block',
      subPath: 'subPath',
    });
  });

  it('move no digest where they are memory, whoever made it', () => {
    for (const place of [secrets, cache]) assert.ok(comesWithContainers(at(place), kubelet, around()), place);
    assert.ok(!comesWithContainers(at(block), kubelet, around()));
  });
});
