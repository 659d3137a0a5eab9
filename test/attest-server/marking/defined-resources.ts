import assert from 'node:assert/strict';
import type { ApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import type { Json, JsonObject } from '../../../swtpm-fixtures/api-server/json.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

export const definitionsPath = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** As manifests/base/crds define them, but for their schemas. */
export const definitions = [
  definitionOf('nodeattestations', 'NodeAttestation', { status: {} }),
  definitionOf('assaylatches', 'AssayLatch', {}),
];

/** Has a cluster know the resources of Assay, without the schemas of their definitions. */
export async function defineResources(api: ApiServer): Promise<void> {
  for (const definition of definitions) {
    const { code, text } = await api.as(administrator).request('POST', definitionsPath, definition);
    assert.equal(code, 201, text);
  }
}

function definitionOf(plural: string, kind: string, subresources: JsonObject): Json {
  const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.assay.dev` },
    spec: {
      group: 'assay.dev',
      names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
      scope: 'Cluster',
      versions: [
        {
          name: 'v1alpha1',
          served: true,
          storage: true,
          subresources,
          schema: { openAPIV3Schema: { type: 'object', properties: { spec: open, status: open } } },
        },
      ],
    },
  };
}
