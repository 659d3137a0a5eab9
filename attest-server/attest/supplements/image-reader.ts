import { setImmediate } from 'node:timers/promises';
import { keepsContent } from '../../formats/initrd-kinds.ts';
import { InitrdReader, stepBytes } from '../../verify/initrd/initrd-reader.ts';
import { packManifest } from '../../verify/initrd/packed-manifest.ts';
import type { ImageReader } from './partial-images.ts';

/** Reads an initrd as the kernel does, and lets others come first in between. */
export function imageReader(): ImageReader {
  const reader = new InitrdReader({ keepsContent });
  return {
    async push(piece) {
      for (let at = 0; at < piece.length; at += stepBytes) {
        await reader.push(piece.subarray(at, at + stepBytes));
        await setImmediate();
      }
    },
    async end() {
      const manifest = await reader.end();
      return { manifest, bytes: await packManifest(manifest) };
    },
    close: () => reader.close(),
  };
}
