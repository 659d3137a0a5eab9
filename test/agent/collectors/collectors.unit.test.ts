import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { readBootId } from '../../../agent/collectors/boot-id.ts';
import { bootLog, bootLogPath } from '../../../agent/collectors/boot-log.ts';
import { Unavailable } from '../../../agent/collectors/collector.ts';
import { host } from '../../../agent/collectors/host.ts';
import { imaLog, imaLogPath } from '../../../agent/collectors/ima-log.ts';
import { running } from '../../../agent/collectors/running.ts';
import { userSpaceLog, userSpaceLogPath } from '../../../agent/collectors/user-space-log.ts';
import { type HostFacts, parseFacts } from '../../../attest-server/wire/facts.ts';
import { limits } from '../../../attest-server/wire/limits.ts';

const { signal } = new AbortController();

/** Of an empty root: nothing is configured, and why it is not known what listens. */
const unsaid = ['arch', 'ssh', 'unread'];

describe('the collectors', () => {
  let root = '';
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-agent-root-'));
    await boots('a');
  });
  afterEach(() => rm(root, { recursive: true }));

  async function put(path: string, content: string | Buffer): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }

  const boots = (digit: string) =>
    put('proc/sys/kernel/random/boot_id', `${digit.repeat(8)}-8b86-d011-b42d-00cf4fc964ff\n`);

  /** What the facts would hold: JSON has no member without a value. */
  async function readHost(sysroot = root): Promise<HostFacts> {
    const facts = [await host.read(sysroot, signal), await running().read(sysroot, signal)];
    return JSON.parse(JSON.stringify(Object.assign({}, ...facts)));
  }

  const text = (value: Buffer | null | Unavailable) => (Buffer.isBuffer(value) ? value.toString() : value);

  it('read the boot log once a boot, each its own', async () => {
    const [log, another] = [bootLog(), bootLog()];
    await put(bootLogPath, 'first');
    assert.equal(text(await log.read(root, signal)), 'first');
    await put(bootLogPath, 'second');
    assert.equal(text(await log.read(root, signal)), 'first');
    assert.equal(text(await another.read(root, signal)), 'second');
    await boots('b');
    assert.equal(text(await log.read(root, signal)), 'second');
  });

  it('find no log where it is missing or empty, until it is there', async () => {
    const log = bootLog();
    assert.equal(await log.read(root, signal), null);
    await put(bootLogPath, '');
    assert.equal(await log.read(root, signal), null);
    await put(bootLogPath, 'late');
    assert.equal(text(await log.read(root, signal)), 'late');
  });

  it('refuse a log beyond the bound, and take one at it', async () => {
    const most = limits.parts.boot;
    await put(bootLogPath, Buffer.alloc(most));
    assert.equal(text(await bootLog().read(root, signal))?.toString().length, most);
    await put(bootLogPath, Buffer.alloc(most + 1));
    await assert.rejects(bootLog().read(root, signal), RangeError);
  });

  it('read no further once nobody waits', async () => {
    await put(bootLogPath, 'log');
    await assert.rejects(bootLog().read(root, AbortSignal.abort()), { name: 'AbortError' });
  });

  it("read systemd's log anew each time, as far as its records are whole", async () => {
    assert.equal(await userSpaceLog.read(root, signal), null);
    await put(userSpaceLogPath, '\x1e{"pcr"');
    assert.equal(await userSpaceLog.read(root, signal), null);
    await put(userSpaceLogPath, '\x1e{}\n\x1e{"pcr"');
    assert.equal(text(await userSpaceLog.read(root, signal)), '\x1e{}\n');
    await put(userSpaceLogPath, Buffer.alloc(limits.parts.userSpace + 1));
    await assert.rejects(userSpaceLog.read(root, signal), RangeError);
  });

  it('read the list of IMA anew each time, whole or not at all', async () => {
    assert.equal(await imaLog.read(root, signal), null);
    await put(imaLogPath, '');
    assert.equal(await imaLog.read(root, signal), null);
    for (const content of ['an entry', 'an entry, another one']) {
      await put(imaLogPath, content);
      assert.equal(text(await imaLog.read(root, signal)), content);
    }
    await put(imaLogPath, Buffer.alloc(limits.parts.ima + 1));
    await assert.rejects(imaLog.read(root, signal), RangeError);
  });

  it('say the command line of the kernel as it is, or not at all', async () => {
    await put('proc/cmdline', ' root=/dev/vda  ro "a b" \n');
    assert.equal((await readHost()).commandLine, ' root=/dev/vda  ro "a b" ');
    await put('proc/cmdline', `${'x'.repeat(4097)}\n`);
    assert.equal((await readHost()).commandLine, undefined);
  });

  it('leave out what a machine does not say', async () => {
    assert.deepEqual(Object.keys(await readHost()), unsaid);
    await rm(join(root, 'proc'), { recursive: true });
    await assert.rejects(readBootId(root));
  });

  it('say what the running machine is, from its files, in facts that the server takes', async () => {
    const [bootId, said] = await Promise.all([readBootId('/'), readHost('/')]);
    const facts = { purpose: 'attest', node: 'n', bootId, helloDigest: '0'.repeat(64), host: said };
    assert.equal(parseFacts(JSON.stringify(facts)).host?.kernel, said.kernel);
    assert(said.kernel && said.os && said.arch);
  });

  it('say kernel and system as their files do, whatever quotes these use', async () => {
    await put('proc/version', 'Linux version 6.12.48+deb13-amd64 (someone) #1 SMP\n');
    for (const quote of ['"', "'", '']) {
      await put('etc/os-release', `ID=x\nPRETTY_NAME=${quote}Some System 1${quote}\n`);
      const { kernel, os } = await readHost();
      assert.deepEqual([kernel, os], ['6.12.48+deb13-amd64', 'Some System 1']);
    }
  });

  it('say whether another kernel may be loaded, as far as the machine says it', async () => {
    await put('proc/sys/kernel/kexec_load_disabled', '0\n');
    await put('sys/kernel/security/lockdown', 'none [integrity] confidentiality\n');
    const { kexecLoadDisabled, lockdown } = await readHost();
    assert.deepEqual([kexecLoadDisabled, lockdown], [false, 'integrity']);
    await put('proc/sys/kernel/kexec_load_disabled', '1');
    await put('sys/kernel/security/lockdown', 'nonsense');
    const { arch: _, ssh, unread, ...rest } = await readHost();
    assert.deepEqual(rest, { kexecLoadDisabled: true });
    assert.deepEqual(ssh, { ports: [], sockets: [], daemons: [] });
    assert.deepEqual(Object.keys(unread ?? {}), ['listening', 'tainted']);
  });

  it('say when the kernel started, by its own clock', async () => {
    await put('proc/stat', 'cpu  1 2 3\nintr 5\nctxt 7\nbtime 1795702376\nprocesses 9\n');
    assert.equal((await readHost()).bootTime, 1_795_702_376);
    for (const nonsense of ['btime\n', 'btime -1\n', 'btime 99999999999\n', 'btime 4294967296\n']) {
      await put('proc/stat', nonsense);
      assert.equal((await readHost()).bootTime, undefined, nonsense);
    }
  });

  it('say the system UUID in lower case where it is one, and are not kept from the rest where it is not', async () => {
    const id = 'sys/class/dmi/id/product_uuid';
    await put(id, '4C4C4544-0042-3510-8052-B4C04F4D5132\n');
    assert.equal((await readHost()).systemUuid, '4c4c4544-0042-3510-8052-b4c04f4d5132');
    await put(id, 'Not Settable');
    assert.deepEqual(Object.keys(await readHost()), unsaid);
    await rm(join(root, id));
    await mkdir(join(root, id));
    assert.deepEqual(Object.keys(await readHost()), unsaid);
  });

  it('say how the kernel is tainted, and its sysctls as far as it has them', async () => {
    await put('proc/sys/kernel/tainted', '12289\n');
    await put('proc/sys/kernel/yama/ptrace_scope', '1\n');
    await put('proc/sys/net/ipv4/conf/all/rp_filter', '2\n');
    await put('proc/sys/kernel/sysrq', 'nonsense\n');
    await put('proc/sys/kernel/hostname', '7\n');
    const { tainted, sysctls } = await readHost();
    assert.equal(tainted, 12_289);
    assert.deepEqual(sysctls, { 'kernel.yama.ptrace_scope': '1', 'net.ipv4.conf.all.rp_filter': '2' });
    for (const nonsense of ['', 'P', '-1', '1'.repeat(16)]) {
      await put('proc/sys/kernel/tainted', nonsense);
      assert.equal((await readHost()).tainted, undefined, nonsense);
    }
  });

  it('say what keeps the clock right, as far as a file says that it is', async () => {
    await put('run/chrony/chronyd.pid', '1');
    assert.deepEqual((await readHost()).timeSync, { by: 'chrony', synchronized: null });
    await mkdir(join(root, 'run/systemd/timesync'), { recursive: true });
    assert.deepEqual((await readHost()).timeSync, { by: 'systemd-timesyncd', synchronized: false });
    await put('run/systemd/timesync/synchronized', '');
    assert.deepEqual((await readHost()).timeSync, { by: 'systemd-timesyncd', synchronized: true });
  });

  it('say which reboot, kernel and updates wait', async () => {
    await put('var/lib/dpkg/status', '');
    for (const release of ['6.9.12-amd64', '6.12.48+deb13-amd64', '6.12.9-amd64', 'old'])
      await put(`boot/vmlinuz-${release}`, '');
    await put(
      'var/lib/update-notifier/updates-available',
      '\n12 updates can be applied immediately.\n3 of these updates are standard security updates.\n',
    );
    const facts = await readHost();
    assert.deepEqual([facts.rebootRequired, facts.newestKernel], [false, '6.12.48+deb13-amd64']);
    assert.deepEqual(facts.updates, { all: 12, security: 3 });
    await put('run/reboot-required', '*** System restart required ***\n');
    await put('var/lib/update-notifier/updates-available', '1 update can be applied immediately.\n');
    const later = await readHost();
    assert.deepEqual([later.rebootRequired, later.updates], [true, { all: 1, security: null }]);
  });

  it('say which container runtimes are installed as packages, and read the list again where it is another one', async () => {
    const entry = (name: string, status: string, version: string) =>
      `Package: ${name}\nStatus: ${status}\nDescription: x\n Package: podman\nVersion: ${version}\n\n`;
    const others = entry('bash', 'install ok installed', '5.2').repeat(3000);
    await put(
      'var/lib/dpkg/status',
      others +
        entry('containerd', 'install ok installed', '1.7.24~ds1-6') +
        entry('docker.io', 'deinstall ok config-files', '26'),
    );
    const read = running();
    const runtimes = async () => {
      const facts = await read.read(root, signal);
      assert(!(facts instanceof Unavailable));
      return facts.runtimes;
    };
    assert.deepEqual(await runtimes(), [{ name: 'containerd', version: '1.7.24~ds1-6' }]);
    await put('var/lib/dpkg/status', entry('cri-o', 'install ok installed', '1.32.0'));
    assert.deepEqual(await runtimes(), [{ name: 'cri-o', version: '1.32.0' }]);
  });

  it('take control characters out and cut what is too long', async () => {
    await put('sys/class/dmi/id/sys_vendor', `a\u0007b${'x'.repeat(100)}\n`);
    assert.equal((await readHost()).manufacturer, `a b${'x'.repeat(61)}`);
  });
});
