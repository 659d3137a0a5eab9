import type { Suppression } from '../protocol/marking.ts';
import type { Marks } from './marks.ts';
import { type MarksOnNode, taintText } from './marks-on-node.ts';

/** What people see of the marks of one Node. */
export interface ShownMarks {
  readonly there: Carried;
  readonly wanted: Carried;
  readonly suppressed: Suppression | null;
  /** When somebody last changed them, in milliseconds since the epoch; null: nobody since this server started. */
  readonly tamperedAt: number | null;
}

interface Carried {
  /** `key`, or `key=value`. */
  readonly taints: readonly string[];
  readonly label: boolean;
}

export function shownMarks(there: MarksOnNode, marks: Marks, tamperedAt: number | null): ShownMarks {
  return {
    there: { taints: there.taints.map(taintText), label: there.label === 'true' },
    wanted: { taints: marks.taints.map(taintText), label: marks.label },
    suppressed: marks.suppressed,
    tamperedAt,
  };
}
