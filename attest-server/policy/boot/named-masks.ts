/** How the two places of a system that updates itself in turns are called, so that both compare as one. */
interface NamedMask {
  /** For people: what is masked. */
  readonly masks: string;
  /** Where that is written down. */
  readonly source: string;
  /** In a kernel's command line: one whole argument. */
  readonly argument?: Alternates;
  /** In a loader: one whole command, its disks masked already. */
  readonly commands: readonly Alternates[];
}

interface Alternates {
  readonly either: RegExp;
  readonly as: string;
}

export const maskNames = ['ostree', 'flatcar', 'bottlerocket', 'eve'] as const;
export type MaskName = (typeof maskNames)[number];

/** Digests, root hashes of dm-verity and names of systems are in none of them. */
export const namedMasks: Readonly<Record<MaskName, NamedMask>> = {
  ostree: {
    masks: 'which of its two lists of deployments OSTree boots, and the index in it; name and checksum stay',
    source: 'OSTree, docs/atomic-upgrades.md, “The /ostree/boot directory”',
    argument: {
      either: /^ostree=\/ostree\/boot\.[01](?:\.[01])?\/([\w.+-]+\/[0-9a-f]{64})\/\d{1,4}$/,
      as: 'ostree=/ostree/boot.<n>/$1/<n>',
    },
    // The folder is called by a checksum over the kernel and the initrd in it, and both of them are measured.
    commands: [
      {
        either: /^(initrd (?:\([<>\w,]*\))?(?:\/boot)?\/ostree\/[\w.+-]+-)[0-9a-f]{64}(\/[\w.+-]+)$/,
        as: '$1<checksum>$2',
      },
    ],
  },
  flatcar: {
    masks: 'which of USR-A and USR-B Flatcar boots, in the names of its kernel, slot and slot file',
    source: 'flatcar/scripts, build_library/grub.cfg',
    commands: [
      { either: /^(set gptprio_kernel=\/(?:flatcar|coreos)\/vmlinuz-)[ab]$/, as: '$1<slot>' },
      // Also by a function of its configuration, whose call GRUB measures like any command.
      { either: /^(set slot=|load_slot )[ab]$/, as: '$1<slot>' },
      { either: /^(configfile \S+\/flatcar\/load-)[ab]$/, as: '$1<slot>' },
      {
        either: /^(verify_detached \S+\/flatcar\/load-)([ab])( \S+\/flatcar\/load-)\2(\.sig)$/,
        as: '$1<slot>$3<slot>$4',
      },
    ],
  },
  bottlerocket: {
    masks: 'which of BOTTLEROCKET-BOOT-A and BOOT-B (partitions 3 and 8) is read',
    source: 'bottlerocket-os/twoliter, twoliter/embedded/rpm2img and partyplanner',
    commands: [{ either: /(<hd\d+>,gpt)[38](?![\w,])/g, as: '$1<bank>' }],
  },
  eve: {
    masks: 'which of IMGA and IMGB (partitions 2 and 3) is read',
    source: 'lf-edge/eve, pkg/mkimage-raw-efi/make-raw and pkg/grub/rootfs.cfg',
    commands: [{ either: /(<hd\d+>,gpt)[23](?![\w,])/g, as: '$1<image>' }],
  },
};

/** An argument, as it is compared under these masks. */
export function maskArgument(word: string, masks: readonly MaskName[]): string {
  let masked = word;
  for (const name of masks) {
    const { argument } = namedMasks[name];
    if (argument !== undefined) masked = masked.replace(argument.either, argument.as);
  }
  return masked;
}

/** A command of a loader, as it is compared under these masks. @param command its disks are masked */
export function maskCommand(command: string, masks: readonly MaskName[]): string {
  let masked = command;
  for (const name of masks) {
    const { commands } = namedMasks[name];
    for (const { either, as } of commands) masked = masked.replace(either, as);
  }
  return masked;
}
