import { type PresenceDoubt, presenceDoubts } from '../formats/cluster.ts';
import type { Figures } from '../telemetry/figures.ts';
import type { Reporting } from '../telemetry/reporting.ts';
import type { PresenceReport } from './ports.ts';
import type { PresenceFigures } from './presence.ts';

/** How many nodes a line of the log names. */
const mostNodes = 20;

/** Nodes that left the cluster and came back. */
export function presenceReport({ logger, fault }: Pick<Reporting, 'logger' | 'fault'>): PresenceReport {
  return {
    gone(names, isMost) {
      const fields = { nodes: names.length, named: names.slice(0, mostNodes) };
      if (isMost)
        logger.warn(
          fields,
          `more than half of all nodes are gone at once, ${names.length}: their alerts end; assay get nodes --all lists them`,
        );
      else logger.info(fields, 'nodes are gone: the cluster has no Node of them, and they are silent');
    },

    back(node, by) {
      const what = by === 'node' ? 'the cluster has its Node again' : 'its TPM proved itself';
      logger.info({ node, by }, `a node that was gone is back: ${what}`);
    },

    archived(nodes) {
      logger.info({ nodes }, 'records of nodes that are gone for long are archived');
    },

    doubted(doubt) {
      if (doubt === null) logger.info('what the Nodes of the cluster tell can be true again');
      else logger.warn({ cause: doubt }, `no node is taken for gone: ${doubtText[doubt]}`);
    },

    fault,
  };
}

export function presenceFigures(figures: Figures, of: () => Pick<PresenceFigures, 'gone' | 'doubt'>): void {
  figures.sampled(
    'nodes_gone',
    'Nodes that are gone from the cluster and silent; they are not counted by state',
    () => of().gone,
  );
  figures.sampledBy(
    'presence_doubt',
    '1 while no node is taken for gone, since the list of Nodes in the cluster cannot be true, else 0',
    'cause',
    presenceDoubts,
    (cause) => (of().doubt === cause ? 1 : 0),
  );
}

const doubtText: Readonly<Record<PresenceDoubt, string>> = {
  empty: 'the API of the cluster tells of no Node at all',
  own_node: 'the API of the cluster does not have the Node that the server runs on: is it the right cluster?',
  contradicted: 'most agents that are connected are of Nodes that the API of the cluster does not have',
};
