import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { buildPackages } from '../../manifests/debian/build.ts';
import { packages } from '../../manifests/debian/packages.ts';
import { fetchingTool } from '../../manifests/images/tool.ts';
import { debianMachine } from './debian-machine.ts';
import { type Guest, makeMachine } from './guest.ts';

const units = [
  ...['assay-agent.service', 'assay-inspect.path', 'assay-inspect.timer', 'assay-netfilter.service'],
  ...['assay-server.service', 'assay-tpm-broker.service', 'assay-tpm-broker.socket'],
];
const root = join(import.meta.dirname, '../..');
const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
const pages = ['install', 'first-node', 'uninstall'].map((name) =>
  readFileSync(join(root, `docs/${name}.md`), 'utf8'),
);
/** What a page types, or names as what to type; only the version of the file that is built here may differ. */
function typed(line: string): string {
  assert.ok(
    pages.some((page) => page.includes(`# ${line}`) || page.includes(`\`${line}\``)),
    line,
  );
  return line;
}
const examplesOf = '/usr/share/doc/assay-agent/examples';
const examples = `echo 127.0.0.1 attest.example.org >>/etc/hosts
cp /usr/share/doc/assay-server/examples/server.yaml ${examplesOf}/agent.yaml /etc/assay/
`;
/** With rules of a firewall, which show that a helper runs as well. */
function policy(): string {
  const [found = ''] = pages.flatMap((page) => page.match(/^apiVersion: assay[^`]*/m) ?? []);
  assert.ok(found.includes('[identity, boot]'));
  return found.replace('[identity, boot]', '[identity, boot, firewall]');
}
/** Conditions that cost the machine less than a command of ours does. */
const listens = "until ss -Hltn | grep -q ':8444 '; do sleep 1; done";
/** By a verdict on the agent that runs now. */
const judged = `until journalctl -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID assay-agent) | grep '"code":"verdict"' | grep -q '"state":"trusted"'; do sleep 1; done`;
const logged = (code: string) => `until journalctl -u assay-agent | grep -q ${code}; do sleep 1; done`;

/** Of the kernel's own threads there is none. */
const programs = 'ls -l /proc/[0-9]*/exe 2>/dev/null || true';
const person = `export ASSAY_SERVER=https://attest.example.org:8444
export ASSAY_TOKEN_FILE=/var/lib/assay/admin.token ASSAY_CA_FILE=/var/lib/assay/tls/ca.crt
`;
const waiting = z.object({ items: z.array(z.object({ ek: z.string() })) });
const enrolments = z.object({
  items: z.array(z.object({ ek: z.string(), enrolledAt: z.iso.datetime() })).length(1),
});
/** Of systemd and what it starts, and what a program was refused. A helper that restarts is away for a moment, of which the agent warns. */
const complaint =
  /denied|not permitted|EACCES|EPERM|"level":"(?:error|fatal)"|^[^{].*(?:cannot|Failed|FAILURE)/;
/** What people wrote, and keys, by their digests. */
const state =
  'sha256sum /etc/assay/* /var/lib/assay/audit.key /var/lib/assay/tls/ca.* /var/lib/assay-agent/server-ca.pem';

/** Each test goes on where the one before it ended. */
describe('the packages for Debian, on a machine whose first process is systemd', function () {
  this.timeout(0);
  const resources = new AsyncDisposableStack();
  let guest: Guest;
  before(async () => {
    const dir = await mkdtemp(join(tmpdir(), 'assay-vm-packages-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    // What apt would fetch beside a package.
    const needed = packages.flatMap(({ depends, recommends }) => [...depends, ...recommends]);
    const debian = await debianMachine(
      'packages',
      needed.map((one) => one.replace(/ .*/, '')),
    );
    const disk = await diskWithPackages(dir);
    const machine = resources.use(await makeMachine());
    guest = resources.use(await machine.boot(debian.files, { memory: 2048, disks: [debian.disk, disk] }));
    await guest.shell(`mount -o ro /dev/vdc /mnt && systemctl is-system-running --wait
echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/nobody-is-asked`);
  });
  after(() => resources.disposeAsync());

  /** Types what a page says, in `/etc/assay`. */
  const type = (line: string, [word, value]: readonly [string, string] = ['', '']) =>
    guest.shell(`${person}cd /etc/assay && ${typed(line).replace(word, value)}`);
  const assay = (command: string) => guest.shell(`${person}assay ${command}`);
  /** The server first, as docs/upgrade.md says. */
  const install = async (folder: 'first' | 'next') => {
    for (const name of ['assay-server', 'assay-agent']) {
      const line = typed(`apt install ./${name}_${version}_amd64.deb`);
      const file = folder === 'first' ? line : line.replace('_amd64', '-2_amd64');
      await guest.shell(`cd /mnt/${folder} && ${file}`);
    }
  };
  /** Of all that runs, and not of an earlier program that has its files still open. */
  const isRunning = async () => {
    assert.equal(
      await guest.shell(`systemctl is-active ${units.join(' ')} || true`),
      'active\n'.repeat(units.length),
    );
    assert.equal(await guest.shell('systemctl --failed --no-legend'), '');
    assert.doesNotMatch(await guest.shell(programs), /assay.*deleted/);
    const log = await guest.shell("journalctl -b -o cat -u 'assay*'");
    assert.deepEqual(
      log.split('\n').filter((line) => complaint.test(line)),
      [],
    );
  };
  const trusted = async () => {
    const text = await type('assay get nodes worker-1 --wait trusted');
    assert.match(text, /^worker-1 .*\btrusted\b/m);
  };

  it('start nothing until they are configured, and then make a node trusted as docs/install.md says', async () => {
    await install('first');
    assert.equal(
      await guest.shell(`systemctl is-active ${units.join(' ')} || true`),
      'inactive\n'.repeat(units.length),
    );
    await guest.shell(examples);
    await guest.shell(`cat >/etc/assay/policy.yaml <<'END'\n${policy()}END\n`);
    await type('systemctl start assay-server');
    await guest.shell(listens);
    await type('(umask 077; assay join-token create --node worker-1 > worker-1.token)');
    await type('chown assay-agent /etc/assay/worker-1.token');
    await type('systemctl start assay-agent');
    await guest.shell(logged('ek_untrusted_root'));
    const { items } = waiting.parse(JSON.parse(await assay('enrol list -o json')));
    await type('assay enrol approve worker-1 --ek DIGEST', ['DIGEST', `${items[0]?.ek}`]);
    await guest.shell('until [ -e /var/lib/assay-agent/enrolled ]; do sleep 1; done');
    // A slow machine may not have read all for its first answer: then there is nothing to capture yet.
    for (const reference of ['--name workers-1', '--kind firewall --name workers-1-rules'])
      await guest.shell(
        `${person}until ${typed(`assay reference capture worker-1 ${reference}`)}; do sleep 5; done`,
      );
    await trusted();
    await isRunning();
  });

  it('run the agent without any right of root', async () => {
    const status = await guest.shell('cat /proc/$(systemctl show -P MainPID assay-agent)/status');
    assert.deepEqual(
      status.match(/^Cap.*$/gm)?.map((line) => line.split(/\s+/)[1]),
      Array(5).fill('0'.repeat(16)),
    );
    assert.doesNotMatch(status, /^Uid:\s+0\b/m);
  });

  it('run the new programs after an upgrade, and the node proves itself anew without being enrolled again', async () => {
    const before = await known();
    await upgrade();
    const versions = await guest.shell('dpkg-query -W assay-agent assay-server');
    assert.match(versions, /^assay-agent\t(\S+-2)\nassay-server\t\1\n$/);
    assert.deepEqual(await known(), before);
  });

  it('leave state and keys when they are removed, and go on with them when they are installed again', async () => {
    const before = await known();
    await guest.shell(`install -D -m 0644 ${examplesOf}/assay-cap.require.conf /etc/systemd/system/kubelet.service.d/assay-cap.conf
systemctl enable assay-cap`);
    const capLeft = await type('apt remove assay-agent');
    assert.match(capLeft, /open by their recovery passphrases alone/);
    const [, hint = ''] = /start then: (rm \S+)$/m.exec(capLeft) ?? assert.fail(capLeft);
    await guest.shell(`${typed(hint)}\nrm /etc/systemd/system/multi-user.target.wants/assay-cap.service`);
    await type('apt remove assay-server');
    assert.equal(await guest.shell("systemctl list-units --no-legend 'assay*'"), '');
    assert.equal(await guest.shell("systemctl list-unit-files --no-legend 'assay*' || true"), '');
    assert.doesNotMatch(await guest.shell(programs), /assay/);
    assert.equal(await guest.shell('find /usr -name "*assay*"'), '');
    const said = `${await type('apt purge assay-agent')}${await type('apt purge assay-server')}`;
    for (const left of ['/etc/assay', '/var/lib/assay', '/var/lib/assay-agent'])
      assert.ok(said.includes(`: ${left} stays`), said);
    assert.equal(await guest.shell('find /etc/default /etc/systemd -name "*assay*"'), '');
    assert.equal(await guest.shell(state), before[0]);
    await upgrade();
    assert.deepEqual(await known(), before);
  });

  const known = async () => [
    await guest.shell(state),
    enrolments.parse(JSON.parse(await assay('get enrolments -o json'))),
  ];

  /** Until the agent that was started by it has proven the node. */
  async function upgrade(): Promise<void> {
    await install('next');
    await guest.shell(judged);
    await trusted();
    await isRunning();
  }
});

/** An image with both versions of the packages, in folders. */
async function diskWithPackages(dir: string): Promise<string> {
  const content = join(dir, 'content');
  const built = await buildPackages({
    root,
    out: join(dir, 'built'),
    architectures: ['amd64'],
    revisions: [null, '2'],
    epoch: null,
    tool: fetchingTool(process.env),
    say: () => {},
  });
  for (const { version, file } of built) {
    const folder = join(content, version.endsWith('-2') ? 'next' : 'first');
    await mkdir(folder, { recursive: true });
    await rename(file, join(folder, basename(file)));
  }
  const image = join(dir, 'packages.img');
  await run('mke2fs', ['-q', '-t', 'ext4', '-d', content, image, '300M'], {
    timeoutMs: 60_000,
    maxOutputBytes: 65_536,
  });
  return image;
}
