import type { Reporting } from '../telemetry/reporting.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import type { KeysReport } from './open.ts';

/** Codes with which a boot gets no key. */
const keyRefusals = [
  'key_withheld',
  'key_subject_mismatch',
  'lease_consumed',
  'lease_exhausted',
  'root_unmeasured',
] as const satisfies readonly ReasonCode[];

export function keysReport({ figures, logger, fault }: Reporting): KeysReport {
  const released = figures.counter('key_releases_total', 'Keys of disks that were given to a boot');
  const moved = figures.counter(
    'key_releases_new_address_total',
    'Keys of disks that went to an address to which none of their node went before',
  );
  const refused = figures.counter(
    'key_refusals_total',
    'Requests for the key of a disk that got none',
    ['code'],
    keyRefusals.map((code) => ({ code })),
  );
  return {
    released(node, newAddress) {
      released.inc();
      logger.info({ code: 'key_released', node }, 'a boot got the key of its disk');
      if (newAddress === null) return;
      moved.inc();
      logger.warn(
        { code: 'key_to_new_address', node, address: newAddress },
        'the key of a disk went to an address to which none of its node went before',
      );
    },
    refused(node, volume, { code, text }, isNews) {
      refused.inc({ code });
      logger[isNews ? 'warn' : 'debug']({ code, node, volume }, `no key of a disk: ${text}`);
    },
    otherHeader(node, header) {
      const code = 'luks_header_changed' satisfies ReasonCode;
      logger.error(
        { code, node, header },
        'a boot opened a disk with another header than the one of its volume',
      );
    },
    rewrapped(volumes) {
      logger.info(
        { code: 'keys_rewrapped', volumes },
        'keys of disks were wrapped by the newest wrapping key',
      );
    },
    fault,
  };
}
