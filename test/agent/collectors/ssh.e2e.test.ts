import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { run, start } from 'node-tpm2/run';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { running } from '../../../agent/collectors/running.ts';
import { appraise } from '../../../attest-server/policy/appraise.ts';
import { type HostFacts, parseFacts } from '../../../attest-server/wire/facts.ts';
import { madeProof, policyOf } from '../../attest-server/policy/made-proof.ts';
import { provenByHand } from '../../attest-server/verify/made-by-hand.ts';
import { inNetworkOf, unshared } from '../../own-namespaces.ts';

const { signal } = new AbortController();
const collector = join(import.meta.dirname, '../../../agent/collectors/running.ts');

/** Listens where its arguments say, under the name that is the first of them. */
const listener = `
const { createServer } = require('node:net');
const [, name, ...places] = process.argv;
process.title = name;
let left = places.length;
const ready = () => { if (left-- <= 0) process.stdout.write('listens\\n'); };
for (const place of places) {
  const [port, family] = place.split('/');
  createServer().listen({ port: Number(port), host: family === '6' ? '::' : '0.0.0.0', ipv6Only: family === '6' }, ready);
}
ready();
setInterval(() => {}, 60_000);
`;

describe('SSH on a host whose network is a real one', () => {
  let root = '';
  let children: ChildProcess[] = [];
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-ssh-host-'));
    await put('proc/sys/kernel/tainted', '0\n');
  });
  afterEach(async () => {
    for (const child of children.filter(({ exitCode }) => exitCode === null)) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    children = [];
    await rm(root, { recursive: true });
  });

  async function put(path: string, content: string): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }

  /** A process in a network of its own, or in that of another one; the first is process 1 of the root. */
  async function listens(
    name: string,
    places: readonly string[],
    beside?: ChildProcess,
  ): Promise<ChildProcess> {
    const [program, ...args] = beside?.pid === undefined ? unshared('--net') : inNetworkOf(beside.pid);
    args.push(process.execPath, '-e', listener, name, ...places);
    const child = start(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    assert(child.stdout);
    await once(child.stdout, 'data');
    if (children.length === 1) await symlink(`/proc/${child.pid}`, join(root, 'proc/1'));
    await symlink(`/proc/${child.pid}`, join(root, `proc/${child.pid}`));
    return child;
  }

  async function said(): Promise<HostFacts> {
    const facts = await running().read(root, signal);
    assert(!(facts instanceof Unavailable));
    return facts;
  }

  /** The state of the node, and by which codes of the host. */
  function judged(given: HostFacts, ...rules: readonly string[]): string {
    const identity = { purpose: 'attest', node: 'one', bootId: '0'.repeat(36), helloDigest: '0'.repeat(64) };
    const facts = parseFacts(JSON.stringify({ ...identity, host: given }));
    const proven = provenByHand(madeProof({}), { facts });
    const policy = policyOf('require: [identity, host]', ...rules);
    const { state, reasons } = appraise(proven, policy, { name: 'one' }, [], Date.now()).verdict;
    return [state, ...reasons.filter(({ aspect }) => aspect === 'host').map(({ code }) => code)].join(' ');
  }

  it('is reachable on port 22, over IPv4 or IPv6 (row 63)', async () => {
    await listens('systemd', ['22/4', '22/6']);
    const facts = await said();
    assert.deepEqual([facts.listening, facts.ssh?.sockets], [[22], ['0.0.0.0:22', '[::]:22']]);
    assert.equal(judged(facts), 'untrusted ssh_reachable');
    assert.equal(judged(facts, 'host: {ssh: report}'), 'trusted');
  });

  it('is reachable where sshd_config or a drop-in of it says, on IPv6 alone too (row 63)', async () => {
    await listens('init', ['2222/6', '8080/4']);
    assert.equal(judged(await said()), 'trusted');
    await put('etc/ssh/sshd_config', 'Include /etc/ssh/sshd_config.d/*.conf\n');
    await put('etc/ssh/sshd_config.d/port.conf', 'Port 2222\n');
    const facts = await said();
    assert.deepEqual(facts.ssh?.sockets, ['[::]:2222']);
    assert.equal(judged(facts), 'untrusted ssh_reachable');
  });

  it('is reachable where systemd listens for it, or a port that the policy names (row 63)', async () => {
    await listens('systemd', ['2022/4']);
    assert.equal(judged(await said()), 'trusted');
    assert.equal(judged(await said(), 'host: {sshPorts: [2022]}'), 'untrusted ssh_reachable');
    await put('usr/lib/systemd/system/ssh.socket', '[Socket]\nListenStream=22\n');
    assert.equal(judged(await said()), 'trusted');
    await put('etc/systemd/system/ssh.socket.d/port.conf', '[Socket]\nListenStream=\nListenStream=2022\n');
    assert.equal(judged(await said()), 'untrusted ssh_reachable');
  });

  it('is reachable where the process of a daemon listens, wherever that is, and not in the network of a container (row 63)', async () => {
    const init = await listens('init', []);
    await listens('sshd', ['4711/4']);
    const read = running();
    const now = async () => {
      const facts = await read.read(root, signal);
      assert(!(facts instanceof Unavailable));
      return facts;
    };
    assert.deepEqual((await now()).ssh?.daemons, []);
    assert.equal(judged(await now()), 'trusted');
    await listens('dropbear', ['4711/6', '4712/4'], init);
    const facts = await now();
    assert.deepEqual(facts.ssh?.daemons, [{ name: 'dropbear', sockets: ['0.0.0.0:4712', '[::]:4711'] }]);
    assert.equal(judged(facts), 'untrusted ssh_reachable');
  });

  it('is not proven closed by an agent that may not see the sockets of a daemon, or its configuration (row 63)', async function () {
    // Only root can be that agent beside its own files.
    if (process.getuid?.() !== 0) this.skip();
    const init = await listens('init', []);
    await put('etc/ssh/sshd_config', 'Port 22\n');
    const asNobody = async (): Promise<HostFacts> => {
      const program = `import(process.argv[1]).then(async ({ running }) => console.log(JSON.stringify(await running().read(process.argv[2], new AbortController().signal))))`;
      await run('chmod', ['-R', 'a+rX', root], { timeoutMs: 10_000, maxOutputBytes: 1024 });
      await run('chmod', ['600', join(root, 'etc/ssh/sshd_config')], {
        timeoutMs: 10_000,
        maxOutputBytes: 1024,
      });
      const args = [
        '--reuid=65532',
        '--regid=65532',
        '--clear-groups',
        '--bounding-set=-all',
        '--inh-caps=-all',
      ];
      const { stdout } = await run('setpriv', [...args, process.execPath, '-e', program, collector, root], {
        timeoutMs: 30_000,
        maxOutputBytes: 65_536,
      });
      const identity = {
        purpose: 'attest',
        node: 'one',
        bootId: '0'.repeat(36),
        helloDigest: '0'.repeat(64),
      };
      return parseFacts(JSON.stringify({ ...identity, host: JSON.parse(stdout.toString()) })).host ?? {};
    };
    const facts = await asNobody();
    assert.match(facts.unread?.ssh ?? '', /EACCES/);
    assert.equal(judged(facts), 'pending facts_unavailable');
    await rm(join(root, 'etc/ssh'), { recursive: true });
    await put('etc/ssh/sshd_config', '');
    await listens('sshd', ['4711/4'], init);
    const seen = { ...(await asNobody()), unread: undefined };
    assert.deepEqual(seen.ssh?.daemons, [{ name: 'sshd', sockets: null }]);
    assert.equal(judged(seen), 'pending facts_unavailable');
  });

  it('leaves out sysctls of the network of whoever looks, where that is another one', async () => {
    await put('proc/sys/kernel/kptr_restrict', '2\n');
    await put('proc/sys/net/ipv4/ip_forward', '1\n');
    const init = await listens('init', []);
    assert.deepEqual((await said()).sysctls, { 'kernel.kptr_restrict': '2', 'net.ipv4.ip_forward': '1' });
    await symlink('/proc/self', join(root, 'proc/self'));
    const facts = await said();
    assert.deepEqual(facts.sysctls, { 'kernel.kptr_restrict': '2' });
    assert.equal(judged(facts, 'host: {sysctls: {net.ipv4.ip_forward: 1}}'), 'pending facts_unavailable');
    await rm(join(root, 'proc/self'));
    await symlink(`/proc/${init.pid}`, join(root, 'proc/self'));
    assert.equal((await said()).sysctls?.['net.ipv4.ip_forward'], '1');
  });

  it('is not proven closed where the tables of the kernel are not there, or are none', async () => {
    assert.equal(judged(await said()), 'pending facts_unavailable');
    await put('proc/1/net/tcp', 'garbage\n');
    assert.equal(judged(await said()), 'pending facts_unavailable');
    assert.match((await said()).unread?.listening ?? '', /tcp: line 1 /);
  });
});
