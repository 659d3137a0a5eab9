import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { DigestList } from '../../../../../attest-server/formats/digest-list.ts';
import { atOnce } from '../../../../../attest-server/formats/in-steps.ts';
import { keepsContent } from '../../../../../attest-server/formats/initrd-kinds.ts';
import type { ListedFile } from '../../../../../attest-server/formats/packed-list.ts';
import { captureInitrds } from '../../../../../attest-server/policy/boot/initrd/capture.ts';
import {
  type JudgedInitrd,
  judgeInitrd,
} from '../../../../../attest-server/policy/boot/initrd/judge-initrd.ts';
import { listedFiles } from '../../../../../attest-server/policy/listed-files.ts';
import type { Proven } from '../../../../../attest-server/verify/proven.ts';
import { file, folder, link, mode, type NewcEntry, newc } from '../../../../../swtpm-fixtures/newc.ts';
import { asRead } from '../../../../swtpm-fixtures/recorded-initrd.ts';
import { readInitrd } from '../../../verify/initrd/read-initrd.ts';
import { runtimeReference } from '../../made-files.ts';
import { policyOf } from '../../made-proof.ts';

/** Of an image with these entries, by a list of these files. */
async function judged(
  known: Readonly<Record<string, string>>,
  ...archives: readonly (readonly NewcEntry[])[]
): Promise<JudgedInitrd> {
  const files = Object.entries(known).map(([path, text]) => ({
    path,
    digest: hash('sha256', text, 'buffer'),
    package: null,
  }));
  return judgedBy(DigestList.of(files), ...archives);
}

async function judgedBy(
  files: DigestList,
  ...archives: readonly (readonly NewcEntry[])[]
): Promise<JudgedInitrd> {
  const listed = atOnce(listedFiles(runtimeReference(files)));
  assert.ok(listed);
  const manifest = await readInitrd(Buffer.concat(archives.map((one) => newc(one))), { keepsContent });
  return atOnce(judgeInitrd(manifest, { active: [listed], revoked: [], idle: [] }));
}

/** What a capture of a node with this initrd lists. */
async function captured(entries: readonly NewcEntry[]): Promise<readonly ListedFile[]> {
  const proven = { boot: { initrds: [asRead(await readInitrd(newc(entries), { keepsContent }))] } };
  const [group] = policyOf().groups;
  assert.ok(group);
  const about = { name: 'c', node: 'n', group, state: 'active', by: 'me', at: 0 } as const;
  const { runtime } = atOnce(captureInitrds(proven as unknown as Proven, about));
  return [...DigestList.fromBytes(Buffer.from(runtime?.files ?? '', 'base64')).files()];
}

const unknownIn = async (...image: Parameters<typeof judged>) =>
  (await judged(...image)).unknown.map(({ entry }) => entry.path);

describe('entries of an archive, judged', () => {
  const table = 'kernel/firmware/acpi/dsdt.aml';
  const tables = { [`/${table}`]: 'good' };
  const folders = ['kernel', 'kernel/firmware', 'kernel/firmware/acpi'].map(folder);

  it('know a table of the firmware by its list', async () => {
    assert.deepEqual(await unknownIn(tables, [...folders, file(table, 'good')]), []);
  });

  it('know no table that is read early, though its folder comes later and a good one with it (row 240)', async () => {
    assert.deepEqual(await unknownIn(tables, [file(table, 'evil'), ...folders, file(table, 'good')]), [
      table,
    ]);
  });

  it('are at fault with a table that is read early, and lies elsewhere through a link (row 240)', async () => {
    const elsewhere = ['etc', 'etc/firmware', 'etc/firmware/acpi'].map(folder);
    const { faults } = await judged(tables, [
      ...elsewhere,
      link('kernel', 'etc'),
      file(table, 'evil'),
      folder('etc/firmware/acpi/dsdt.aml'),
      folder('kernel'),
    ]);
    assert.deepEqual(
      faults.map(({ code }) => code),
      ['path'],
    );
  });

  for (const [what, entry] of [
    ['that belongs to somebody else', { mode: mode.program, uid: 1000 }],
    ['that a group of others may write', { mode: 0o100775, gid: 1000 }],
  ] as const)
    it(`do not know a known program ${what} (row 192)`, async () => {
      const known = { '/init': 'init' };
      assert.deepEqual(await unknownIn(known, [{ name: 'init', content: 'init', ...entry }]), ['init']);
      const safe = { name: 'init', content: 'init', mode: 0o100755, gid: 1000 };
      assert.deepEqual(await unknownIn(known, [safe]), []);
    });

  it('do not know a folder that belongs to somebody else (row 192)', async () => {
    assert.deepEqual(await unknownIn({}, [{ ...folder('etc'), uid: 1000 }]), ['etc']);
  });

  for (const [what, line] of [
    ['is a disk under the name of another', 'dm_mod mapper/root b8:16'],
    ['lies elsewhere', 'dm_mod a/../../etc c10:236'],
  ] as const)
    it(`do not know a list of devices with one that ${what} (row 241)`, async () => {
      const modules = 'usr/lib/modules/6.12';
      const known = { [`/${modules}/dm-mod.ko`]: 'module' };
      const begin = [
        ...['usr', 'usr/lib', 'usr/lib/modules', modules].map(folder),
        file(`${modules}/dm-mod.ko`, 'module'),
      ];
      const list = (text: string) => file(`${modules}/modules.devname`, `# nodes\n${text}\n`);
      assert.deepEqual(await unknownIn(known, [...begin, list('dm_mod mapper/control c10:236')]), []);
      assert.deepEqual(await unknownIn(known, [...begin, list(line)]), [`${modules}/modules.devname`]);
    });

  it('know what else is loaded before a module, also by an alias, as Debian’s usual kernel has it', async () => {
    const modules = 'usr/lib/modules/6.12';
    const listed = (text: string) =>
      unknownIn({}, [
        ...['usr', 'usr/lib', 'usr/lib/modules', modules].map(folder),
        file(`${modules}/modules.softdep`, `# Soft dependencies\n${text}\n`),
      ]);
    for (const line of ['softdep intel_lpss pre: platform:idma64', 'softdep amd_pmf pre: amdtee post: a-b'])
      assert.deepEqual(await listed(line), [], line);
    for (const line of [
      'install intel_lpss platform:idma64',
      'softdep intel_lpss pre: platform:idma64\\',
      'softdep a pre: /evil',
    ])
      assert.deepEqual(await listed(line), [`${modules}/modules.softdep`], line);
  });

  /** As the hooks of Debian's dropbear and console-setup write them, which let mktemp find names. */
  function madeWith(name: string, key = 'key', loads = 'loadkeys'): readonly NewcEntry[] {
    const [home, keymap] = [`root-${name}`, `etc/console-setup/tmpkbd.${name.slice(4)}`];
    const setupcon = `#!/bin/sh\n${loads} '/${keymap}' > '/dev/null'\nexit 0\n`;
    return [
      ...['etc', 'etc/console-setup', 'usr', 'usr/bin', home, `${home}/.ssh`].map(folder),
      file('etc/passwd', `root:*:0:0::/${home}:/bin/sh\n`),
      file('etc/group', 'root:!:0:\n'),
      file('etc/nsswitch.conf', 'passwd: files\ngroup: files\n'),
      file('.random-seed', `seed ${name}`),
      file(`${home}/.ssh/authorized_keys`, key),
      file(keymap, 'keymap'),
      { ...file('usr/bin/setupcon', setupcon), mode: mode.program },
    ];
  }
  const vouched = ['etc/console-setup/tmpkbd.', 'usr/bin/setupcon', 'root-'];

  it('know what somebody vouches for again after names and seeds are made anew', async () => {
    const files = (await captured(madeWith('abcdefghij'))).filter(({ path }) =>
      vouched.some((one) => path.startsWith(`/${one}`)),
    );
    const others = async (...all: Parameters<typeof madeWith>) =>
      (await judgedBy(DigestList.of(files), madeWith(...all))).unknown.map(({ entry }) => entry.path);
    assert.deepEqual(await others('0123456789'), []);
    assert.deepEqual(await others('0123456789', 'another key'), ['root-0123456789/.ssh/authorized_keys']);
    assert.deepEqual(await others('0123456789', 'key', 'sh'), ['usr/bin/setupcon']);
  });

  it('know the settings of mdadm again that are generated each time, but no other ones', async () => {
    const path = 'etc/mdadm/mdadm.conf';
    const at = (date: string, rest = 'HOMEHOST <system>') => [
      ...['etc', 'etc/mdadm'].map(folder),
      file(path, `${rest}\n# This configuration was auto-generated on ${date} by mkconf\n`),
    ];
    const list = DigestList.of(await captured(at('Fri, 27 Nov 2026 18:28:06 +0000')));
    const others = async (...all: Parameters<typeof at>) =>
      (await judgedBy(list, at(...all))).unknown.map(({ entry }) => entry.path);
    assert.deepEqual(await others('Sat, 05 Dec 2026 09:01:00 +0100'), []);
    assert.deepEqual(await others('Sat, 05 Dec 2026 09:01:00 +0100', 'PROGRAM /evil'), [path]);
    const long = `HOMEHOST <system>\n${'#\n'.repeat(40_000)}`;
    const whole = DigestList.of(await captured(at('Fri, 27 Nov 2026 18:28:06 +0000', long)));
    assert.equal((await judgedBy(whole, at('Fri, 27 Nov 2026 18:28:06 +0000', long))).unknownCount, 0);
    assert.equal((await judgedBy(whole, at('Sat, 28 Nov 2026 18:28:06 +0000', long))).unknownCount, 1);
    assert.deepEqual(
      await others('x by mkconf\nPROGRAM /evil\n# This configuration was auto-generated on y'),
      [path],
    );
  });

  for (const path of [
    'etc/modprobe.d/blacklist.conf',
    'etc/sysctl.d/50-default.conf',
    'etc/tmpfiles.d/dev.conf',
    'run/systemd/system/a.service',
    'run/udev/rules.d/60-a.rules',
  ])
    it(`do not know ${path} without a byte, which masks another one`, async () => {
      const parts = path.split('/').slice(0, -1);
      const folders = parts.map((_, count) => folder(parts.slice(0, count + 1).join('/')));
      assert.deepEqual(await unknownIn({}, [...folders, file(path, ''), file('etc/empty', '')]), [path]);
    });

  it('know the units of NetworkManager that dracut has wanted, and its setting', async () => {
    const setting = '/usr/lib/dracut/modules.d/35network-manager/initrd-no-auto-default.conf';
    const unit = (target: string, name: string) =>
      link(`etc/systemd/system/${target}.wants/${name}`, `/usr/lib/systemd/system/${name}`);
    const all = [
      'etc etc/systemd etc/systemd/system etc/systemd/system/initrd.target.wants',
      'etc/systemd/system/network-online.target.wants etc/systemd/system/sysinit.target.wants',
      'usr usr/lib usr/lib/NetworkManager usr/lib/NetworkManager/conf.d',
    ].flatMap((some) => some.split(' ').map(folder));
    assert.deepEqual(
      await unknownIn({ [setting]: 'setting' }, [
        ...all,
        unit('initrd.target', 'nm-initrd.service'),
        unit('network-online.target', 'nm-wait-online-initrd.service'),
        unit('sysinit.target', 'nm-initrd.service'),
        file('usr/lib/NetworkManager/conf.d/initrd-no-auto-default.conf', 'setting'),
      ]),
      ['etc/systemd/system/sysinit.target.wants/nm-initrd.service'],
    );
  });

  it('know no user but the one that a hook made, with its own folder, and no seed that may be run', async () => {
    const home = 'root-abcdefghij';
    const passwd = (text: string) => unknownIn({}, [folder('etc'), folder(home), file('etc/passwd', text)]);
    assert.deepEqual(await passwd(`root:*:0:0::/${home}:/bin/sh\n`), []);
    assert.deepEqual(await passwd('root:*:0:0::/root-jihgfedcba:/bin/sh\n'), ['etc/passwd']);
    assert.deepEqual(await passwd(`root::0:0::/${home}:/bin/bash\n`), ['etc/passwd']);
    const seed = { ...file('.random-seed', 'seed'), mode: mode.program };
    assert.deepEqual(await unknownIn({}, [seed, folder('etc'), file('etc/.random-seed', 'seed')]), [
      '.random-seed',
      'etc/.random-seed',
    ]);
  });

  it('know a copy of os-release in its other place, and ntfs-3g with the rights that its package gives it', async () => {
    const known = { '/usr/lib/os-release': 'ID=debian', '/usr/bin/ntfs-3g': 'ntfs' };
    assert.deepEqual(
      await unknownIn(known, [
        ...['etc', 'usr', 'usr/bin'].map(folder),
        file('etc/os-release', 'ID=debian'),
        { ...file('usr/bin/ntfs-3g', 'ntfs'), mode: 0o104755 },
      ]),
      [],
    );
  });
});
