import type { Reporting } from '../telemetry/reporting.ts';
import type { State } from './open.ts';
import type { OpenedToGroup } from './volume-group.ts';

/** How many paths a line of the log names. */
const mostPaths = 20;

/** A kubelet had opened files of the state folder to a group; they are closed again. */
export function stateReport({ logger }: Pick<Reporting, 'logger'>): {
  stateWasOpened(opened: OpenedToGroup): void;
} {
  return {
    stateWasOpened({ group, paths }) {
      const { length: count } = paths;
      logger.warn(
        { code: 'state_was_opened', group, count, paths: paths.slice(0, mostPaths) },
        `the group ${group} of the volume could read and change ${count} private files and folders of the state, keys among them, until this start: set fsGroupChangePolicy to OnRootMismatch (docs/kubernetes.md#the-state-of-a-pod)`,
      );
    },
  };
}

export function stateFigures(figures: Reporting['figures'], state: Pick<State, 'space'>): void {
  figures.sampled(
    'state_free_bytes',
    'Free bytes on the file system of the state folder; NaN if it does not say',
    () => state.space().free ?? Number.NaN,
  );
}
