import { imageBanks } from '../../formats/initrd-manifest.ts';
import { filePcr } from '../../wire/loader-files.ts';
import type { BootComponent, BootState } from './boot-state.ts';

/** Components measured as initrds with a digest that counts, each once. Within a unified image the initrd is part of the kernel's. */
export function initrdsIn({ components }: Pick<BootState, 'components'>): readonly BootComponent[] {
  const found = new Map<string, BootComponent>();
  for (const component of components) {
    const isFile = component.stage === 'initrd' && component.pcr === filePcr && component.text === null;
    const digest = isFile ? imageDigest(component) : null;
    if (digest !== null && !found.has(digest)) found.set(digest, component);
  }
  return [...found.values()];
}

/** The digest by which an image is asked for; null if it was measured by SHA-1 alone. */
export function imageDigest({ digests }: Pick<BootComponent, 'digests'>): string | null {
  const bank = imageBanks.find((one) => digests[one] !== undefined);
  return bank === undefined ? null : (digests[bank] ?? null);
}
