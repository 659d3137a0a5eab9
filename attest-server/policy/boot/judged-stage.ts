import type { Stage } from '../../verify/tpm/event-stage.ts';
import type { ReasonCode } from '../../wire/reasons.ts';
import type { BootScope, InitrdScope } from './rules.ts';

/** The stages, in the order in which a boot runs through them: the first that differs is the cause. */
export const judgedStages = [
  'firmware',
  'driver',
  'secureboot',
  'loader',
  'kernel',
  'initrd',
  'cmdline',
  'other',
] as const satisfies readonly Stage[];
export type JudgedStage = (typeof judgedStages)[number];

/**
 * PCRs of which every event is judged. 1, 3 and 5 hold what differs from machine to machine, 10 and 15 grow while the
 * system runs, and 11 does once user space runs: it is judged where the log still replays onto it.
 */
export const judgedPcrs: ReadonlySet<number> = new Set([0, 2, 4, 6, 7, 8, 9, 11, 12, 13, 14]);

/**
 * A stage by its name in a log or reference; the sections of a unified image that are none are the kernel's. Attack: a section
 * that the log calls something of which a reference without sections has all.
 */
export function judgedStage(stage: string, pcr: number | null): JudgedStage {
  if (pcr === 11 && stage !== 'initrd' && stage !== 'cmdline') return 'kernel';
  return byName.get(stage) ?? 'other';
}

const byName: ReadonlyMap<string, JudgedStage> = new Map(judgedStages.map((stage) => [stage, stage]));

/** The machines that a reference speaks of at this stage; drivers go with the firmware, the rest with the group. */
export function scopeOf(stage: JudgedStage, scope: BootScope): InitrdScope {
  switch (stage) {
    case 'firmware':
    case 'driver':
      return scope.firmware;
    case 'loader':
      return scope.loader;
    case 'kernel':
      return scope.kernel;
    case 'initrd':
      return scope.initrd;
    default:
      return 'group';
  }
}

/** For people. */
export const stageNames: Readonly<Record<JudgedStage, string>> = {
  firmware: 'firmware',
  driver: 'firmware drivers',
  secureboot: 'Secure Boot settings',
  loader: 'boot loader',
  kernel: 'kernel',
  initrd: 'initrd',
  cmdline: 'command line',
  other: 'rest',
};

/** Code and words of what differs. */
export type Cause = readonly [ReasonCode, string];

/** The cause that replaces the one of Secure Boot's stage if it was measured as off. */
export const secureBootOff: Cause = ['secureboot_off', 'Secure Boot is turned off'];

export const stageCauses: Readonly<Record<JudgedStage, Cause>> = {
  firmware: ['firmware_unknown', 'The firmware has changed'],
  driver: ['firmware_unknown', 'A firmware driver has changed'],
  secureboot: ['secureboot_policy', 'The Secure Boot settings or keys have changed'],
  loader: ['bootloader_unknown', 'The boot loader or its configuration has changed'],
  kernel: ['kernel_unknown', 'The kernel has changed'],
  initrd: ['initrd_unknown', 'The initrd has changed'],
  cmdline: ['cmdline_policy', 'The kernel command line has changed'],
  other: ['pcr_mismatch', 'The boot differs'],
};
