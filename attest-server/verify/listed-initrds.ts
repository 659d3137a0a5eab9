import type { Part } from '../wire/evidence.ts';
import { parseInitrdList } from '../wire/initrd-list.ts';
import { hashPart, otherDigest } from './hashed-part.ts';
import { parsePackedManifest } from './initrd/packed-manifest.ts';
import type { Memory } from './memory.ts';
import type { ReadInitrd, ReadManifest } from './read-initrd.ts';

/**
 * The manifests that this part lists, each under the digest of its own bytes. One that is neither given nor remembered is
 * left out: nothing is known of its image then. In steps of some milliseconds.
 * @throws Rejection `malformed`, `too_large` for a list or a manifest that is none; `malformed` for bytes of another digest
 */
export function* checkInitrds(
  part: Part | undefined,
  given: ReadonlyMap<string, Buffer>,
  memory: Memory | null,
): Generator<void, readonly ReadInitrd[]> {
  const known = initrdsAtOnce(part, memory);
  if (known !== null) return known;
  if (part === undefined || part.bytes === null) return none;
  if (hashPart(part.bytes).digest !== part.digest) throw otherDigest('parts.initrds');
  const listed = parseInitrdList(part.bytes);
  const manifests: ReadInitrd[] = [];
  let size = 0;
  for (const digest of listed) {
    const bytes = given.get(digest);
    if (bytes === undefined) continue;
    if (hashPart(bytes).digest !== digest) throw otherDigest(`files.${digest}`);
    size += bytes.length;
    manifests.push(yield* manifestOf(bytes, digest, memory));
  }
  if (manifests.length === listed.length)
    memory?.keepInitrds({ digest: part.digest, manifests, bytes: size });
  return manifests;
}

/** `checkInitrds` without steps; null if a manifest has to be read. */
export function initrdsAtOnce(part: Part | undefined, memory: Memory | null): readonly ReadInitrd[] | null {
  if (part === undefined) return none;
  const known = memory?.initrds(part.digest) ?? null;
  if (known !== null) return known.manifests;
  return part.bytes === null ? none : null;
}

const none: readonly ReadInitrd[] = [];

/** The manifest of one initrd. In a fleet whose hosts have an initrd each, one that nobody looks at stays packed. */
function* manifestOf(bytes: Buffer, digest: string, memory: Memory | null): Generator<void, ReadInitrd> {
  let read: ReadManifest | null = null;
  function* whole(): Generator<void, ReadManifest> {
    const known = memory?.manifest(digest) ?? read;
    if (known !== null) return known;
    // The one place that makes it: the seal exists for the compiler only.
    const manifest = (yield* parsePackedManifest(bytes)) as ReadManifest;
    if (memory === null) read = manifest;
    else memory.keepManifest(digest, manifest);
    return manifest;
  }
  const { image } = yield* whole();
  return { image, whole } as ReadInitrd;
}
