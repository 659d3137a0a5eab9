import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { start } from 'node-tpm2/run';
import { z } from 'zod';

export const root = join(import.meta.dirname, '../../..');

const built = z.object({
  images: z.array(
    z.object({
      name: z.string(),
      tag: z.string(),
      digest: z.string(),
      layout: z.string(),
      archive: z.string(),
      architectures: z.record(
        z.string(),
        z.object({
          digest: z.string(),
          archive: z.string(),
          rootFileSystem: z.string(),
          sbom: z.string(),
        }),
      ),
    }),
  ),
});
export type Built = z.infer<typeof built>['images'];
export type BuiltImage = Built[number];

/** Of this machine, as images have it. */
const ownArchitecture = process.arch === 'x64' ? 'amd64' : process.arch;

let building: Promise<Built> | undefined;

/** All images, built once for all tests of a process. */
export function images(): Promise<Built> {
  building ??= build();
  return building;
}

/** As `npm run images -- --trial` does it. */
export async function build(): Promise<Built> {
  const main = join(root, 'manifests/images/main.ts');
  const child = start(process.execPath, [main, '--trial', '-o', 'json'], {
    env: { HOME: process.env.HOME ?? '/' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 0, 'npm run images failed');
  return built.parse(JSON.parse(text)).images;
}

export function imageOf(images: Built, name: string): BuiltImage {
  const image = images.find((one) => one.name === name);
  assert.ok(image !== undefined, `${name} was not built`);
  return image;
}

/** The one for this machine. */
export function ownOf({ name, architectures }: BuiltImage): BuiltImage['architectures'][string] {
  const own = architectures[ownArchitecture];
  assert.ok(own !== undefined, `there is no image ${name} for ${ownArchitecture}`);
  return own;
}
