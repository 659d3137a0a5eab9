import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { TpmClass } from '../formats/tpm-class.ts';
import type { GateOrder } from '../wire/gate.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { AspectName, Severity, Verdict } from '../wire/verdict.ts';
import type { KeyRules } from './keys.ts';

/** The rules of one group of nodes, beside those of each aspect. */
export interface GroupBase {
  readonly name: string;
  /** Globs on the node's name; the first group of the policy that matches applies. */
  readonly nodes: readonly string[];
  /** And on its labels, all of which must be as here. A node outside a cluster has none. */
  readonly labels: Readonly<Record<string, string>>;
  readonly mode: Verdict['mode'];
  /** `absent`: machines without a usable TPM; they are `unsupported`, never trusted, and alarm nobody. */
  readonly tpm: 'required' | 'absent';
  /** The allowed kinds of TPM, as the root that endorsed it says; null: any. */
  readonly tpmClass: readonly TpmClass[] | null;
  readonly enrolment: readonly EnrolmentMethod[];
  /** Never empty. */
  readonly require: readonly AspectName[];
  /** Aspects that the TPM must vouch for: what the node merely says does not affirm them. */
  readonly vouched: readonly AspectName[];
  /** Seconds after which a verdict is overdue; null: as the server is set. */
  readonly freshness: number | null;
  /** How long a gate holds kubelet back while identity and boot are not affirmed, and what it does then. */
  readonly gate: Pick<GateOrder, 'timeout' | 'onTimeout'>;
  /** Absent: no node of it gets a key of a disk. */
  readonly keys?: KeyRules;
  readonly severity: Readonly<Partial<Record<ReasonCode, Severity>>>;
}
