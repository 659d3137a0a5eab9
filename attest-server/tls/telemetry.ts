import type { Reporting } from '../telemetry/reporting.ts';
import type { TlsParts } from './open.ts';

type TlsReport = TlsParts['report'] & Pick<TlsParts, 'expire'>;

/** Until when certificate and authority are good, and how the certificate was renewed. */
export function tlsReport({ figures, logger, audit }: Reporting): TlsReport {
  const expiries = figures.gauge('certificate_expiry_timestamp_seconds', 'When a certificate ends', [
    'certificate',
  ]);
  const failures = figures.counter(
    'certificate_renewal_failures_total',
    'Failed renewals of the certificate of the server',
  );
  return {
    expire({ notAfter, authorityNotAfter }) {
      expiries.set({ certificate: 'server' }, notAfter / 1000);
      expiries.set({ certificate: 'authority' }, authorityNotAfter / 1000);
    },

    certificateRenewed(before, until) {
      const detail = { before: new Date(before).toISOString(), until: new Date(until).toISOString() };
      logger.info(detail, 'the server made itself a new certificate');
      audit('certificate.renew', 'server', detail);
    },

    certificateNotRenewed(error, until) {
      failures.inc();
      logger.error(
        { err: error, until: new Date(until).toISOString() },
        'the certificate of the server is due for renewal, but could not be renewed: the server keeps the old one',
      );
    },
  };
}
