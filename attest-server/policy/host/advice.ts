import type { Advice } from '../../wire/advice.ts';
import type { ReasonCode } from '../../wire/reasons.ts';

/** The next step for a person on a machine and its kernel as they run. */
export const advice: Readonly<Partial<Record<ReasonCode, Advice>>> = {
  ssh_reachable: [
    'On the node, see what listens, and switch it off:',
    '  systemctl status ssh.service sshd.service ssh.socket',
    '  systemctl disable --now ssh.service ssh.socket',
    'If SSH is wanted in this group, write host: {ssh: report} into the policy. If nobody knows who started it, take the node out of service.',
  ].join('\n'),
  kernel_outdated:
    'Install a newer kernel, and reboot the node into it. If it runs one that your distribution has patched under an old version number, lower host.kernel.minimum.',
  kernel_tainted: [
    'See in the kernel’s log what set the flag:',
    '  journalctl -k --grep taint',
    'A flag stays until the next boot. If it was set on purpose, reboot the node without its cause, or remove the letter from host.taints.forbid.',
    'E comes from modules built on the node (DKMS, GPU operators): if you want them, set host.taints.forbid without E, or sign them if the kernel is locked down.',
    'If nobody knows why it is there, treat the kernel as changed: take the node out of service.',
  ].join('\n'),
  lockdown_off:
    'Boot with Secure Boot, or with lockdown=integrity on the command line: nothing can switch lockdown on permanently later.',
  sysctl_policy: [
    'Set the sysctl in a file below /etc/sysctl.d, and load it:',
    '  systemctl restart systemd-sysctl.service',
    'If it comes back, find out which program sets it.',
  ].join('\n'),
};
