import assert from 'node:assert/strict';
import type { ApiServer } from '../../../swtpm-fixtures/api-server/api-server.ts';
import { administrator } from '../../../swtpm-fixtures/api-server/users.ts';

/** Has a cluster know the resources of Assay, without the schemas of their definitions. */
export async function defineResources(api: ApiServer): Promise<void> {
  const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  for (const [plural, kind, subresources] of [
    ['nodeattestations', 'NodeAttestation', { status: {} }],
    ['assaylatches', 'AssayLatch', {}],
  ] as const) {
    const { code, text } = await api
      .as(administrator)
      .request('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', {
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
      });
    assert.equal(code, 201, text);
  }
}
