/** Files of an initrd that hosts make for themselves: what they say is read, so that the manifest keeps their bytes. */
const read: readonly RegExp[] = [
  /^scripts\/[^/]+\/ORDER$/,
  /^conf\/(?:[^/]+\.conf|conf\.d\/[^/]+)$/,
  /^(?:usr\/)?lib\/modules\/[^/]+\/modules\.[a-z.]+$/,
  /^etc\/(?:[^/]+|ld\.so\.conf\.d\/[^/]+|modprobe\.d\/[^/]+|modules-load\.d\/[^/]+|cmdline\.d\/[^/]+|conf\.d\/[^/]+)$/,
  /^etc\/(?:mdadm|lvm|multipath|cryptsetup-initramfs|netplan|systemd\/network|systemd\/system|udev\/rules\.d)\/.+$/,
  /^cryptroot\/[^/]+$/,
  /^run\/.+\.conf$/,
  /^(?:usr\/)?lib\/dracut\/[^/]+$/,
  /^(?:usr\/)?lib\/systemd\/network\/[^/]+$/,
];

/** True where a rule reads the file, or a person is shown it. @param path as an entry of the manifest has it */
export function keepsContent(path: string): boolean {
  return read.some((one) => one.test(path));
}
