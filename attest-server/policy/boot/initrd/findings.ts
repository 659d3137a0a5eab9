import type { BootComponent } from '../../../verify/boot/boot-state.ts';
import type { Finding } from '../../finding.ts';
import { strongestDigest } from '../compared-pcrs.ts';
import { quoted } from '../sentence.ts';
import type { VouchedBoot } from '../vouched-boot.ts';
import { type JudgedInitrd, placeOf, type UnknownEntry } from './judge-initrd.ts';

/** The expectation of findings on the content of an initrd: by it they are told apart from others of their codes. */
export const expectedFiles = 'files of active references, or made on the host in a known way';
export const expectedImage = 'the initrd itself, of which the policy judges each file';
export const expectedArchives = 'archives of cpio, as they are or packed by gzip or zstd';

/** The finding on an initrd whose content nobody here knows. @param waits why, for a person */
export function unseenInitrd(boot: VouchedBoot, component: BootComponent, waits: string | null): Finding {
  return {
    ...about(boot, component),
    code: 'facts_unavailable',
    expected: expectedImage,
    actual: strongestDigest(component.digests),
    text: `It is not known yet what is in the initrd ${quoted(component.describes)} (event ${component.event}). ${waits ?? 'The node has not sent it.'}`,
  };
}

/** With a fault nothing is known of what the kernel makes of it. */
export function faultyInitrd(
  boot: VouchedBoot,
  component: BootComponent,
  faults: JudgedInitrd['faults'],
): Finding {
  const lines = faults.map(({ offset, code, text }) => `byte ${offset}: ${code}: ${text}`);
  return {
    ...about(boot, component),
    code: 'initrd_unknown',
    expected: expectedArchives,
    actual: strongestDigest(component.digests),
    text: `The initrd ${quoted(component.describes)} (event ${component.event}) cannot be judged by what is in it: ${lines[0]}.`,
    detail: lines,
  };
}

/** Unknown files in it: the first by name, more below. */
export function unknownFiles(
  boot: VouchedBoot,
  component: BootComponent,
  first: UnknownEntry,
  judged: JudgedInitrd,
): Finding {
  const { unknown, unknownCount, count, outOfForce } = judged;
  const others = unknownCount === 1 ? '' : ` and ${unknownCount - 1} more of ${count}`;
  return {
    ...about(boot, component),
    code: 'initrd_unknown',
    expected: expectedFiles,
    actual: shown(first),
    text: `The initrd ${quoted(component.describes)} has ${quoted(placeOf(first.entry))}${others}, which nobody knows: ${first.why}.`,
    detail: [...unknown.flatMap(linesOf), ...summary(judged)],
    ...(outOfForce !== null && { outOfForce }),
    value: `initrd ${shown(first)}`,
  };
}

export function revokedFile(
  boot: VouchedBoot,
  component: BootComponent,
  { entry, reference }: NonNullable<JudgedInitrd['revoked']>,
): Finding {
  const { changed } = reference.reference;
  const by =
    changed?.action === 'revoke' ? `, which ${changed.by} revoked on ${changed.at} (${changed.reason})` : '';
  return {
    ...about(boot, component),
    code: 'revoked_reference',
    expected: 'files that were not revoked',
    actual: `${placeOf(entry)} of ${reference.name}`,
    text: `The initrd ${quoted(component.describes)} has ${quoted(placeOf(entry))}, which only reference ${reference.name} has${by}.`,
    reference: reference.name,
  };
}

function about(
  { digest }: VouchedBoot,
  { event }: BootComponent,
): Pick<Finding, 'aspect' | 'source' | 'evidence'> {
  return { aspect: 'boot', source: 'tpm', evidence: { digest, position: `event ${event}` } };
}

function shown({ entry }: UnknownEntry): string {
  return `${placeOf(entry)} ${entry.sha256 ?? (entry.target === undefined ? '' : `-> ${entry.target}`)}`.trim();
}

function linesOf(one: UnknownEntry): readonly string[] {
  const { entry, why, text } = one;
  const lines = text === null ? [] : text.replace(/\n$/, '').split('\n');
  const told = lines.filter((line) => !/^\s*(?:#.*)?$/.test(line)).slice(0, mostLines);
  return [
    `${shown(one)} (mode ${(entry.mode & 0o7777).toString(8)}): ${why}`,
    ...told.map((line) => `  | ${line}`),
  ];
}

/** The most lines of one file's text. */
const mostLines = 8;

function summary({ count, listed, made, unknownCount, twice }: JudgedInitrd): readonly string[] {
  const known = [...listed].map(([name, files]) => `${files} of ${name}`);
  const others = [...made].map(([kind, files]) => `${files} ${kind}`);
  return [
    `${count} files and links: ${[...known, ...others, `${unknownCount} unknown`].join(', ')}`,
    ...(twice.length === 0
      ? []
      : [`more than once, the last one counts: ${twice.slice(0, mostLines).join(', ')}`]),
  ];
}
