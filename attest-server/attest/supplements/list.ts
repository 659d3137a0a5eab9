import type { Verifier } from '../../verify/verifier.ts';
import type { AttestPorts } from '../ports.ts';
import { ImaLists } from './ima-lists.ts';
import { imageReader } from './image-reader.ts';
import { Initrds } from './initrds.ts';
import { LoaderFiles } from './loader-files.ts';
import type { Supplement } from './supplement.ts';

export interface SupplementParts {
  readonly ports: AttestPorts;
  readonly verifier: Verifier;
  /** Whether the rules of this node's group ask what is in its initrds. */
  isLookedInto(node: string): boolean;
}

/** All of them, in the order in which they are taken: what explains the loader says which files are initrds. */
export function supplementList({ ports, verifier, isLookedInto }: SupplementParts): readonly Supplement[] {
  const { evidence, verdicts } = ports;
  return [
    new LoaderFiles(evidence, verifier),
    new Initrds({
      store: ports.initrds,
      keepShared: (blob, ekDigest, at) => verdicts.keepShared(blob, ekDigest, at),
      hasRoom: (node, bytes) => evidence.share.hasRoom(node, bytes, () => []),
      readPart: (digest, node) => evidence.readPart(digest, node),
      verifier,
      reader: imageReader,
      uploads: ports.initrdUploads,
      mostBytes: ports.initrdManifests,
      answerWithin: ports.answerWithin,
      unknownAfter: ports.unknownAfter,
      now: () => ports.now(),
      monotonic: () => ports.monotonic(),
      called: (node) => ports.askAgain(node),
      isLookedInto,
    }),
    new ImaLists({
      verifier,
      // One that cannot be read is as good as gone: the node has it still.
      readPiece: (digest, node) =>
        evidence.readPiece(digest, node).catch((error: unknown) => {
          ports.fault(error, 'ima');
          return null;
        }),
      most: ports.imaList,
      sealEvery: ports.summaryEvery,
      monotonic: () => ports.monotonic(),
    }),
  ];
}
