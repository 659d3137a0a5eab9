import { hash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Bundle } from '../../../formats/bundle.ts';
import { atOnce } from '../../../formats/in-steps.ts';
import { keepsContent } from '../../../formats/initrd-kinds.ts';
import type { InitrdManifest } from '../../../formats/initrd-manifest.ts';
import { InitrdReader } from '../../../verify/initrd/initrd-reader.ts';
import { packManifest, parsePackedManifest } from '../../../verify/initrd/packed-manifest.ts';
import { initrdList, parseInitrdList } from '../../../wire/initrd-list.ts';

/** An initrd that lies here, and what is in it. */
export interface GivenInitrd {
  /** As it was named. */
  readonly file: string;
  readonly manifest: InitrdManifest;
  readonly packed: Buffer;
}

/** @throws Rejection `too_large` */
export async function givenInitrd(
  file: string,
  pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
): Promise<GivenInitrd> {
  const reader = new InitrdReader({ keepsContent });
  for await (const piece of pieces) await reader.push(piece);
  const manifest = await reader.end();
  return { file, manifest, packed: await packManifest(manifest) };
}

/**
 * The bundle with what is in these images, in place of what its exporter says is in them.
 * @returns beside it a sentence for each image of which the exporter says something else
 * @throws Rejection `malformed`, `too_large` for what the bundle says
 */
export function withInitrds(
  bundle: Bundle,
  given: readonly GivenInitrd[],
): { readonly bundle: Bundle; readonly notes: readonly string[] } {
  const files = { ...bundle.files };
  const list = bundle.parts.initrds?.bytes;
  const notes: string[] = [];
  const listed: string[] = [];
  for (const digest of list === undefined ? [] : parseInitrdList(Buffer.from(list, 'base64'))) {
    const packed = files[digest];
    if (packed === undefined) continue;
    const said = atOnce(parsePackedManifest(Buffer.from(packed, 'base64')));
    const own = given.find(({ manifest: { image } }) => image.sha256 === said.image.sha256);
    if (own === undefined) listed.push(digest);
    else if (!isDeepStrictEqual(said, own.manifest))
      notes.push(`The bundle says something else of what is in ${own.file}. The file counts here.`);
  }
  for (const { packed } of given) {
    const digest = hash('sha256', packed, 'hex');
    files[digest] = packed.toString('base64');
    listed.push(digest);
  }
  const bytes = initrdList(listed);
  const part = { digest: hash('sha256', bytes, 'hex'), bytes: bytes.toString('base64') };
  return { bundle: { ...bundle, files, parts: { ...bundle.parts, initrds: part } }, notes };
}

/** Notes on the initrds that a verdict rests on if it goes by their content. */
export function initrdNotes(
  initrds: readonly Pick<InitrdManifest, 'image'>[],
  given: readonly GivenInitrd[],
): readonly string[] {
  const isOf = (one: GivenInitrd, { image }: Pick<InitrdManifest, 'image'>) =>
    one.manifest.image.sha256 === image.sha256;
  const unmeasured = given.filter((one) => !initrds.some((initrd) => isOf(one, initrd)));
  const believed = initrds.filter((initrd) => !given.some((one) => isOf(one, initrd)));
  return [
    ...unmeasured.map(({ file }) => `No initrd that this boot measured is ${file}.`),
    ...(believed.length === 0 ? [] : [exportersInitrds]),
  ];
}

const exportersInitrds =
  'What is in the initrd is the word of the exporter, who saw the image. With --initrd FILE it is read from the image itself.';
