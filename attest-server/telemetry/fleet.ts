import { ourChanges } from '../formats/our-change.ts';
import type { NodeStanding } from '../http/node-view.ts';
import type { ProbePorts } from '../http/probes.ts';
import { type AspectName, aspects, nodeStates } from '../wire/verdict.ts';
import type { Figures } from './figures.ts';
import { isMissed, nodeSeries } from './node-series.ts';

/** Names, asked at each scrape. */
export interface FleetSources {
  /** Nodes whose rows are joined. */
  readonly flapping: () => readonly string[];
  /** Nodes of the cluster under which no TPM is enrolled. */
  readonly unenrolled: () => readonly string[];
  /** Machines that say that they have no TPM where policy expects one. */
  readonly claimedWithoutTpm: () => readonly string[];
}

/** All nodes, counted at each scrape, and its text. @param perNode whether there are series of each node */
export function fleetFigures(
  figures: Figures,
  perNode: boolean,
  { flapping, unenrolled, claimedWithoutTpm }: FleetSources,
): ProbePorts['metrics'] {
  const nodes = figures.gauge('nodes', 'Nodes by state', ['state']);
  const turned = figures.gauge(
    'nodes_turned',
    'Untrusted nodes that another policy, other references or another version of the server turned, and not what they show',
    ['change'],
  );
  const ready = figures.gauge('ready', '1 while the server can judge nodes, like /readyz; else 0');
  const failing = figures.gauge('nodes_failing_check', 'Nodes that a required check does not affirm', [
    'check',
  ]);
  figures.sampled(
    'nodes_flapping',
    'Nodes whose verdicts change, or did within the hour, so often that their rows are joined',
    () => flapping().length,
  );
  const missing = figures.gauge(
    'nodes_missing',
    'Nodes in the state unknown of which the cluster has no Node; after a while they are gone',
  );
  const withoutAgent = figures.gauge(
    'nodes_without_agent',
    'Nodes of the cluster that have never proven themselves, and neither say nor are expected to have no TPM',
  );
  const withoutTpm = figures.gauge(
    'nodes_claimed_without_tpm',
    'Machines that say they have no TPM, where policy expects one',
  );
  const claimed = figures.gauge(
    'nodes_silent_claimed',
    'Nodes in the state unknown whose names other TPMs have claimed since their last proof',
  );
  const nextBoots = figures.gauge(
    'nodes_next_boot',
    'Nodes by whether their next boot would be affirmed, as they say what lies on their disks, and whether a key of a disk is kept for them',
    ['answer', 'key'],
  );
  let ofNodes = '';
  return {
    nodeStates(views) {
      for (const state of nodeStates)
        nodes.set({ state }, views.filter((view) => view.state === state).length);
      const untrusted = views.filter(({ state }) => state === 'untrusted');
      for (const change of ourChanges)
        turned.set({ change }, untrusted.filter(({ ourChange }) => ourChange === change).length);
      missing.set(views.filter(isMissed).length);
      claimed.set(views.filter((view) => view.claimed && !isMissed(view)).length);
      const failed = views.map(failingAspects);
      for (const check of aspects)
        failing.set({ check }, failed.filter((checks) => checks.includes(check)).length);
      const without = claimedWithoutTpm();
      withoutTpm.set(without.length);
      const listed = new Set([...views.map(({ name }) => name), ...without]);
      const unproven = unenrolled().filter((name) => !listed.has(name));
      withoutAgent.set(unproven.length);
      if (perNode) ofNodes = nodeSeries(views, unproven, flapping());
    },
    nextBoots(all) {
      const counts = new Map<string, number>();
      for (const { answer, hasLease } of all) {
        const series = `${answer} ${hasLease}`;
        counts.set(series, (counts.get(series) ?? 0) + 1);
      }
      for (const answer of ['would', 'would_not', 'unknown'])
        for (const key of [true, false])
          nextBoots.set({ answer, key: key ? 'yes' : 'no' }, counts.get(`${answer} ${key}`) ?? 0);
    },
    ready: (is) => ready.set(is ? 1 : 0),
    text: async () => `${await figures.text()}${ofNodes}`,
    contentType: figures.contentType,
  };
}

/** Required aspects whose status is worse than affirming. */
function failingAspects({ aspects, require }: NodeStanding): readonly AspectName[] {
  return require.filter((aspect) => aspects[aspect]?.status !== 'affirming');
}
