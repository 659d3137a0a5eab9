import type { Proven } from '../verify/proven.ts';
import type { JudgedNode } from './aspect.ts';
import { neverCapped } from './cap.ts';
import { judgeSequence, sightingOf } from './sequence.ts';

/** A node of which nothing is remembered, beside no other: what is left to judge is what it shows. */
export function judgedAlone(name: string, proven: Proven): JudgedNode {
  return {
    name,
    tpmClass: 'unknown',
    past: { sentParts: [], memory: {} },
    sequence: judgeSequence(null, sightingOf(proven)),
    cap: neverCapped,
    twins: [],
    clusterUuid: null,
    sameUuid: [],
    sharedVolumes: [],
    unread: [],
  };
}
