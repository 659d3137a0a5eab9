/** Files of an initrd that hosts make for themselves: what they say is read, so that the manifest keeps their bytes. None of them is for secrets. */
const read: readonly RegExp[] = [
  /^scripts\/[^/]+\/ORDER$/,
  /^conf\/(?:[^/]+\.conf|modules|conf\.d\/[^/]+)$/,
  /^cryptroot\/crypttab$/,
  /^(?:usr\/)?lib\/modules\/[^/]+\/modules\.[a-z.]+$/,
  /^etc\/(?:crypttab|fstab(?:\..+)?|motd|ld\.so\.cache|ld\.so\.conf|cmdline|mdadm\.conf)$/,
  /^etc\/(?:mdadm|ld\.so\.conf\.d|modprobe\.d|cmdline\.d|conf\.d|netplan|systemd\/network)\/[^/]+$/,
  /^usr\/bin\/setupcon$/,
  /^etc\/(?:initiatorname\.iscsi|multipath\/(?:wwids|bindings))$/,
  /^usr\/lib\/systemd\/network\/[^/]+$/,
  /^usr\/lib\/(?:initrd|os)-release$/,
  /^usr\/lib\/dracut\/(?:[^/]+\.txt|dracut-[^/]+)$/,
  /^run\/net[^/]*\.conf$/,
];

/** True if a rule reads the file, or a person is shown it. @param path as an entry of the manifest has it */
export function keepsContent(path: string): boolean {
  return read.some((one) => one.test(path));
}
