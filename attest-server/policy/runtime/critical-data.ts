/**
 * Whether the kernel names so what is another thing on each machine, or after each change of it: it says what runs, not that
 * something is wrong. No model for others, and other aspects judge what it is about.
 */
export function isCriticalData(name: string): boolean {
  return /^(?:kernel_version|selinux-[a-z-]+|dm_[a-z_]+)$/.test(name);
}
