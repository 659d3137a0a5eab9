import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runToEnd } from './child.mjs';

/** The needs of machines with software TPMs: a file that shows that a package is there, the Debian package, and why. */
const needed = [
  { program: 'swtpm', package: 'swtpm', why: 'the software TPM itself' },
  { program: 'swtpm_setup', package: 'swtpm-tools', why: 'makes a software TPM with its endorsement keys' },
  { program: 'certtool', package: 'gnutls-bin', why: 'signs the endorsement certificates' },
  { program: 'tpm2_quote', package: 'tpm2-tools', why: 'the commands that talk to a TPM' },
  { program: 'openssl', package: 'openssl', why: 'makes the certificates of the tests' },
  { program: 'setpriv', package: 'util-linux', why: 'ends a software TPM when its parent dies' },
  {
    library: /^libtss2-tcti-swtpm\.so\.0$/,
    package: 'libtss2-tcti-swtpm0',
    why: 'how tpm2-tools reaches a software TPM',
  },
  { program: 'nft', package: 'nftables', why: 'makes and reads the rules of each machine' },
  { program: 'mount', package: 'mount', why: 'gives them to machines of a user who is not root' },
];

/** The needs of tests beside them. */
const ofTests = [
  { program: 'systemd-analyze', package: 'systemd', why: 'judges the units of manifests/host' },
  { program: 'iptables-legacy', package: 'iptables', why: 'makes rules of firewalls in the older ways' },
  { program: 'cryptsetup', package: 'cryptsetup-bin', why: 'makes LUKS volumes in files' },
  { program: 'ip', package: 'iproute2', why: 'links in network namespaces' },
  { file: '/usr/lib/podman/netavark', package: 'netavark', why: 'writes the rules of containers of Podman' },
  {
    file: '/usr/lib/cni/portmap',
    package: 'containernetworking-plugins',
    why: 'writes the rules of pods with ports of the host',
  },
  { program: 'promtool', package: 'promtool', why: 'tries the alert rules on series, as Prometheus would' },
  { program: 'unzip', package: 'unzip', why: 'unpacks Helm, which renders the chart' },
  { program: 'dpkg-deb', package: 'dpkg', why: 'makes packages whose files are listed' },
  { program: 'xz', package: 'xz-utils', why: 'unpacks what most of them are packed with' },
  { program: 'ssh-keygen', package: 'openssh-client', why: 'signs directories of references' },
  { program: 'age', package: 'age', why: 'opens what is encrypted for the recovery of a disk' },
];

/** The needs of virtual machines beside them. */
const ofMachines = [
  { program: 'qemu-system-x86_64', package: 'qemu-system-x86', why: 'the virtual machine itself' },
  { file: '/usr/share/OVMF/OVMF_CODE_4M.fd', package: 'ovmf', why: 'its firmware' },
  { program: 'mkfs.vfat', package: 'dosfstools', why: 'makes the file system that it boots from' },
  { program: 'mcopy', package: 'mtools', why: 'puts files into it' },
  { program: 'busybox', package: 'busybox-static', why: 'what runs in it' },
  { program: 'lvm', package: 'lvm2', why: 'volumes below and above encryption, in it' },
  { program: 'dmsetup', package: 'dmsetup', why: 'what its mappings are, in it' },
  { program: 'depmod', package: 'kmod', why: 'lists the modules of its kernel' },
  { program: 'mke2fs', package: 'e2fsprogs', why: 'makes its file systems' },
  { program: 'xz', package: 'xz-utils', why: 'unpacks the drivers of its kernel' },
  { program: 'age', package: 'age', why: 'opens what is encrypted for the recovery of a disk of it' },
];

/** The needs of container images, which are built for both architectures and tried. */
const ofImages = [
  { program: 'buildah', package: 'buildah', why: 'makes container images' },
  { program: 'podman', package: 'podman', why: 'runs containers of them' },
  { program: 'runc', package: 'runc', why: 'starts each container; works with cgroups of both versions' },
  {
    program: 'newuidmap',
    package: 'uidmap',
    why: 'gives a user who is not root the owners of files in an image',
  },
  { program: 'readelf', package: 'binutils', why: 'says which libraries a program needs' },
  {
    program: 'x86_64-linux-gnu-strip',
    package: 'binutils-x86-64-linux-gnu',
    why: 'takes the symbols out of Node.js for amd64',
  },
  {
    program: 'aarch64-linux-gnu-strip',
    package: 'binutils-aarch64-linux-gnu',
    why: 'takes the symbols out of Node.js for arm64',
  },
];

const install = ['apt-get', 'install', '-y', '--no-install-recommends'];

/**
 * Installs the Debian packages that are missing. Throws with the one command to run where it may not.
 * @param tests those of tests, too
 * @param machines those of virtual machines, too
 * @param images those of container images, too
 */
export async function installDebianPackages(tests = false, machines = false, images = false) {
  const wanted = [
    ...needed,
    ...(tests ? ofTests : []),
    ...(machines ? ofMachines : []),
    ...(images ? ofImages : []),
  ];
  const missing = wanted.filter((need) => !isThere(need));
  if (missing.length === 0) return;
  const packages = missing.map((need) => need.package);
  for (const need of missing) process.stderr.write(`set-up: ${need.package} is missing: ${need.why}\n`);

  const elevation = await elevate();
  if (elevation === null || !onPath('apt-get')) {
    throw new Error(`may not install Debian packages here; run this once, then try again:
  ${asRoot(`apt-get update && ${[...install, ...packages].join(' ')}`)}`);
  }
  process.stderr.write(`set-up: installing ${packages.join(', ')}\n`);
  await runToEnd([...elevation, 'apt-get', 'update', '-qq']);
  await runToEnd([...elevation, 'env', 'DEBIAN_FRONTEND=noninteractive', ...install, '-qq', ...packages]);
  const still = missing.filter((need) => !isThere(need)).map((need) => need.package);
  if (still.length > 0)
    throw new Error(`${still.join(', ')} is installed, but what it should bring is not there`);
}

/** How to become root: not at all, through sudo without a password, or null. */
export async function elevate() {
  if (process.getuid?.() === 0) return [];
  if (!onPath('sudo')) return null;
  return runToEnd(['sudo', '-n', 'true'], { quiet: true }).then(
    () => ['sudo', '-n'],
    () => null,
  );
}

/** What a person types who is not root: a login shell of root has the programs of the packages on its path. */
export function asRoot(script) {
  return onPath('sudo') ? `sudo sh -c '${script}'` : `su - -c '${script}'`;
}

function isThere(need) {
  if (need.file) return existsSync(need.file);
  return need.program ? onPath(need.program) : hasLibrary(need.library);
}

function onPath(program) {
  // /usr/sbin is not on everybody's path.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Looks through /usr/lib and its folders per architecture. */
function hasLibrary(name) {
  const folders = ['/usr/lib', '/usr/lib64', '/usr/local/lib'];
  for (const entry of list('/usr/lib'))
    if (entry.endsWith('-linux-gnu')) folders.push(join('/usr/lib', entry));
  return folders.some((folder) => list(folder).some((entry) => name.test(entry)));
}

function list(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
