import { z } from 'zod';
import { listOf } from '../api/list.ts';
import * as api from '../api/volume-api.ts';
import type { Volume } from '../keys/ports.ts';
import { nodeName } from '../wire/messages.ts';
import { readBody } from './body.ts';
import { findNode } from './find-node.ts';
import { shownNextBoot } from './node-view.ts';
import type { ApiPorts } from './ports.ts';
import { HttpProblem } from './problem.ts';
import { isOfLatestBoot } from './refused-keys.ts';
import type { ApiRole } from './roles.ts';
import { actorOf, bodyBytes, nothing, ok, type Route, route, routeWithQuery } from './route.ts';
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
    async handle({ volumes, store, references, groupOf }, { query: { node } }) {
      const found = (await volumes.list()).filter((volume) => node === undefined || volume.node === node);
      if (node !== undefined && found.length === 0) await findNode(store, node);
      const refused = await volumes.refusals();
      const nextBoots = await references.nextBoots(node);
      const items = await Promise.all(
        found.map(async (volume) => {
          const { uuid, ekDigest, node: name } = volume;
          const its = refused.find((one) => one.volume === uuid && one.ekDigest === ekDigest);
          const isShown = its !== undefined && isOfLatestBoot(its, await store.status(name));
          return shownVolume(
            volume,
            groupOf,
            (await store.node(name))?.ekDigest ?? null,
            isShown ? its : null,
            shownNextBoot(nextBoots.get(name)),
          );
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
        body: { ...shownVolume(volume, groupOf, node.ekDigest), ...setUpVolume(volume) },
      };
    },
  }),
  route('POST', '/v1/wrapping-keys/rewrap', 'admin', {
    operation: 'rewrapVolumes',
    summary: 'Read the file of the wrapping keys again, and wrap all keys of disks by the newest one',
    body: nothing,
    answer: api.wrappingView,
    problems: [409],
    async handle({ volumes, audit }, { message }) {
      await readBody(message, nothing, bodyBytes);
      if ((await volumes.wrappingKeys()) === null)
        throw new HttpProblem(409, 'this server holds no keys of disks: keys.wrappingKeyFile names no file');
      const rewrapped = await volumes.rewrap().catch((cause: unknown) => {
        throw new HttpProblem(409, cause instanceof Error ? cause.message : String(cause), {
          next: 'Nothing was changed. Look at the file:\n  assay-server check',
        });
      });
      const used = (await volumes.wrappingKeys()) ?? [];
      const filter = { action: ['key.rewrap'] };
      const [latest] = (await audit.search({ filter, after: null, newestFirst: true, limit: 1 })).items;
      const since = latest === undefined ? null : new Date(latest.at).toISOString();
      const keys = used.map(({ id, volumes: count, isInFile }, index) => ({
        id,
        volumes: count,
        inFile: isInFile,
        unneededSince: count === 0 && index > 0 ? since : null,
      }));
      return ok({ rewrapped, keys });
    },
  }),
  changeRoute('revoke', 'operator', 'Give the key of a volume to nobody from now on'),
  changeRoute('restore', 'admin', 'Give a key that was revoked to its node again'),
  route('POST', '/v1/volumes/{uuid}/rotate', 'operator', {
    operation: 'rotateVolumeKey',
    summary:
      'Replace the key of a volume at the next boot of its node, or bind it to the TPM that the node has now',
    needsRoom: true,
    body: api.rotationRequest,
    problems: [404, 409],
    answer: api.volumeView,
    async handle({ volumes, store, groupOf }, { message, path, caller }) {
      const { ek } = await readBody(message, api.rotationRequest, bodyBytes);
      const volume = await findVolume(volumes, path.uuid);
      const node = await findNode(store, volume.node);
      checkRotation(volume, node.ekDigest, ek);
      const { uuid } = volume;
      const group = groupOf(node.name);
      if (!(await volumes.rotate({ uuid, node, group, by: actorOf(caller) })))
        throw new HttpProblem(
          409,
          `${named(volume)} was changed meanwhile, or its TPM has one of that name`,
          {
            next: `See what it is now:\n  assay disk list ${node.name} -o wide`,
          },
        );
      return ok(shownVolume(await findVolume(volumes, uuid), groupOf, node.ekDigest));
    },
  }),
  route('DELETE', '/v1/volumes/{uuid}/rotate', 'operator', {
    operation: 'cancelVolumeKeyRotation',
    summary: 'Call off the replacement of a key that its node has not begun',
    problems: [404, 409],
    answer: api.volumeView,
    async handle({ volumes, store, groupOf }, { path, caller }) {
      const volume = await findVolume(volumes, path.uuid);
      if (!(await volumes.cancelRotation(volume, actorOf(caller))))
        throw volume.rotation === null
          ? new HttpProblem(409, `the key of ${named(volume)} is not being replaced`)
          : new HttpProblem(409, `${volume.node} has begun to replace the key of ${named(volume)}`, {
              next: 'Let it go on at the next boot of the node: either key opens the disk until then.',
            });
      return ok(await viewOf(await findVolume(volumes, volume.uuid), { store, groupOf }));
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

async function viewOf(
  volume: Volume,
  { store, groupOf }: Pick<ApiPorts, 'store' | 'groupOf'>,
): Promise<api.VolumeView> {
  return shownVolume(volume, groupOf, (await store.node(volume.node))?.ekDigest ?? null);
}

function changeRoute(action: 'revoke' | 'restore', role: ApiRole, summary: string): Route {
  return route('POST', `/v1/volumes/{uuid}/${action}`, role, {
    operation: `${action}Volume`,
    summary,
    body: api.volumeChange,
    answer: api.volumeView,
    problems: [404, 409],
    async handle({ volumes, store, groupOf }, { message, path: { uuid }, caller }) {
      const { reason } = await readBody(message, api.volumeChange, bodyBytes);
      const before = await findVolume(volumes, uuid);
      const isChanged = await volumes.revoke(before, action === 'revoke', reason, actorOf(caller));
      const volume = await findVolume(volumes, uuid);
      if (!isChanged)
        throw new HttpProblem(409, `the key of this volume is ${action === 'revoke' ? '' : 'not '}revoked`);
      return ok(await viewOf(volume, { store, groupOf }));
    },
  });
}

/** @throws HttpProblem 404 */
async function findVolume(volumes: ApiPorts['volumes'], uuid: string | undefined): Promise<Volume> {
  const found = (await volumes.list()).find((volume) => volume.uuid === uuid);
  if (found === undefined) throw noSuchVolume();
  return found;
}

/** @param present the TPM of the node. @param ek the one that the caller names @throws HttpProblem 409 */
function checkRotation(volume: Volume, present: string, ek: string | undefined): void {
  const { node, name, formattedAt, revoked, rotation, ekDigest } = volume;
  if (formattedAt === null)
    throw new HttpProblem(409, `${named(volume)} is not formatted yet: it has no key that a disk knows`, {
      next: `Format it first. Its lines were printed when it was made; if they are lost, remove it and make it again:\n  assay disk remove ${node} ${name}`,
    });
  if (revoked !== null)
    throw new HttpProblem(409, `the key of ${named(volume)} is revoked, and its node gets none`, {
      next: `Give it to the node again first:\n  assay disk restore ${node} ${name} --reason REASON`,
    });
  if ((ek ?? ekDigest) !== present)
    throw new HttpProblem(
      409,
      ek === undefined
        ? `${named(volume)} is of another TPM than ${node} has now: say for which one its key is from now on`
        : `${node} has another TPM than the one that is named`,
      { field: 'ek', next: `The command shows both, and asks:\n  assay disk rotate ${node} ${name}` },
    );
  if (rotation !== null && ekDigest === present)
    throw new HttpProblem(
      409,
      `the key of ${named(volume)} is being replaced since ${new Date(rotation.since).toISOString()}, by ${rotation.by}`,
      {
        next:
          rotation.headerDigest === null
            ? `Reboot ${node}: that carries it out. Or call it off:\n  assay disk rotate ${node} ${name} --cancel`
            : `Reboot ${node}: it goes on where it was cut off.`,
      },
    );
}

function named({ name, node }: Volume): string {
  return `volume ${name} of ${node}`;
}

function noSuchVolume(): HttpProblem {
  return new HttpProblem(404, 'there is no such volume', { next: 'See which there are:\n  assay disk list' });
}
