import type { Logger } from 'pino';
import type { ReferenceCandidates } from '../protocol/candidates-api.ts';
import { type CandidateFilter, type CandidatePorts, gatherCandidates } from './candidates.ts';
import { type Capture, type CapturePorts, createCapture } from './capture.ts';
import { createReferenceLife, type ReferenceLife, type ReferenceParts } from './life.ts';

export interface ReferencesParts extends CapturePorts {
  readonly store: CapturePorts['store'] & ReferenceParts['store'];
  readonly policy: ReferenceParts['policy'];
  readonly statuses: CandidatePorts['statuses'];
  readonly logger: Logger;
}

/** Reference values, from capture or import to retirement. It holds nothing that must be closed. */
export interface References extends AsyncDisposable {
  readonly life: ReferenceLife;
  readonly capture: Capture;
  /** What nodes show and no reference in force has. */
  candidates(filter: CandidateFilter): Promise<ReferenceCandidates>;
}

export function openReferences(parts: ReferencesParts): References {
  const capture = createCapture(parts);
  return {
    life: createReferenceLife(parts),
    async capture(request) {
      const made = await capture(request);
      const { nodes, kind, actor } = request;
      parts.logger.info(
        { nodes, kind, references: made.map(({ name }) => name), actor },
        'nodes were captured',
      );
      return made;
    },
    candidates: (filter) => gatherCandidates(parts, filter),
    async [Symbol.asyncDispose]() {},
  };
}
