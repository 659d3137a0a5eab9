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
    'See in the log of the kernel what set the mark:',
    '  journalctl -k --grep taint',
    'A mark stays until the next boot. If it was set on purpose, reboot the node without that, or leave the letter out of host.taints.forbid.',
    'E comes from modules that are built on the node (DKMS, operators of GPUs): list host.taints.forbid without it where that is wanted, and sign them where the kernel is locked down.',
    'If nobody knows why it is there, treat the kernel as changed: take the node out of service.',
  ].join('\n'),
  lockdown_off:
    'Boot with Secure Boot, or with lockdown=integrity on the command line: nothing switches lockdown on for good later.',
  sysctl_policy: [
    'Set the sysctl in a file below /etc/sysctl.d, and load it:',
    '  systemctl restart systemd-sysctl.service',
    'If it comes back, find out which program sets it.',
  ].join('\n'),
};
