import type { X509Certificate } from 'node:crypto';

/** Error codes of TLS for a certificate that is not valid at this time. */
export const dateFaults: ReadonlySet<string> = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);

/** The message for a person: when the certificate ended, whose it is, by which clock; and what to do on either side. */
export interface DateFault {
  readonly text: string;
  readonly hint: string;
}

/**
 * The first certificate of a server's chain that is not valid now; null if all are.
 * @param chain the server's own certificate first. Nothing else of it is believed
 * @param now milliseconds since the epoch, by the clock here
 */
export function dateFault(
  chain: readonly Pick<X509Certificate, 'validFromDate' | 'validToDate'>[],
  now: number,
): DateFault | null {
  for (const [position, { validFromDate, validToDate }] of chain.entries()) {
    const isLeaf = position === 0;
    const whose = isLeaf ? "the server's certificate" : "the authority of the server's certificate";
    const clock = `the clock of this machine says ${rfc3339(now)}`;
    if (now > validToDate.getTime())
      return {
        text: `${whose} ended at ${rfc3339(validToDate.getTime())}, and ${clock}`,
        hint: [
          'If the clock here is wrong, set it. It says now:',
          '  date -u',
          ...(isLeaf ? leafEnded : authorityEnded),
        ].join('\n'),
      };
    if (now < validFromDate.getTime())
      return {
        text: `${whose} is good from ${rfc3339(validFromDate.getTime())} on, and ${clock}`,
        hint: 'One of the two clocks is wrong. If it is the clock here, set it. If it is the clock of the server, set that one and send the server SIGHUP: it then makes another certificate.',
      };
  }
  return null;
}

const leafEnded = [
  'If the clock here is right, look at the server: it should have made a new certificate by itself, and its log says why it could not (docs/connections.md#the-certificate).',
  '  journalctl -u assay-server -g certificate',
  'If the server runs in a cluster:',
  '  kubectl --namespace assay logs assay-server-0',
];

const authorityEnded = [
  'If the clock here is right, the server needs another authority (docs/connections.md#an-authority-that-has-ended).',
];

function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}
