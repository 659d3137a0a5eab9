import { z } from 'zod';
import { digestsOf, separatorDigests } from '../../../verify/boot/known-digests.ts';
import { parseJson } from '../../../wire/parse-json.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { counted } from '../../sentence.ts';
import type { ReferenceComponent } from '../boot-reference.ts';

/** One event, in the order of measurement. */
interface PcrlockRecord {
  readonly pcr: number;
  readonly digests: ReferenceComponent['digests'];
}

const most = 4096;
const shape = z.looseObject({
  records: z
    .array(
      z.looseObject({
        pcr: z.int().min(0).max(23),
        digests: z
          .array(
            z.looseObject({ hashAlg: z.string().max(32), digest: z.string().regex(/^[0-9a-f]{2,256}$/i) }),
          )
          .min(1)
          .max(16),
      }),
    )
    .max(most),
});
const lengths: Readonly<Record<string, number>> = { sha1: 40, sha256: 64, sha384: 96, sha512: 128 };

/**
 * Parses a component of systemd-pcrlock (systemd.pcrlock(5), "PCRLOCK FILES").
 * @throws Rejection `malformed`; its field is the member, or `file`
 */
export function parsePcrlock(text: string): readonly PcrlockRecord[] {
  return parseJson(text, shape, 'file').records.map(({ pcr, digests }, index) => {
    const known: Record<string, string> = {};
    for (const { hashAlg, digest } of digests) {
      const length = Object.hasOwn(lengths, hashAlg) ? lengths[hashAlg] : undefined;
      if (length === undefined) continue;
      if (digest.length !== length || known[hashAlg] !== undefined)
        throw new Rejection('malformed', `records.${index}: no ${hashAlg}, or there twice`, {
          field: `records.${index}`,
        });
      known[hashAlg] = digest.toLowerCase();
    }
    if (known.sha256 === undefined && known.sha384 === undefined && known.sha512 === undefined)
      throw new Rejection('malformed', `records.${index}: no digest better than SHA-1`, {
        field: `records.${index}`,
      });
    return { pcr, digests: known };
  });
}

/**
 * The measurements of these files as components of a reference.
 * @param files in the order of their names, which is that of the boot
 * @returns beside it what is left out, and why: a line each, for people
 */
export function pcrlockComponents(
  files: readonly { readonly name: string; readonly records: readonly PcrlockRecord[] }[],
): { readonly components: readonly ReferenceComponent[]; readonly notes: readonly string[] } {
  const components: ReferenceComponent[] = [];
  const notes: string[] = [];
  for (const { name, records } of files) {
    const before = components.length;
    const left = new Map<string, number>();
    const leave = (why: string) => left.set(why, (left.get(why) ?? 0) + 1);
    /** In a unified image: the section whose content comes next. */
    let section: string | null = null;
    for (const { pcr, digests } of records) {
      const constant = constants.find((each) => isSame(each.digests, digests));
      if (constant !== undefined) {
        section = pcr === 11 && constant.section ? constant.text : null;
        leave('the same in every boot');
        continue;
      }
      const stage = stageOf(pcr, name, section);
      if (stage === null) leave(whyNot(pcr));
      else components.push({ stage, pcr, digests, description: section ?? `${name} (PCR ${pcr})` });
      section = null;
    }
    if (components.slice(before).some(({ description }) => description === '.linux'))
      notes.push(
        `${name}: of an image lock-uki does not say what is measured once it runs: the kernel (PCR 4, with systemd-stub up to 257), its command line and initrd (PCR 9). reference compute --uki makes a reference of all of it`,
      );
    for (const [why, count] of left)
      notes.push(`${name}: ${counted(count, 'record')} ${count === 1 ? 'is' : 'are'} left out: ${why}`);
  }
  return { components, notes };
}

interface Constant {
  readonly text: string;
  readonly section: boolean;
  readonly digests: ReferenceComponent['digests'];
}

const sections: Readonly<Record<string, string>> = {
  '.linux': 'kernel',
  '.initrd': 'initrd',
  '.cmdline': 'cmdline',
};
const otherSections = '.osrel .ucode .splash .dtb .dtbauto .hwids .uname .sbat .pcrpkey .profile .efifw';
const phases = 'enter-initrd leave-initrd sysinit ready shutdown final';
const sentences = [
  'Calling EFI Application from Boot Option',
  'Returning from EFI Application from Boot Option',
  'Exit Boot Services Invocation',
  'Exit Boot Services Returned with Success',
];

/** Events that no reference holds, since each boot measures them: boundaries, names of sections, phases of user space. */
const constants: readonly Constant[] = [
  ...[separatorDigests.zero, separatorDigests.ones].map((known) => constant('separator', known)),
  ...[...Object.keys(sections), ...otherSections.split(' ')].map((name) => ({
    ...constant(name, digestsOf(Buffer.from(`${name}\0`))),
    section: true,
  })),
  ...[...phases.split(' '), ...sentences].map((text) => constant(text, digestsOf(Buffer.from(text)))),
];

function constant(text: string, known: ReturnType<typeof digestsOf>): Constant {
  const entries = Object.entries(known).map(([bank, digest]) => [bank, digest?.toString('hex')]);
  return { text, section: false, digests: Object.fromEntries(entries) };
}

function isSame(known: ReferenceComponent['digests'], digests: ReferenceComponent['digests']): boolean {
  return (['sha256', 'sha384', 'sha512'] as const).some(
    (bank) => digests[bank] !== undefined && digests[bank] === known[bank],
  );
}

/** By PCR; in those that several stages share, by what systemd.pcrlock(5) has a component be called. */
function stageOf(pcr: number, name: string, section: string | null): string | null {
  switch (pcr) {
    case 0:
    case 6:
      return 'firmware';
    case 2:
      return 'driver';
    case 7:
    case 14:
      return 'secureboot';
    case 4:
      return /kernel|uki|linux/i.test(name) ? 'kernel' : 'loader';
    case 9:
      return /cmdline/i.test(name) ? 'cmdline' : /initrd/i.test(name) ? 'initrd' : null;
    case 11:
      return section === null ? null : (sections[section] ?? 'os');
    case 12:
      return /cmdline/i.test(name) ? 'cmdline' : null;
    default:
      return null;
  }
}

function whyNot(pcr: number): string {
  return [1, 3, 5, 10, 15].includes(pcr)
    ? `PCR ${pcr} is not compared, since it differs from machine to machine or grows`
    : `nothing says what was measured into PCR ${pcr}: capture a node that booted so`;
}
