import type { ReasonView } from '../api/node-api.ts';
import type { FaultCause } from '../formats/server-fault.ts';
import type { Advice, AdviceContext } from '../wire/advice.ts';
import type { ApiPorts } from './ports.ts';

/** Who knows what a person does next. */
export interface AdviceParts {
  /** The word of the reason's aspect, or of the protocol. */
  nextStep(reason: ReasonView, known: AdviceContext): Advice;
  /** Why the node's latest answer failed; null if that was not a fault of ours. */
  serverFault(node: string): FaultCause | null;
  faultAdvice(cause: FaultCause): string;
  /** Whether a signed directory says what the reference of this name is. */
  isDeclared(reference: string): boolean;
  /** That directory; null if there is none. */
  readonly directory: string | null;
}

/** Advice on a reason: for a fault of ours by its cause, otherwise the next step from all that is known. */
export function createAdvise(parts: AdviceParts): ApiPorts['advise'] {
  return (reason, known) =>
    reason.code === 'server_fault' && known.node != null
      ? parts.faultAdvice(parts.serverFault(known.node) ?? 'internal')
      : parts.nextStep(reason, {
          ...known,
          declaredIn: parts.isDeclared(reason.outOfForce ?? '') ? parts.directory : null,
        });
}
