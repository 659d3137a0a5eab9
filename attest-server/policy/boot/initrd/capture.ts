import { DigestList } from '../../../formats/digest-list.ts';
import type { ListedFile } from '../../../formats/packed-list.ts';
import type { Reference } from '../../../formats/reference.ts';
import type { Proven } from '../../../verify/proven.ts';
import type { CaptureLabel } from '../../aspect.ts';
import { CaptureError } from '../../capture-error.ts';
import { capturedReference } from '../../captured-reference.ts';
import { InitrdContents } from './contents.ts';
import { alikeDigest } from './initrd-rules.ts';
import { digestOf, placeOf } from './judge-initrd.ts';

/**
 * A reference of kind `runtime` of all files and links in the initrds that a node booted; in steps of some milliseconds.
 * @throws CaptureError if nobody here knows what is in one
 */
export function* captureInitrds({ boot }: Proven, about: CaptureLabel): Generator<void, Reference> {
  const { node } = about;
  const manifests = boot?.initrds ?? [];
  if (manifests.length === 0)
    throw new CaptureError(
      `it is not known what is in the initrd of ${node}: its group needs boot.scope.initrd: contents, and the node must have sent it`,
    );
  const files: ListedFile[] = [];
  for (const initrd of manifests) {
    const manifest = yield* initrd.whole();
    const [fault] = manifest.faults;
    if (fault !== undefined)
      throw new CaptureError(`the initrd of ${node} cannot be read whole: ${fault.code}: ${fault.text}`);
    const contents = yield* InitrdContents.of(manifest);
    for (const entry of contents.entries()) {
      if (files.length % filesInStep === 0) yield;
      for (const digest of [digestOf(entry), alikeDigest(entry, contents)])
        if (digest !== null) files.push({ digest, path: placeOf(entry), package: null });
    }
  }
  const list = yield* DigestList.ofInSteps(files);
  const runtime = { files: list.toBytes().toString('base64'), count: list.fileCount };
  return capturedReference({ kind: 'runtime', runtime }, about);
}

const filesInStep = 256;
