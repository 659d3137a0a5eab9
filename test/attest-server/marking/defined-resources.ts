import assert from 'node:assert/strict';
import type { ApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { collectionOf, objectsOf } from '../../../swtpm-fixtures/api-server/manifest-objects.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

export const definitionsPath = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** As manifests/base has them. */
export const definitions = ['crds/assaylatches.yaml', 'crds/nodeattestations.yaml'].flatMap((file) => [
  ...objectsOf(file),
]);
const admission = ['admission/marks.yaml', 'admission/attestations.yaml', 'admission/latch.yaml'];

/** Has a cluster know the resources of Assay. */
export function defineResources(api: ApiServer): Promise<void> {
  return makeAll(api, definitions);
}

/** Has it keep others from the marks. */
export function protectMarks(api: ApiServer): Promise<void> {
  return makeAll(
    api,
    admission.flatMap((file) => [...objectsOf(file)]),
  );
}

async function makeAll(api: ApiServer, objects: typeof definitions): Promise<void> {
  for (const object of objects) {
    const { code, text } = await api.as(administrator).request('POST', collectionOf(object), object);
    assert.equal(code, 201, text);
  }
}
