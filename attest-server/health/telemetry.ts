import type { ChannelPorts } from '../channel/ports.ts';
import {
  faultCauses,
  faultText,
  type StorageCause,
  storageCauseOf,
  storageCauses,
} from '../formats/server-fault.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import type { HealthParts } from './open.ts';

type HealthReport = HealthParts['report'] & Pick<ChannelPorts<unknown>, 'failed'>;

/** Faults of the server: for why nothing can be stored, and where an answer came to nothing. */
export function healthReport({ figures, logger, audit, storage, now, limiter }: Reporting): HealthReport {
  const faults = figures.counter(
    'server_faults_total',
    'Faults of the server itself while it judged or stored evidence',
    ['cause'],
    faultCauses.map((cause) => ({ cause })),
  );
  const present = figures.gauge('server_fault', '1 while nothing can be stored for this cause, else 0', [
    'cause',
  ]);
  const show = (now: StorageCause | null) => {
    for (const cause of storageCauses) present.set({ cause }, cause === now ? 1 : 0);
  };
  show(null);
  let lostAnswers = 0;
  const keyless = limiter();
  return {
    storageFailed(cause, error, isNew) {
      faults.inc({ cause });
      show(cause);
      storage.begins();
      if (isNew) logger.error({ code: 'server_fault', cause, err: error }, faultText(cause));
    },

    storageWorks({ cause, since }) {
      show(null);
      const { late, lost } = storage;
      const lasted = { cause, since: new Date(since).toISOString(), entries: lost, answers: lostAnswers };
      logger.info(lasted, 'verdicts are stored again');
      const detail = { cause, since, answers: lostAnswers, late, lost };
      audit('server.fault', '', detail, { code: 'server_fault' });
      lostAnswers = 0;
      storage.ends();
    },

    failed(error, { node, role }) {
      const cause = storageCauseOf(error);
      if (cause !== null) {
        const omitted = role === 'unlock' ? keyless.take(`${node}`, now()) : null;
        if (omitted !== null)
          logger.warn(
            { code: 'server_fault', cause, node, omitted },
            `no key of a disk, since nothing can be stored: ${faultText(cause)}`,
          );
        // Why, and since when, is in the log once: it may be on the same disk.
        lostAnswers += 1;
        logger.debug({ node, cause }, 'the answer of a node is not stored');
        return;
      }
      faults.inc({ cause: 'internal' });
      logger.error({ err: error, node }, 'the server failed while judging; no verdict is stored');
    },
  };
}
