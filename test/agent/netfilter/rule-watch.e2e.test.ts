import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { RuleWatch, type RuleWatchOptions } from '../../../agent/netfilter/rule-watch.ts';
import { trials } from '../../trials.ts';
import { type Namespace, openNamespace, until } from './namespace.ts';

/** Real events of the kernel in a network namespace. */
describe('changes of the rules', () => {
  let space: Namespace;
  let watch: RuleWatch | null = null;
  let moved: (Buffer | string)[] = [];
  let movedAt = 0;

  before(function () {
    // Who is not root opens no namespace by its file.
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    space = await openNamespace();
    moved = [];
    await space.sh(start);
  });
  afterEach(async () => {
    await watch?.[Symbol.asyncDispose]();
    watch = null;
    await space[Symbol.asyncDispose]();
  });

  /** Listens, and has read once. */
  async function listen(options: Partial<RuleWatchOptions> = {}): Promise<RuleWatch> {
    watch = new RuleWatch({
      netns: space.netns,
      logger: { info: () => {}, warn: () => {} },
      onMoved: (state) => {
        moved.push(state);
        movedAt = performance.now();
      },
      ...options,
    });
    const opened = watch;
    await until(() => opened.state !== null, 'the first reading');
    return opened;
  }

  for (const [what, change] of [
    ['nft', 'nft add rule inet t c tcp dport 22 accept'],
    ['iptables-nft', 'iptables-nft -I INPUT 1 -p tcp --dport 22 -j ACCEPT'],
    ['ip6tables-nft, a policy', 'ip6tables-nft -P INPUT ACCEPT'],
  ] as const)
    it(`are told within a second, after one reading: ${what} (row 61)`, async () => {
      const { counts } = await listen();
      assert.deepEqual([counts.readings, moved], [1, []]);
      await space.sh(change);
      const changedAt = performance.now();
      await until(() => moved.length > 0, 'moved');
      assert.ok(movedAt - changedAt < 1_000, `${movedAt - changedAt} ms`);
      assert.deepEqual([watch?.counts.readings, moved.length], [2, 1]);
      assert.equal(moved[0], watch?.state);
    });

  it('by declared owners start no reading and are not told, while traffic runs (row 62)', async () => {
    const { counts } = await listen();
    assert.equal(counts.readings, 1);
    const bytes = (await watch?.read())?.bytes;
    // What kube-proxy does in a minute, faster: a restore of its chains for each change of an endpoint.
    const times = trials(50);
    await space.sh(`
      (for i in $(seq 20); do ping -c 1 -W 1 127.0.0.1 > /dev/null || true; done) &
      for i in $(seq ${times}); do
        printf '%s\\n' '*nat' ':KUBE-SERVICES - [0:0]' ":KUBE-SVC-ABCDEFGHIJKL$((1000 + i % 7)) - [0:0]" \
          "-A KUBE-SERVICES -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ABCDEFGHIJKL$((1000 + i % 7))" \
          "-A KUBE-SVC-ABCDEFGHIJKL$((1000 + i % 7)) -m statistic --mode random --probability 0.$((1 + i % 9)) -j RETURN" \
          COMMIT | iptables-nft-restore --noflush
      done
      wait`);
    await until(() => (watch?.counts.ignored ?? 0) >= 3 * times, 'the events arrived');
    assert.deepEqual([watch?.counts.readings, moved, watch?.counts.lost], [2, [], 0]);
    // Nor is the part another: nothing would be sent.
    assert.deepEqual((await watch?.read())?.bytes, bytes);
  }).timeout(60_000);

  it('by a full sync of kube-proxy with nft start no reading either, and another policy does (row 62)', async () => {
    await space.sh(`nft add table ip kube-proxy
      nft add chain ip kube-proxy input '{ type filter hook input priority -110; policy accept; }'`);
    await listen();
    await space.sh(`
      for i in $(seq 20); do
        printf '%s\\n' 'add table ip kube-proxy' 'add chain ip kube-proxy service' 'flush chain ip kube-proxy service' \
          'add chain ip kube-proxy input { type filter hook input priority -110; policy accept; }' \
          'flush chain ip kube-proxy input' 'add rule ip kube-proxy input jump service' \
          'add map ip kube-proxy ips { type ipv4_addr : verdict; }' 'flush map ip kube-proxy ips' \
          "add element ip kube-proxy ips { 10.0.0.$i : goto service }" \
          "add rule ip kube-proxy service tcp dport $i accept" | nft -f -
      done`);
    await until(() => (watch?.counts.ignored ?? 0) >= 80, 'the events arrived');
    assert.deepEqual([watch?.counts.readings, moved], [1, []]);
    await space.sh("nft add chain ip kube-proxy input '{ policy drop; }'");
    await until(() => moved.length === 1, 'the policy');
  });

  it('of pods of Calico start no reading, and a failsafe port of its host endpoints does (row 61, row 62)', async () => {
    const calico = join(import.meta.dirname, '../../../swtpm-fixtures/recorded-nodes/firewall');
    await space.sh(`iptables-nft-restore ${calico}/calico-host/rules.restore
      nft -f ${calico}/calico-host-nftables/rules.nft`);
    await listen({ everyMs: 200 });
    await space.sh(`
      for i in $(seq 20); do
        printf '%s\n' '*filter' ':cali-FORWARD - [0:0]' ":cali-tw-cali$i - [0:0]" ':cali-pri-_pods - [0:0]' \
          "-A cali-FORWARD -o cali$i -j cali-tw-cali$i" "-A cali-tw-cali$i -j cali-pri-_pods" \
          "-A cali-pri-_pods -p tcp --dport $i -j ACCEPT" COMMIT | iptables-nft-restore --noflush
        printf '%s\n' 'add chain ip calico filter-cali-tw-cali1' 'flush chain ip calico filter-cali-tw-cali1' \
          "add rule ip calico filter-cali-tw-cali1 tcp dport $i accept" \
          "add element ip calico cali40s-workers { 10.1.2.$((i + 10)) }" | nft -f -
      done`);
    await until(() => (watch?.counts.ignored ?? 0) >= 100, 'the events arrived');
    assert.deepEqual([watch?.counts.readings, moved], [1, []]);
    await space.sh('iptables-nft -A cali-failsafe-in -p tcp --dport 8080 -j ACCEPT');
    await until(() => moved.length === 1, 'the port');
    await until(() => watch?.counts.readings === 2, 'a reading');
    await space.sh('nft flush chain ip calico filter-cali-fh-any-interface-at-all');
    await until(() => moved.length === 2, 'the host endpoint');
  });

  it('of elements that time out start a reading and are not told', async () => {
    await listen({ everyMs: 100 });
    await space.sh("nft add element inet t out '{ 1.2.3.4 timeout 1h }'");
    await until(() => watch?.counts.readings === 2, 'a reading');
    await watch?.read();
    assert.deepEqual(moved, []);
  });

  it('that go on start a reading at once, and then one in each interval, the last of them after the end', async () => {
    const everyMs = 200;
    await listen({ everyMs });
    const startedAt = performance.now();
    await space.sh('for i in $(seq 60); do nft add rule inet t c tcp dport $i accept; done');
    const tookMs = performance.now() - startedAt;
    await watch?.read();
    const last = watch?.state;
    const most = 2 + Math.ceil(tookMs / everyMs) + 1;
    await until(() => moved.at(-1) === last, 'the last change was told');
    const { readings = 0 } = watch?.counts ?? {};
    assert.ok(readings >= 3 && readings <= most, `${readings} readings, at most ${most}`);
  }).timeout(60_000);

  it('while the monitor was gone are read when it is back, and the loss is counted', async () => {
    await listen();
    const pid = await monitorOf(space);
    process.kill(pid, 'SIGKILL');
    await until(() => watch?.counts.lost === 1, 'the loss was seen');
    await space.sh('nft add rule inet t c tcp dport 22 accept');
    await until(() => moved.length === 1, 'moved', 20_000);
    const again = await monitorOf(space);
    assert.notEqual(again, pid);
    await space.sh('nft add rule inet t c tcp dport 23 accept');
    await until(() => moved.length === 2, 'moved again', 20_000);
  }).timeout(60_000);

  it('after events were lost are read anew, and the loss is counted', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'assay-netfilter-monitor-'));
    try {
      // The first one says what nft says where the kernel had no room for its events.
      await writeFile(
        join(folder, 'nft'),
        `#!/bin/bash
        if [ "$2" = monitor ] && ! [ -e ${folder}/lost ]; then
          touch ${folder}/lost; until [ -e ${folder}/go ]; do sleep 0.01; done
          echo '# ERROR: We lost some netlink events!'; exec sleep 60
        fi
        exec /usr/sbin/nft "$@"\n`,
      );
      await chmod(join(folder, 'nft'), 0o755);
      await listen({ env: { PATH: `${folder}:/usr/sbin:/usr/bin:/sbin:/bin` } });
      await space.sh('nft add rule inet t c tcp dport 22 accept');
      assert.deepEqual(moved, []);
      await writeFile(join(folder, 'go'), '');
      await until(() => moved.length === 1, 'moved', 20_000);
      assert.equal(watch?.counts.lost, 1);
    } finally {
      await rm(folder, { recursive: true });
    }
  }).timeout(60_000);

  it('of a legacy table, which has no events, are read by its interval, and only where there is one', async () => {
    await listen({ legacyEveryMs: 50 });
    await sleep(200);
    assert.equal(watch?.counts.readings, 1);
    await space.sh('iptables-legacy -P FORWARD DROP');
    await until(() => moved.length === 1, 'the new table');
    await space.sh('ip6tables-legacy -A INPUT -j DROP');
    await until(() => moved.length === 2, 'the rule');
  });

  it('that cannot be read any more are told, and so is that they can again', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'assay-netfilter-gone-'));
    try {
      const proxy = join(folder, 'nft');
      await writeFile(proxy, '#!/bin/bash\nexec /usr/sbin/nft "$@"\n');
      await chmod(proxy, 0o755);
      await listen({ everyMs: 50, env: { PATH: `${folder}:/usr/bin:/bin` } });
      await rm(proxy);
      await space.sh('nft add rule inet t c tcp dport 22 accept');
      await until(() => moved.length === 1, 'the fault');
      assert.match(String(moved[0]), /^(unproven|missing_program)$/);
      await writeFile(proxy, '#!/bin/bash\nexec /usr/sbin/nft "$@"\n');
      await chmod(proxy, 0o755);
      await watch?.read();
      assert.ok(Buffer.isBuffer(moved[1]));
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  for (const [what, code, script] of [
    ['it may not', 'not_permitted', 'echo "Operation not permitted (you must be root)" >&2; exit 1'],
    ['there is no nft', 'missing_program', null],
  ] as const)
    it(`are not listened to again and again where ${what}`, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'assay-netfilter-hopeless-'));
      try {
        for (const name of ['nsenter', 'setpriv', 'bash'])
          await symlink(`/usr/bin/${name}`, join(folder, name));
        if (script !== null) {
          await writeFile(join(folder, 'nft'), `#!/usr/bin/bash\n${script}\n`);
          await chmod(join(folder, 'nft'), 0o755);
        }
        const codes: string[] = [];
        const warn = ({ code }: { readonly code: string }) => codes.push(code);
        watch = new RuleWatch({
          netns: space.netns,
          env: { PATH: folder },
          logger: { info: () => {}, warn },
          onMoved: () => {},
        });
        await until(() => codes.length > 0, 'the fault');
        // The first of several attempts would come within a quarter of a second.
        await sleep(800);
        assert.deepEqual([codes, watch.counts.lost], [[code], 1]);
      } finally {
        await rm(folder, { recursive: true });
      }
    });

  it('are listened to by a child that ends with the watch', async () => {
    await listen();
    const pid = await monitorOf(space);
    await watch?.[Symbol.asyncDispose]();
    watch = null;
    await assert.rejects(readFile(`/proc/${pid}/cmdline`));
  });
});

/** The process that listens in this namespace. */
async function monitorOf({ netns }: Namespace): Promise<number> {
  let found = 0;
  await until(async () => {
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
      if (!/^nft\0-j\0monitor\0/.test(command)) continue;
      const [its, ours] = await Promise.all(
        [`/proc/${name}/net/netlink`, netns.replace('ns/net', 'net/netlink')].map((path) =>
          readFile(path, 'utf8').catch(() => ''),
        ),
      );
      if (its !== '' && its === ours) found = Number(name);
    }
    return found !== 0;
  }, 'a monitor');
  return found;
}

const start = `
  nft add table inet t
  nft add chain inet t c '{ type filter hook input priority 0; policy drop; }'
  nft add set inet t out '{ type ipv4_addr; flags dynamic,timeout; }'
  ip6tables-nft -P INPUT DROP
  iptables-nft -P INPUT DROP
  iptables-nft -t nat -N KUBE-SERVICES
  iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES`;
