import { maskIdentifiers } from '../../../policy/boot/masked-text.ts';
import { authenticodeDigests } from '../../../verify/boot/pe-image.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { computedBanks, digestsOf } from '../boot/file.ts';
import type { ReferenceComponent } from '../boot-reference.ts';
import { loadOptions, stubCommandLine } from './load-options.ts';
import { type PeSection, peSections } from './pe-sections.ts';
import { combinedInitrd, stubArchive } from './stub-archive.ts';

/**
 * The sections that systemd-stub measures into PCR 11: a section's name and then its content. The name is the same
 * for everybody and is in no reference. UAPI specification of unified kernel images, 1.0.
 */
const measured: ReadonlyMap<string, string> = new Map([
  ['.linux', 'kernel'],
  ['.osrel', 'os'],
  ['.cmdline', 'cmdline'],
  ['.initrd', 'initrd'],
  ['.ucode', 'os'],
  ['.splash', 'os'],
  ['.dtb', 'os'],
  ['.hwids', 'os'],
  ['.uname', 'os'],
  ['.sbat', 'os'],
  ['.pcrpkey', 'os'],
]);

/** Sections of which the stub chooses one on the machine: nobody can say beforehand which. */
const chosen: ReadonlySet<string> = new Set(['.profile', '.dtbauto', '.efifw']);

/** Since which version the stub does what is measured besides its sections. */
const since = { keyArchive: 252, systemArchive: 257, startsKernelItself: 258 } as const;

/** Characters, as a reference has room for. */
const longestText = 4096;
/** Memory beyond its bytes in the file that a section may claim. */
const mostZeros = 1024 * 1024;

/**
 * The measurements of a boot of a unified kernel image: the image and its kernel in PCR 4, its sections in PCR 11, and what
 * the kernel's EFI stub gets of them, command line and initrd, in PCR 9.
 * @param bytes the whole file
 * @throws Rejection `malformed` with field and offset, for what is no such image
 */
export function unifiedComponents(bytes: Buffer, fileName: string): readonly ReferenceComponent[] {
  const image = authenticodeDigests(bytes, computedBanks);
  const sections = unifiedSections(bytes);
  const version = stubVersion(sections.get('.sdmagic'));
  const linux = sections.get('.linux');
  if (linux === undefined || version === null)
    throw fault(
      linux === undefined ? '.linux' : '.sdmagic',
      'the image is not a unified image of systemd-stub',
    );
  return [
    {
      stage: 'kernel',
      pcr: 4,
      kind: 'code',
      digests: image,
      description: `\\EFI\\Linux\\${fileName}`,
    },
    ...[...measured].flatMap(([name, stage]): ReferenceComponent[] => {
      const content = sections.get(name);
      return content === undefined ? [] : [sectionComponent(name, stage, content)];
    }),
    ...(version >= since.startsKernelItself ? [] : [kernelComponent(linux)]),
    ...commandLineComponents(sections.get('.cmdline')),
    ...initrdComponents(sections, version),
  ];
}

/** The sections that matter, each as it lies in memory. */
function unifiedSections(bytes: Buffer): ReadonlyMap<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const section of peSections(bytes)) {
    const { name } = section;
    if (chosen.has(name)) throw fault(name, `the image lets the machine choose its ${name}`);
    if (!measured.has(name) && name !== '.sdmagic' && name !== '.pcrsig') continue;
    if (found.has(name)) throw fault(name, `the image has more than one section ${name}`);
    found.set(name, inMemory(section));
  }
  return found;
}

function inMemory({ name, content, zeros }: PeSection): Buffer {
  if (zeros > mostZeros) throw fault(name, `section ${name} claims ${zeros} bytes more than the file has`);
  return zeros === 0 ? content : Buffer.concat([content, Buffer.alloc(zeros)]);
}

/** "#### LoaderInfo: systemd-stub 257.13-1 ####"; null if it does not say. */
function stubVersion(magic: Buffer | undefined): number | null {
  const version = /systemd-stub (\d{3,4})/.exec(magic?.toString('latin1') ?? '')?.[1];
  return version === undefined ? null : Number(version);
}

function sectionComponent(name: string, stage: string, content: Buffer): ReferenceComponent {
  const text = name === '.cmdline' ? maskIdentifiers(stubCommandLine(content)) : null;
  return {
    stage,
    pcr: 11,
    kind: 'file',
    digests: digestsOf(content),
    description: name,
    ...(text !== null && text.length <= longestText && { text }),
  };
}

/** Before it started the kernel itself, the stub let the firmware do so, which measures it. */
function kernelComponent(linux: Buffer): ReferenceComponent {
  const digests = authenticodeDigests(linux, computedBanks);
  return {
    stage: 'kernel',
    pcr: 4,
    kind: 'code',
    digests,
    description: `image in memory, ${linux.length} bytes`,
  };
}

function commandLineComponents(section: Buffer | undefined): readonly ReferenceComponent[] {
  if (section === undefined) return [];
  const digests = digestsOf(loadOptions(stubCommandLine(section)));
  return [{ stage: 'cmdline', pcr: 9, kind: 'cmdline', digests, description: 'LOADED_IMAGE::LoadOptions' }];
}

/** The parts that the kernel gets as one initrd, in the stub's order; nothing is measured if it gets none. */
function initrdComponents(
  sections: ReadonlyMap<string, Buffer>,
  version: number,
): readonly ReferenceComponent[] {
  const archive = (section: string, name: string, from: number): readonly Buffer[] => {
    const content = sections.get(section);
    return content === undefined || version < from ? [] : [stubArchive(name, content)];
  };
  const parts = [
    ...['.ucode', '.initrd'].flatMap((name) => sections.get(name) ?? []),
    ...archive('.pcrsig', 'tpm2-pcr-signature.json', since.keyArchive),
    ...archive('.pcrpkey', 'tpm2-pcr-public-key.pem', since.keyArchive),
    ...archive('.osrel', 'os-release', since.systemArchive),
  ];
  if (parts.length === 0) return [];
  const digests = digestsOf(...combinedInitrd(parts));
  return [{ stage: 'initrd', pcr: 9, kind: 'file', digests, description: 'Linux initrd' }];
}

function fault(field: string, text: string): Rejection {
  return new Rejection('malformed', text, { field, offset: 0 });
}
