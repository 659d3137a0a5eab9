import type { EventData } from './event-data.ts';
import { grubLine, kernelLine } from './grub-text.ts';

/** The stage of a boot that an event measures. */
export type Stage =
  | 'firmware'
  | 'driver'
  | 'secureboot'
  | 'loader'
  | 'kernel'
  | 'initrd'
  | 'cmdline'
  | 'os'
  | 'other';

/** One event as far as its stage depends on it. */
export interface StagedEvent {
  readonly pcr: number;
  readonly type: string;
  readonly data: EventData;
}

/** Image names of kernels; a file in \EFI\Linux\ is a unified kernel image by the Boot Loader Specification. */
const kernelFile = /^(?:vmlinu[xz]|bzimage|linux(?![a-z])|kernel)/i;
const unifiedFolder = /\\EFI\\Linux\\[^\\]*$/i;
const initrdFile = /^(?:initrd|initramfs|initrafs|ucode|[a-z]+-ucode|microcode)|initramfs|initrd/i;
/** Linux's EFI stub names what it measures with a tag: the initrd, and the load options. */
export const stubTags = { initrd: 0x8f3b22ec, loadOptions: 0x8f3b22ed } as const;

/**
 * The stage of each event, from its type, PCR and data, and from what came before it: an image without a file
 * is the kernel's once a loader ran. Where the first boot option failed, firmware writes separators again, and starts over.
 */
export function eventStages(events: readonly StagedEvent[]): Stage[] {
  const last = lastImageBeforeStub(events);
  let loaded = false;
  return events.map((event, index) => {
    if (event.pcr === 4 && event.type === 'EV_SEPARATOR') loaded = false;
    const stage = stageOf(event, loaded, index === last);
    if (isApplication(event) && stage === 'loader') loaded = true;
    return stage;
  });
}

/**
 * A kernel that the firmware starts itself is known by what its EFI stub measures next. What measures files and commands
 * before the stub does is a loader.
 */
function lastImageBeforeStub(events: readonly StagedEvent[]): number {
  const isStub = ({ data }: StagedEvent) =>
    data.kind === 'tag' && (data.tag === stubTags.initrd || data.tag === stubTags.loadOptions);
  const stub = events.findIndex(isStub);
  const last = stub < 0 ? -1 : events.findLastIndex((event, index) => index < stub && isApplication(event));
  return last >= 0 && events.slice(last, stub).some(isOfLoader) ? -1 : last;
}

function isOfLoader({ type, pcr }: StagedEvent): boolean {
  return type === 'EV_IPL' && (pcr === 8 || pcr === 9);
}

function isApplication(event: StagedEvent): boolean {
  return event.type === 'EV_EFI_BOOT_SERVICES_APPLICATION' && event.data.kind === 'image';
}

function stageOf(event: StagedEvent, loaded: boolean, startsStub: boolean): Stage {
  const { type, pcr, data } = event;
  if (type === 'EV_NO_ACTION') return 'other';
  if (data.kind === 'image') return imageStage(event, loaded, startsStub);
  if (type === 'EV_EFI_VARIABLE_DRIVER_CONFIG' || type === 'EV_EFI_VARIABLE_AUTHORITY') return 'secureboot';
  if (type === 'EV_IPL' && data.kind === 'text') return textStage(pcr, data.text, data.utf16);
  if (data.kind === 'tag' && data.tag === stubTags.initrd) return 'initrd';
  if (data.kind === 'tag' && data.tag === stubTags.loadOptions) return 'cmdline';
  return byPcr[pcr] ?? 'other';
}

/** The stage of each PCR, unless the event itself says more. PC Client PFP 1.06, section 3.3.4. */
const byPcr: readonly Stage[] = [
  'firmware',
  'firmware',
  'driver',
  'driver',
  'loader',
  'loader',
  'firmware',
  'secureboot',
  'loader',
  'loader',
  'os',
  'os',
  'os',
  'os',
  'secureboot',
  'os',
];

function imageStage({ type, data }: StagedEvent, loaded: boolean, startsStub: boolean): Stage {
  if (type !== 'EV_EFI_BOOT_SERVICES_APPLICATION' || data.kind !== 'image') return 'driver';
  const { file, firmwareVolume } = data.image;
  if (firmwareVolume && file === '') return 'firmware';
  if (startsStub || unifiedFolder.test(file) || kernelFile.test(baseName(file))) return 'kernel';
  return file === '' && loaded ? 'kernel' : 'loader';
}

function textStage(pcr: number, text: string, utf16: boolean): Stage {
  const grub = utf16 ? null : grubLine(text);
  if (grub !== null) return kernelLine(grub) === null ? 'loader' : 'cmdline';
  if (text.startsWith('Mok') || text.startsWith('Sbat')) return 'secureboot';
  if (text.startsWith('.') && utf16) return sections[text] ?? 'os';
  // systemd measures the command line into PCR 12, before version 251 into PCR 8.
  if (pcr === 12 || (pcr === 8 && utf16)) return 'cmdline';
  if (pcr === 9 || pcr === 3) return fileStage(text);
  return byPcr[pcr] ?? 'other';
}

/** Sections of a unified kernel image, as systemd-stub measures them into PCR 11. */
const sections: Readonly<Record<string, Stage>> = {
  '.linux': 'kernel',
  '.initrd': 'initrd',
  '.cmdline': 'cmdline',
};

function fileStage(path: string): Stage {
  if (path === 'grub_linuxefi Kernel') return 'kernel';
  if (path === 'grub_linuxefi Initrd') return 'initrd';
  const base = baseName(path);
  if (kernelFile.test(base)) return 'kernel';
  return initrdFile.test(base) ? 'initrd' : 'loader';
}

function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
}
