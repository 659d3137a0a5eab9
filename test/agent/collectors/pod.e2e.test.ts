import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';

const list = join(import.meta.dirname, '../../../agent/collectors/list.ts');

/** Reads with every collector, and says of each what it gave. */
const reader = `
import { collectors } from ${JSON.stringify(list)};
const [, , root] = process.argv;
const said = {};
for (const { name, read, supplement } of collectors(null)) {
  if (name === "inventory" || name === "firewall") continue;
  const of = supplement === 'ima' ? [] : ['0'.repeat(64)];
  const asked = supplement === undefined ? { paths: ['/var/lib/docker'] } : { of, from: 0, bootId: null, most: 65536 };
  const value = await read(root, AbortSignal.timeout(10_000), asked).catch((error) => ({ cause: error.message }));
  const isList = supplement === 'ima';
  const bytes = isList && value?.pieces ? Buffer.concat(value.pieces) : value;
  said[isList ? 'imaList' : name] = Buffer.isBuffer(bytes) ? bytes.toString('latin1') : bytes;
}
process.stdout.write(JSON.stringify(said));`;

const cause = z.object({ cause: z.string() });
const said = z.looseObject({
  boot: z.union([z.string(), cause, z.null()]),
  ima: z.union([z.string(), cause, z.null()]),
  imaList: z.union([z.string(), cause, z.null()]),
  userSpace: z.union([z.string(), cause, z.null()]),
  disk: z.unknown(),
  running: z.object({
    listening: z.array(z.number()).optional(),
    tainted: z.number().optional(),
    rebootRequired: z.boolean().optional(),
    sysctls: z.record(z.string(), z.string()).optional(),
    unread: z.record(z.string(), z.string()).optional(),
  }),
  loaderFiles: z.object({ unread: z.string().nullable() }),
});

/** What a pod has of its host. Each is mounted at its own path below the root. */
const always = [
  ...['proc/1/mountinfo', 'proc/1/net', 'proc/sys', 'proc/version', 'proc/cmdline', 'proc/stat'],
  ...['sys/block', 'sys/class', 'sys/dev', 'sys/devices', 'etc/os-release'],
];

describe('the collectors in a pod', function () {
  this.timeout(60_000);
  let dir = '';
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-pod-'));
    await chmod(dir, 0o755);
    await writeFile(join(dir, 'reader.mjs'), reader);
  });
  afterEach(() => rm(dir, { recursive: true }));

  /**
   * In mounts of its own, as a user without capabilities.
   * @param more commands of a shell, in which $root is the root
   */
  async function read(more: readonly string[] = [], { network = '', group = 0 } = {}) {
    const script = `
      root=${dir}/host; mkdir -p $root; mount -t tmpfs -o mode=755 none $root
      for path in ${always.join(' ')}; do
        if [ -d /$path ]; then mkdir -p $root/$path; else mkdir -p $root/\${path%/*}; : > $root/$path; fi
        mount --rbind /$path $root/$path
      done
      ${more.join('\n')}
      exec ${network} setpriv --reuid 65532 --regid ${group} --clear-groups --no-new-privs --bounding-set=-all \\
        --inh-caps=-all "$0" ${join(dir, 'reader.mjs')} $root`;
    const { stdout } = await run('unshare', ['--mount', 'bash', '-euc', script, process.execPath], {
      timeoutMs: 50_000,
      maxOutputBytes: 1024 * 1024,
    });
    return said.parse(JSON.parse(stdout.toString('utf8')));
  }
  const causeOf = (value: unknown) => cause.parse(value).cause;
  const logs = [
    'mkdir -p $root/sys/kernel/security && mount -t tmpfs -o mode=755 none $root/sys/kernel/security',
    'mkdir $root/sys/kernel/security/tpm0 $root/sys/kernel/security/ima',
    'printf boot > $root/sys/kernel/security/tpm0/binary_bios_measurements',
    'printf ima > $root/sys/kernel/security/ima/binary_runtime_measurements',
    'find $root/sys/kernel/security -type f -exec chmod 440 {} +',
  ];

  it('read the logs of firmware and IMA, which are 0440 of root, by the group 0 alone', async () => {
    const { boot, ima, imaList } = await read(logs);
    assert.deepEqual([boot, ima, imaList], ['boot', 'ima', 'ima']);
    const without = await read(logs, { group: 65_532 });
    for (const log of [without.boot, without.ima, without.imaList]) assert.match(causeOf(log), /EACCES/);
  });

  it('say what root alone may read, and do not take it for missing', async () => {
    const { userSpace } = await read([
      'mkdir -p $root/run/log/systemd',
      'printf "{}\\n" > $root/run/log/systemd/tpm2-measure.log',
      'chmod 600 $root/run/log/systemd/tpm2-measure.log',
    ]);
    assert.match(causeOf(userSpace), /EACCES/);
  });

  it('say which of the host’s paths are not mounted, where a verdict could rest on them', async () => {
    const { boot, ima, disk, running, loaderFiles } = await read(['mkdir -p $root/var/lib/dpkg']);
    assert.match(causeOf(boot), /another \/sys\/kernel\/security/);
    assert.match(causeOf(ima), /another \/sys\/kernel\/security/);
    assert.match(causeOf(disk), /another \/var than the host/);
    assert.match(running.unread?.ssh ?? '', /processes of the host are not shown/);
    assert.match(loaderFiles.unread ?? '', /another \/boot/);
    assert.equal(running.rebootRequired, undefined);
    // And the rest is there.
    assert.equal(typeof running.tainted, 'number');
    assert.ok(running.listening !== undefined && running.unread?.listening === undefined);
  });

  it('see SSH closed only where processes, configuration and units are all shown', async () => {
    const bind = (...paths: readonly string[]) =>
      paths.map(
        (path) => `[ ! -d /${path} ] || { mkdir -p $root/${path}; mount --rbind /${path} $root/${path}; }`,
      );
    const { running } = await read(bind('proc', 'etc/ssh', 'usr/lib/systemd'));
    assert.match(running.unread?.ssh ?? '', /another \/(etc|run)/);
    const all = await read(bind('proc', 'etc', 'usr', 'run'));
    assert.equal(all.running.unread?.ssh, undefined);
  });

  it('send no sysctls of the network where that of the pod is another one than the host’s', async () => {
    const { running } = await read();
    assert.ok(Object.keys(running.sysctls ?? {}).some((name) => name.startsWith('net.')));
    const other = await read([], { network: 'unshare --net' });
    assert.match(other.running.unread?.sysctls ?? '', /another network/);
    assert.ok(!Object.keys(other.running.sysctls ?? {}).some((name) => name.startsWith('net.')));
  });
});
