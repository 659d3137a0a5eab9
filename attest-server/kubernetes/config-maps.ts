import { z } from 'zod';
import { ClusterError } from '../marking/ports.ts';
import { orNull } from './ask.ts';
import type { Requests } from './requests.ts';

/** Which ConfigMap is meant. */
export interface ConfigMapPlace {
  readonly namespace: string;
  readonly name: string;
  /** Distinguishes rights in another namespace from those in the server's own. */
  readonly isForeign?: true;
}

export interface ConfigMaps {
  /** Null if there is none. @throws ClusterError */
  read(place: ConfigMapPlace): Promise<Readonly<Record<string, string>> | null>;
  /**
   * Sets these keys and leaves all else as it is.
   * @param whereMissing whoever may write one ConfigMap by its name may not make it
   * @throws ClusterError
   */
  write(
    place: ConfigMapPlace,
    data: Readonly<Record<string, string>>,
    whereMissing: 'make' | 'fail',
  ): Promise<void>;
}

/** With all that others wrote into it: it is replaced as a whole, and only if it is still the one that was read. */
const configMap = z.looseObject({
  metadata: z.looseObject({ name: z.string() }),
  data: z.record(z.string(), z.string()).nullish(),
});

/** ConfigMaps of the cluster that the server keeps something in. */
export function createConfigMaps({ requests }: { readonly requests: Pick<Requests, 'json'> }): ConfigMaps {
  const asked = ({ namespace, name, isForeign }: ConfigMapPlace) =>
    ({
      resource: 'configmaps',
      ...(isForeign && { namespace }),
      name,
      lane: 'events',
    }) as const;
  const listOf = ({ namespace }: ConfigMapPlace) => `/api/v1/namespaces/${namespace}/configmaps`;
  const pathOf = (place: ConfigMapPlace) => `${listOf(place)}/${encodeURIComponent(place.name)}`;
  const readWhole = (place: ConfigMapPlace) =>
    orNull(requests.json({ ...asked(place), verb: 'get', path: pathOf(place) }, configMap));
  return {
    async read(place) {
      const held = await readWhole(place);
      return held && (held.data ?? {});
    },
    async write(place, data, whereMissing) {
      const { namespace, name } = place;
      const held = await readWhole(place);
      if (held !== null) {
        const body = { ...held, data: { ...held.data, ...data } };
        await requests.json({ ...asked(place), verb: 'update', path: pathOf(place), body });
      } else if (whereMissing === 'make') {
        const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data };
        await requests.json({ ...asked(place), verb: 'create', path: listOf(place), body });
      } else throw new ClusterError('not_found', `there is no ConfigMap ${namespace}/${name}`);
    },
  };
}
