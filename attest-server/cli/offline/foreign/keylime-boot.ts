import { z } from 'zod';
import { maskIdentifiers } from '../../../policy/boot/masked-text.ts';
import { parseJson } from '../../../wire/parse-json.ts';
import type { ReferenceComponent } from '../boot-reference.ts';

const hex = (digits: number) =>
  z.string().regex(new RegExp(`^(0x)?[0-9a-f]{${digits}}$`, 'i'), 'not a digest');
const sha256 = hex(64);
const digest = z.looseObject({ sha1: hex(40).optional(), sha256: sha256.optional() });
const shape = z.looseObject({
  has_secureboot: z.boolean().optional(),
  scrtm_and_bios: z
    .array(z.looseObject({ scrtm: digest, platform_firmware: z.array(digest).max(256) }))
    .max(64),
  kernels: z
    .array(
      z.looseObject({
        shim_authcode_sha256: sha256.optional(),
        grub_authcode_sha256: sha256.optional(),
        kernel_authcode_sha256: sha256.optional(),
        vmlinuz_plain_sha256: sha256.optional(),
        initrd_plain_sha256: sha256.optional(),
        kernel_cmdline: z.string().max(4096).optional(),
      }),
    )
    .max(64)
    .optional(),
});

/** Whether a text is a measured boot reference state of Keylime. */
export function isKeylimeBoot(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'scrtm_and_bios' in value;
}

/**
 * Parses a reference state as Keylime's create_mb_refstate writes it for the policy `example`: firmware and kernels that are
 * allowed become what a reference each has.
 * @throws Rejection `malformed`; its field is the member
 */
export function parseKeylimeBoot(text: string): {
  readonly references: readonly (readonly ReferenceComponent[])[];
  readonly notes: readonly string[];
} {
  const {
    scrtm_and_bios: firmware,
    kernels = [],
    has_secureboot: isOn = true,
    ...others
  } = parseJson(text, shape, 'file');
  const notes: string[] = [];
  const references = [
    ...firmware.map(({ scrtm, platform_firmware: blobs }) => [
      component('firmware', 0, scrtm, 'version of the firmware'),
      ...blobs.map((blob, index) => component('firmware', 0, blob, `firmware blob ${index + 1}`)),
    ]),
    ...kernels.map((kernel, index) => ofKernel(kernel, `kernels.${index}`, notes)),
  ].map((found) => found.filter((one) => one !== null));
  if (firmware.length > 0)
    notes.push(
      'scrtm_and_bios: version and blobs of PCR 0 are taken; Keylime looks at nothing else of the firmware, so that a machine that measures more needs a capture',
    );
  if (isOn && kernels.length > 0)
    notes.push(
      'kernels: under Secure Boot Keylime has the image of the kernel (PCR 4) and not the file that GRUB reads (PCR 9): add what reference compute --kernel makes, or capture a node',
    );
  if (kernels.length > 0)
    notes.push(
      'kernels: Keylime does not look at the commands and files of GRUB (PCR 8 and 9): capture a node',
    );
  for (const member of Object.keys(others))
    notes.push(`${member}: ${passedOver[member] ?? 'is not known here'}`);
  return { references: references.filter(({ length }) => length > 0), notes };
}

/** Members that say what keys may be there: of a variable as a whole, which a boot measures, they do not tell the digest. */
const ofKeys =
  'is left out: it allows keys, and a boot measures the whole variable; capture a node, or use boot.secureBoot';
const passedOver: Readonly<Record<string, string>> = {
  pk: ofKeys,
  kek: ofKeys,
  db: ofKeys,
  dbx: ofKeys,
  vendor_db: ofKeys,
  mokdig: ofKeys,
  mokxdig: ofKeys,
};

function ofKernel(
  kernel: NonNullable<z.infer<typeof shape>['kernels']>[number],
  where: string,
  notes: string[],
): readonly (ReferenceComponent | null)[] {
  const {
    shim_authcode_sha256: shim,
    grub_authcode_sha256: grub,
    kernel_authcode_sha256: image,
    vmlinuz_plain_sha256: file,
    initrd_plain_sha256: initrd,
    kernel_cmdline: line,
    ...others
  } = kernel;
  for (const member of Object.keys(others)) notes.push(`${where}.${member}: is not known here`);
  const literal = line === undefined ? null : literalOf(line);
  if (line !== undefined && literal === null)
    notes.push(`${where}.kernel_cmdline: is left out: it is a pattern; write rules of boot.cmdline instead`);
  return [
    component('loader', 4, { sha256: shim }, 'shim', 'code'),
    component('loader', 4, { sha256: grub }, 'GRUB', 'code'),
    component('kernel', 9, { sha256: file }, '/vmlinuz', 'file'),
    component('kernel', 4, { sha256: image }, 'kernel', 'code'),
    component('initrd', 9, { sha256: initrd }, '/initrd.img', 'file'),
    literal === null
      ? null
      : {
          stage: 'cmdline',
          kind: 'cmdline',
          digests: {},
          description: literal.slice(0, 512),
          text: maskIdentifiers(literal),
        },
  ];
}

function component(
  stage: string,
  pcr: number,
  { sha1, sha256 }: { readonly sha1?: string | undefined; readonly sha256?: string | undefined },
  description: string,
  kind?: string,
): ReferenceComponent | null {
  if (sha256 === undefined) return null;
  const digests = {
    ...(sha1 !== undefined && { sha1: digitsOf(sha1) }),
    sha256: digitsOf(sha256),
  };
  return { stage, pcr, digests, description, ...(kind !== undefined && { kind }) };
}

function digitsOf(text: string): string {
  return text.replace(/^0x/i, '').toLowerCase();
}

/**
 * The one line that a regular expression of Python's matches; null if it matches several. What `re.escape` writes is such
 * a one.
 */
function literalOf(expression: string): string | null {
  // Where tpm2_eventlog shows how GRUB ends the line, so does Keylime.
  const inner = expression.replace(/\0$/, '').replace(/^\^/, '').replace(/\$$/, '');
  if (!/^(?:[^\\.^$*+?{}[\]|()]|\\[^A-Za-z0-9])*$/.test(inner)) return null;
  return inner.replaceAll(/\\(.)/g, '$1');
}
