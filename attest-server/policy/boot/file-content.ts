import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { type FileContent, loaderContents } from '../../wire/loader-files.ts';
import type { Finding } from '../finding.ts';
import { strongestDigest } from './compared-pcrs.ts';
import { quoted } from './sentence.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/** True for what a loader reads and what starts nothing by itself, or, as a module, is measured where it is known. */
export function isSeen(content: FileContent | null): boolean {
  return content !== null && loaderContents.has(content);
}

/** True for a kernel or an initrd that the log calls one of its loader's files. */
export function isHidden({ content }: Pick<BootComponent, 'content'>): boolean {
  return content === 'code' || content === 'archive';
}

const hiddenNames = { code: 'an executable image', archive: 'an archive or compressed data' } as const;

/** Attack: a kernel and its initrd measured in the places of files that a loader only reads. */
export function hiddenFinding({ digest, state }: VouchedBoot): Finding | null {
  const hidden = state.components.find(isHidden);
  if (hidden === undefined) return null;
  const { content, describes, digests, event } = hidden;
  const what = hiddenNames[content === 'code' ? 'code' : 'archive'];
  return {
    code: 'bootloader_unknown',
    aspect: 'boot',
    source: 'tpm',
    expected: 'text, an environment block, a font or a module of GRUB',
    actual: strongestDigest(digests),
    text: `The boot loader read ${what} as ${quoted(describes)} (event ${event}).`,
    evidence: { digest, position: `event ${event}` },
  };
}

/** A file that a reference of another machine has, and that nobody has seen. */
export function unseenFinding(
  { digest }: VouchedBoot,
  { describes, digests, event }: BootComponent,
  node: string,
): Finding {
  return {
    code: 'bootloader_unknown',
    aspect: 'boot',
    source: 'tpm',
    expected: `the file itself, or an active reference captured on ${node}`,
    actual: strongestDigest(digests),
    text: `Nobody knows what the boot loader read as ${quoted(describes)} (event ${event}): ${node} did not send that file, and a reference of another machine does not vouch for it.`,
    evidence: { digest, position: `event ${event}` },
    ofNode: true,
  };
}
