import { keepsContent } from '../protocol/initrd-kinds.ts';
import { InitrdReader } from '../verify/initrd/initrd-reader.ts';
import { packManifest } from '../verify/initrd/packed-manifest.ts';
import type { ImageReader } from './initrds.ts';

/** Reads an initrd as the kernel does. */
export function imageReader(): ImageReader {
  const reader = new InitrdReader({ keepsContent });
  return {
    push: (piece) => reader.push(piece),
    async end() {
      const manifest = await reader.end();
      return { manifest, bytes: await packManifest(manifest) };
    },
    close: () => reader.close(),
  };
}
