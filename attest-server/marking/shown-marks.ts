import type { Suppression } from '../formats/marking.ts';
import type { Marks } from './marks.ts';
import { type MarksOnNode, taintText } from './marks-on-node.ts';
import type { WrongAttestation } from './published-resource.ts';

/** Marks of one Node, as people see them. */
export interface ShownMarks {
  readonly there: CarriedMarks;
  readonly wanted: CarriedMarks;
  readonly suppressed: Suppression | null;
  /** When somebody last changed them, in milliseconds since the epoch; null: nobody since this server started. */
  readonly tamperedAt: number | null;
  /** Null if its resource is as it should be. */
  readonly resource: WrongAttestation | null;
}

interface CarriedMarks {
  /** `key`, or `key=value`. */
  readonly taints: readonly string[];
  readonly label: boolean;
  /** The status of the condition; null: there is none. */
  readonly condition: string | null;
}

/** A Node that was looked at. */
export interface InspectedNode extends Pick<ShownMarks, 'tamperedAt' | 'resource'> {
  readonly observed: MarksOnNode;
  readonly marks: Marks;
}

export function shownMarks({ observed, marks, tamperedAt, resource }: InspectedNode): ShownMarks {
  return {
    there: {
      taints: observed.taints.map(taintText),
      label: observed.label === 'true',
      condition: observed.condition?.status ?? null,
    },
    wanted: {
      taints: marks.taints.map(taintText),
      label: marks.label,
      condition: marks.condition?.status ?? null,
    },
    suppressed: marks.suppressed,
    tamperedAt,
    resource,
  };
}
