import type { Reporting } from '../telemetry/reporting.ts';
import type { Alert } from './double-binding.ts';

export interface EnrolmentReport {
  /** Something about a node that is no refusal of its own connection. @param alert `isEnrolled`: a node has that name */
  alert(alert: Parameters<Alert>[0] & { readonly isEnrolled: boolean }): void;
  /** A signature of an endorsement certificate is checked. */
  signatureChecked(): void;
}

export function enrolmentReport({ figures, refusedTo }: Reporting): EnrolmentReport {
  const signatures = figures.counter(
    'endorsement_signatures_total',
    'Signatures of endorsement certificates that were checked',
  );
  return {
    alert: ({ actor, ...refused }) => refusedTo(actor, refused),
    signatureChecked: () => signatures.inc(),
  };
}
