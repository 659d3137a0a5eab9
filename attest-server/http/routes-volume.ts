import { z } from 'zod';
import { listOf } from '../api/list.ts';
import * as api from '../api/volume-api.ts';
import { nodeName } from '../wire/messages.ts';
import { readBody } from './body.ts';
import { findNode } from './find-node.ts';
import { HttpProblem } from './problem.ts';
import { isOfLatestBoot } from './refused-keys.ts';
import { actorOf, bodyBytes, ok, type Route, route, routeWithQuery } from './route.ts';
import { setUpVolume, shownVolume } from './volume-view.ts';

const volumesQuery = z.strictObject({ node: nodeName.optional().describe('only volumes of this node') });
const escrowQuery = z.strictObject({
  header: z
    .enum(['true', 'false'], 'not true or false')
    .default('false')
    .describe('`true`: also the header, which has some 20 MB'),
});

/** Volumes of nodes, whose keys are given to a boot that has proven itself. */
export const volumeRoutes: readonly Route[] = [
  routeWithQuery('GET', '/v1/volumes', 'reader', {
    operation: 'listVolumes',
    summary: 'Encrypted volumes of nodes, without their keys, by node and name',
    query: volumesQuery,
    answer: listOf(api.volumeView),
    async handle({ volumes, store }, { query: { node } }) {
      const found = (await volumes.list()).filter((volume) => node === undefined || volume.node === node);
      if (node !== undefined && found.length === 0) await findNode(store, node);
      const refused = await volumes.refusals();
      const items = await Promise.all(
        found.map(async (volume) => {
          const { uuid, ekDigest, node: name } = volume;
          const its = refused.find((one) => one.volume === uuid && one.ekDigest === ekDigest);
          const isShown = its !== undefined && isOfLatestBoot(its, await store.status(name));
          return shownVolume(volume, (await store.node(name))?.ekDigest ?? null, isShown ? its : null);
        }),
      );
      return ok({ items, next: null });
    },
  }),
  route('POST', '/v1/volumes', 'operator', {
    operation: 'createVolume',
    summary: 'Make the key of a volume, which one node may format once',
    needsRoom: true,
    body: api.volumeRequest,
    status: 201,
    problems: [404, 409],
    answer: api.volumeMade,
    async handle({ volumes, store, groupOf }, { message, caller }) {
      const { node: wanted, name, path } = await readBody(message, api.volumeRequest, bodyBytes);
      const node = await findNode(store, wanted);
      const volume = await volumes.add({
        node,
        group: groupOf(node.name),
        name,
        path,
        by: actorOf(caller),
      });
      if (volume === null)
        throw new HttpProblem(409, `${node.name} has a volume ${name}, or another one at ${path}, already`, {
          next: `Choose another name or path, or see what there is:\n  assay disk list ${node.name}`,
        });
      return {
        status: 201,
        body: { ...shownVolume(volume, node.ekDigest), ...setUpVolume(volume) },
      };
    },
  }),
  route('DELETE', '/v1/volumes/{uuid}', 'admin', {
    operation: 'removeVolume',
    summary: 'Destroy the key of a volume, with what is kept to recover it',
    answer: api.volumeRemoved,
    async handle({ volumes }, { path, caller }) {
      const { uuid = '' } = path;
      if (!(await volumes.remove(uuid, actorOf(caller)))) throw noSuchVolume();
      return ok({ removed: uuid });
    },
  }),
  routeWithQuery('GET', '/v1/volumes/{uuid}/escrow', 'admin', {
    operation: 'getVolumeEscrow',
    summary: 'What opens a volume without the server: its recovery passphrase, encrypted by age',
    query: escrowQuery,
    answer: api.volumeEscrow,
    async handle({ volumes }, { path, query: { header }, caller }) {
      const { uuid = '' } = path;
      const escrow = await volumes.escrow(uuid, header === 'true', actorOf(caller));
      if (escrow === null) throw noSuchVolume();
      const { recovery } = escrow;
      return ok({ uuid, recovery, ...(header === 'true' && { header: escrow.header }) });
    },
  }),
];

function noSuchVolume(): HttpProblem {
  return new HttpProblem(404, 'there is no such volume', { next: 'See which there are:\n  assay disk list' });
}
