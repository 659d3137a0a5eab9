import type { Verifier } from '../../verify/verifier.ts';
import type { OwnedNodes } from '../owned-nodes.ts';
import type { AttestPorts } from '../ports.ts';
import type { Turns } from '../turns.ts';
import { ImaLists } from './ima-lists.ts';
import { imageReader } from './image-reader.ts';
import { Initrds } from './initrds.ts';
import { LoaderFiles } from './loader-files.ts';
import type { Supplement } from './supplement.ts';

interface ListParts {
  readonly ports: AttestPorts;
  readonly nodes: OwnedNodes;
  readonly verifier: Verifier;
  readonly turns: Turns;
}

/** All of them, in the order in which they are taken: what explains the loader says which files are initrds. */
export function supplementList({ ports, nodes, verifier, turns }: ListParts): readonly Supplement[] {
  const { evidence, verdicts } = ports;
  const readPart: typeof evidence.readPart = (digest, node) => evidence.readPart(digest, node);
  return [
    new LoaderFiles(
      {
        hold: (digest, bytes) => evidence.hold(digest, bytes),
        readPart,
        takeFiles(name, bytes) {
          const node = nodes.get(name);
          // It was dropped meanwhile.
          if (node === undefined) return;
          node.budgets ??= evidence.budgetsOf(name);
          node.budgets.files.take(bytes, ports.now());
        },
      },
      verifier,
    ),
    new Initrds({
      store: ports.initrds,
      keepShared: (blob, ekDigest, at) => verdicts.keepShared(blob, ekDigest, at),
      hasRoom: (node, bytes) => evidence.share.hasRoom(node, bytes, () => []),
      readPart,
      verifier,
      reader: imageReader,
      uploads: ports.initrdUploads,
      mostBytes: ports.initrdManifests,
      answerWithin: ports.answerWithin,
      unknownAfter: ports.unknownAfter,
      now: () => ports.now(),
      monotonic: () => ports.monotonic(),
      called: (node) => ports.askAgain(node),
      isLookedInto: (name) => turns.askInitrds(name, nodes.get(name)?.status ?? null, ports.inForce()),
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
