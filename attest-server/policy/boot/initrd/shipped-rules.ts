import type { InitrdMaker } from './initrd-maker.ts';

/**
 * The makers of initrds and their files, from their source and from images that they made. A row is data: what may follow from
 * it is in `initrd-rules.ts`.
 */
export const initrdMakers: readonly InitrdMaker[] = [
  {
    source: 'initramfs-tools 0.148.4 (mkinitramfs, hook-functions), klibc 2.0.14; Debian 13',
    seen: '2026-11-27',
    moves: [
      [/^\/usr\/share\/initramfs-tools\/(?<name>init)$/, /^\/(?<name>init)$/],
      [/^\/(?:usr\/share|etc)\/initramfs-tools\/(?<name>scripts\/.+)$/, /^\/(?<name>scripts\/.+)$/],
      [
        /^\/(?:usr\/share|etc)\/initramfs-tools\/(?<name>(?:conf\.d\/[^/]+|initramfs\.conf))$/,
        /^\/conf\/(?<name>.+)$/,
      ],
      [/^\/usr\/lib\/klibc\/bin\/(?<name>[^/]+)$/, /^\/usr\/s?bin\/(?<name>[^/]+)$/],
      [/^\/usr\/bin\/(?<name>busybox)$/, /^\/usr\/lib\/initramfs-tools\/bin\/(?<name>busybox)$/],
      [/^\/usr\/lib\/initramfs-tools\/bin\/(?<name>busybox)$/, /^\/usr\/bin\/(?<name>busybox)$/],
    ],
    made: [
      { kind: 'empty', at: /^conf\// },
      { kind: 'order', at: /^scripts\/[^/]+\/ORDER$/ },
      {
        kind: 'settings',
        at: /^conf\/(?:initramfs\.conf|arch\.conf|conf\.d\/[^/]+)$/,
        // What says where to boot from, or what to run, is none of them.
        assigns: [
          [/^(?:MODULES|BUSYBOX|COMPRESS|COMPRESSLEVEL|KEYMAP|RUNSIZE|DPKG_ARCH|UMASK)$/, /^[a-z0-9%-]*$/i],
          [/^(?:FSTYPE|NFSROOT)$/, /^(?:auto)?$/],
          [/^DEVICE$/, /^$/],
          [/^RESUME$/, /^(?:none)?$/],
        ],
      },
      {
        kind: 'settings',
        at: /^conf\/modules$/,
        lines: /^(?:[ \t]*#.*|[ \t]*[A-Za-z0-9_-]*[ \t]*)$/,
        otherwise: 'it gives options to a module:',
      },
    ],
    texts: [
      [/^conf\/|^etc\/conf\.d\/[^/]+$/, 'settings that are run as shell'],
      [/^etc\/modprobe\.d\/[^/]+$/, 'how modules are loaded, which may run programs'],
    ],
  },
  {
    source: 'dracut 106 (dracut-init.sh, modules.d); Debian 13. Its layout is that of Fedora and RHEL',
    seen: '2026-11-27',
    // Each module says where its files go; hooks get a number.
    moves: [
      [
        /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/(?<name>[^/]+\.sh)$/,
        /^\/(?:usr|var)\/lib\/dracut\/hooks\/(?:[^/]+\/){1,2}\d{2}-(?<name>[^/]+)$/,
      ],
      [
        /^\/usr\/lib\/dracut\/(?:modules\.d\/[^/]+\/)?(?<name>[^/]+?)(?:\.sh)?$/,
        /^\/(?:usr\/(?:bin|sbin|lib|libexec)\/)?(?<name>[^/]+?)(?:\.sh)?$/,
      ],
      [
        /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/(?<name>[^/]+?)(?:\.sh)?$/,
        /^\/usr\/lib\/(?:systemd\/system-generators\/)?dracut-(?<name>[^/]+?)(?:\.sh)?$/,
      ],
      [
        /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/(?<name>[^/]+)$/,
        /^\/(?:etc|usr\/lib)\/(?:udev\/rules\.d|udev|systemd\/(?:system|network|[a-z]+\.conf\.d)|NetworkManager\/conf\.d|tmpfiles\.d|sysusers\.d|modprobe\.d|sysctl\.d)\/(?<name>[^/]+)$/,
      ],
      [
        /^\/usr\/lib\/dracut\/modules\.d\/[^/]+\/emergency\.service$/,
        /^\/usr\/lib\/systemd\/system\/rescue\.service$/,
      ],
    ],
    links: [
      [/^usr\/lib\/dracut\/hooks$/, /^(?:\.\.\/)*\/?var\/lib\/dracut\/hooks$/],
      [/^usr\/bin\/dracut-getargs?$/, /^dracut-util$/],
      // It keeps udev's rules from asking a logind that is not there.
      [/^usr\/bin\/loginctl$/, /^true$/],
    ],
    // Attack: a unit that is known and wanted by nobody, as debug-shell.service, is wanted here.
    units: [
      /^etc\/systemd\/system\/(?:initrd\.target\.wants\/(?:dracut-[a-z-]+|nm-initrd|nm-wait-online-initrd)|network-online\.target\.wants\/nm-wait-online-initrd)\.service$/,
    ],
    made: [
      { kind: 'empty', at: /^usr\/lib\/(?:passwd|group)$/ },
      { kind: 'empty', at: /^var\/lib\/iscsi\/nodes\/\.dracut$/ },
      { kind: 'empty', at: /^usr\/lib\/dracut\/(?!hooks\/)/ },
      { kind: 'empty', at: /^usr\/lib\/systemd\/system\/emergency\.service$/ },
      {
        kind: 'text',
        at: /^usr\/lib\/dracut\/(?:build-parameter\.txt|modules\.txt|dracut-[0-9][^/]*)$/,
        lines: /^/,
      },
    ],
    texts: [
      [/^(?:etc\/cmdline\.d\/[^/]+\.conf|etc\/cmdline)$/, 'more words of the command line'],
      [
        /^(?:etc|usr\/lib)\/(?:systemd\/network\/[^/]+|netplan\/[^/]+)$|^run\/net[^/]*\.conf$/,
        'settings of the network',
      ],
    ],
  },
  {
    source: 'all of them: the merged /usr, glibc 2.41, systemd 257; Debian 13',
    seen: '2026-11-27',
    // One program, in whichever of both folders.
    moves: [[/^\/usr\/s?bin\/(?<name>[^/]+)$/, /^\/usr\/s?bin\/(?<name>[^/]+)$/]],
    links: [
      [/^(?:bin|sbin|lib|lib32|lib64|libx32)$/, /^\/?usr\/(?:bin|sbin|lib|lib32|lib64|libx32)$/],
      [/^usr\/sbin$/, /^(?:\/usr\/)?bin$/],
      [/^etc\/mtab$/, /^(?:\.\.)?\/proc\/(?:self\/)?mounts$/],
      [/^var\/(?:run|lock)$/, /^(?:\.\.)?\/run(?:\/lock)?$/],
      [/^(?:init|usr\/sbin\/init)$/, /^(?:\/?usr|\.\.)\/lib\/systemd\/systemd$/],
      [/^(?:etc|usr\/lib)\/(?:initrd|os)-release$/, /^(?:(?:\.\.|\/)\/?usr\/lib\/)?(?:initrd|os)-release$/],
      [/^usr\/lib\/systemd\/system\/default\.target$/, /^initrd\.target$/],
    ],
    made: [
      // Attack: a unit, a rule of udev or a script is emptied, which masks it, as in each folder of which /usr/lib has another one.
      {
        kind: 'empty',
        at: /^(?:etc|run)\/(?!(?:systemd|udev|(?:modprobe|sysctl|tmpfiles|sysusers|modules-load|environment)\.d)\/)/,
      },
      { kind: 'modules', at: /^(?:usr\/)?lib\/modules\/[^/]+\/modules\.[a-z.]+$/ },
      { kind: 'libraries', at: /^etc\/ld\.so\.cache$/ },
      {
        kind: 'folders',
        at: /^etc\/ld\.so\.conf(?:\.d\/[^/]+\.conf)?$/,
        lines:
          /^(?!.*\.\.)(?:#.*|[ \t]*|include \/etc\/ld\.so\.conf\.d\/\*\.conf|\/(?:usr\/)?(?:local\/)?lib[A-Za-z0-9_./-]*)$/,
      },
      {
        kind: 'settings',
        at: /^usr\/lib\/(?:initrd|os)-release$/,
        // As os-release has them: nobody asks for another name by these.
        assigns: [[/^(?:[A-Z][A-Z_]*_)?(?:NAME|ID|LIKE|VERSION|CODENAME|URL|COLOR|LOGO|VARIANT|END)$/, /^/]],
      },
      { kind: 'text', at: /^etc\/motd$/, lines: /^/ },
    ],
    texts: [[/^etc\/fstab(?:\..+)?$/, 'what is mounted']],
    unread: [
      [/^(?:etc|usr\/lib)\/udev\/rules\.d\/[^/]+$/, 'rules of udev, which may run programs'],
      [/\/hwdb\.bin$/, 'made by systemd-hwdb, the same where its packages are'],
      [/^kernel\/x86\/microcode\//, 'microcode, the same where its package and processors are'],
      [/^etc\/(?:passwd|group|shadow|gshadow)-?$/, 'users'],
      [/^etc\/(?:default\/|console-setup\/|boottime\.kmap|vconsole\.conf)/, 'keyboard and console'],
    ],
    devices: 'console 5:1, null 1:3, zero 1:5, full 1:7, random 1:8, urandom 1:9, kmsg 1:11, tty 5:0'.split(
      ', ',
    ),
    setuid: (
      'mount umount su passwd newgrp chsh chfn gpasswd unix_chkpwd ping dbus-daemon-launch-helper write wall ' +
      'mount.nfs ssh-agent fusermount fusermount3 ntfs-3g'
    ).split(' '),
  },
  {
    source:
      'hooks of plymouth 24.004.60, console-setup 1.242, mdadm 4.4, open-iscsi 2.1.11, multipath-tools 0.11.1; Debian 13',
    seen: '2026-11-27',
    moves: [[/^\/usr\/lib\/(?<name>os-release)$/, /^\/etc\/(?<name>os-release)$/]],
    texts: [
      [/^etc\/(?:mdadm\.conf|mdadm\/mdadm\.conf(?:\.tmp)?)$/, 'which RAID arrays are started'],
      [/^usr\/bin\/setupcon$/, 'how the keyboard is set up, which is run as shell'],
      [/^etc\/initiatorname\.iscsi$/, 'as what this host asks for disks'],
      [/^etc\/multipath\/(?:wwids|bindings)$/, 'which disks are one'],
    ],
    temporary: [
      [/(?<![\w.-])tmpkbd\.[A-Za-z0-9]{6}(?![\w.-])/g, 'tmpkbd.XXXXXX'],
      // mdadm's hook writes when it found no arrays.
      [
        /^(# This configuration was auto-generated) on [A-Za-z]+, [A-Za-z0-9:+ -]{1,40} (by mkconf)$/gm,
        '$1 $2',
      ],
    ],
    places: /^\/etc\/console-setup\/tmpkbd\.[A-Za-z0-9]{6}$/,
  },
  {
    source: 'hooks of cryptsetup 2.7.5, dropbear 2025.89, overlayroot 0.18; Debian 13',
    seen: '2026-11-27',
    moves: [[/^\/usr\/share\/cryptsetup\/initramfs\/bin\/(?<name>[^/]+)$/, /^\/usr\/s?bin\/(?<name>[^/]+)$/]],
    made: [
      // The bytes that overlayroot's hook reads of the kernel's random numbers, for its script to write there.
      { kind: 'seed', at: /^\.random-seed$/, most: 4096 },
      // What dropbear's hook writes of root, the one user that it needs, in a folder that it makes.
      {
        kind: 'login',
        at: /^etc\/passwd$/,
        text: 'root:*:0:0::/HOME:/bin/sh\n',
        home: /^root-[A-Za-z0-9]{10}$/,
      },
      { kind: 'login', at: /^etc\/group$/, text: 'root:!:0:\n' },
      { kind: 'login', at: /^etc\/nsswitch\.conf$/, text: 'passwd: files\ngroup: files\n' },
    ],
    texts: [[/^(?:cryptroot|etc)\/crypttab$/, 'which disks are opened, and how']],
    unread: [[/(?:^|\/)(?:\.ssh|dropbear|keyfiles)\//, 'keys']],
    temporary: [[/(?<![\w.-])root-[A-Za-z0-9]{10}(?![\w.-])/g, 'root-XXXXXXXXXX']],
    places: /^\/root-[A-Za-z0-9]{10}\//,
  },
];
